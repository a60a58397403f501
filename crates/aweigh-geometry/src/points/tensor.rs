//! Points and square anchors on a device.

use burn::tensor::{DType, Device, Tensor, TensorData};

use super::host::{LevelShape, PointOrigin};
use crate::boxes::centered_at;

/// Coordinates of the points of all levels, level after level.
///
/// # Shapes
///
/// `[P, 2]`, each `(x, y)` in pixels. Always f32: half precision cannot tell neighbouring points of
/// a large image apart.
pub fn pyramid_points(levels: &[LevelShape], origin: PointOrigin, device: &Device) -> Tensor<2> {
    let points = levels.iter().flat_map(|level| level.host_points(origin));
    rows::<2>(points.collect(), device)
}

/// Stride of the level of every point.
///
/// # Shapes
///
/// `[P]`, in pixels, f32.
pub fn pyramid_strides(levels: &[LevelShape], device: &Device) -> Tensor<1> {
    let values: Vec<f32> = levels
        .iter()
        .flat_map(|level| std::iter::repeat_n(level.stride as f32, level.points()))
        .collect();
    let count = values.len();
    Tensor::from_data(TensorData::new(values, [count]), (device, DType::F32))
}

/// One square anchor per point, of side `scale * stride` and centred on the point
/// (mmdetection 3.x `task_modules/prior_generators/anchor_generator.py` with one ratio of 1).
///
/// # Shapes
///
/// `[P, 4]`, each `[x1, y1, x2, y2]` in pixels, f32.
pub fn square_anchors(
    levels: &[LevelShape],
    scale: f32,
    origin: PointOrigin,
    device: &Device,
) -> Tensor<2> {
    let anchors = levels.iter().flat_map(|level| {
        let half = 0.5 * scale * level.stride as f32;
        let points = level.host_points(origin);
        points.map(move |point| centered_at(point, [half, half]))
    });
    rows::<4>(anchors.collect(), device)
}

/// An f32 table `[len, N]`.
pub(crate) fn rows<const N: usize>(values: Vec<[f32; N]>, device: &Device) -> Tensor<2> {
    let shape = [values.len(), N];
    let data = TensorData::new(values.into_flattened(), shape);
    Tensor::from_data(data, (device, DType::F32))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::points::PointSpacing;
    use aweigh_testkit::device;

    fn check(origin: PointOrigin, expected: [f32; 12]) {
        let points = pyramid_points(&[LevelShape::new(2, 3, 8)], origin, &device());
        assert_eq!(points.dims(), [6, 2]);
        let values: Vec<f32> = points.try_into_vec_as().expect("a readable tensor");
        assert_eq!(values, expected, "{origin:?}");
    }

    #[test]
    fn points_are_row_major_x_before_y() {
        use PointOrigin::{Center, Corner};
        check(
            Corner,
            [0.0, 0.0, 8.0, 0.0, 16.0, 0.0, 0.0, 8.0, 8.0, 8.0, 16.0, 8.0],
        );
        check(
            Center,
            [
                4.0, 4.0, 12.0, 4.0, 20.0, 4.0, 4.0, 12.0, 12.0, 12.0, 20.0, 12.0,
            ],
        );
    }

    #[test]
    fn levels_follow_each_other() {
        let levels = [LevelShape::new(1, 2, 8), LevelShape::new(1, 1, 16)];
        let points = pyramid_points(&levels, PointOrigin::Center, &device());
        let points: Vec<f32> = points.try_into_vec_as().expect("a readable tensor");
        assert_eq!(points, [4.0, 4.0, 12.0, 4.0, 8.0, 8.0]);
        let strides = pyramid_strides(&levels, &device());
        let strides: Vec<f32> = strides.try_into_vec_as().expect("a readable tensor");
        assert_eq!(strides, [8.0, 8.0, 16.0]);
    }

    #[test]
    fn points_can_be_spread_over_the_input() {
        let check = |level: LevelShape, spacing: PointSpacing, expected: [[f32; 2]; 2]| {
            let points: Vec<[f32; 2]> = level
                .spread(spacing, [64, 96])
                .host_points(PointOrigin::Corner)
                .collect();
            // The first point is the corner of the input.
            assert_eq!(points[0], [0.0, 0.0]);
            let found = [points[1], points[level.width]];
            assert_eq!(found, expected, "{level:?}, {spacing:?}");
        };
        let (fine, coarse) = (LevelShape::new(8, 12, 8), LevelShape::new(2, 2, 64));
        check(fine, PointSpacing::Stride, [[8.0, 0.0], [0.0, 8.0]]);
        check(fine, PointSpacing::Input, [[8.0, 0.0], [0.0, 8.0]]);
        check(coarse, PointSpacing::Stride, [[64.0, 0.0], [0.0, 64.0]]);
        check(coarse, PointSpacing::Input, [[48.0, 0.0], [0.0, 32.0]]);
    }

    #[test]
    fn anchors_are_centred_on_their_points() {
        let levels = [LevelShape::new(1, 2, 8)];
        let anchors = square_anchors(&levels, 2.0, PointOrigin::Corner, &device());
        let values: Vec<f32> = anchors.try_into_vec_as().expect("a readable tensor");
        assert_eq!(values, [-8.0, -8.0, 8.0, 8.0, 0.0, -8.0, 16.0, 8.0]);
    }
}

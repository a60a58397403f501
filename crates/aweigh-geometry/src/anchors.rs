//! Anchors: boxes of several sizes and shapes at every point of a pyramid.

#[cfg(feature = "tensor")]
use burn::tensor::{Device, Tensor};

use crate::boxes::centered_at;
use crate::points::{LevelShape, PointOrigin};

/// How the sides of anchors are rounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AnchorSides {
    /// Not at all (mmdetection).
    #[default]
    Exact,
    /// Sides of square anchors down to whole pixels, half sides of all to the nearest pixel, to the
    /// even one from the middle (torchvision `anchor_utils.py` and `retinanet.py`).
    WholePixels,
}

/// Sizes and shapes of the anchors of a point (RetinaNet, Lin et al. 2017, section 4;
/// mmdetection 3.x `task_modules/prior_generators/anchor_generator.py`).
///
/// An anchor of scale `s` and ratio `r` has the area `(s * stride)^2` and is `r` times as high as
/// wide. Anchors are centred on the points at `i * stride`.
#[derive(Debug, Clone, PartialEq)]
pub struct AnchorGrid {
    /// Side of the smallest square anchor, in strides of the level.
    pub base_scale: f32,
    /// Number of scales n, each `2^(1/n)` times the one before.
    pub scales_per_octave: usize,
    /// Height over width.
    pub ratios: Vec<f32>,
    /// How sides are rounded.
    pub sides: AnchorSides,
}

impl AnchorGrid {
    /// Anchors of one point, A.
    pub fn per_point(&self) -> usize {
        self.scales_per_octave * self.ratios.len()
    }

    /// Half width and half height of each anchor of a point on a level, in pixels: all scales of
    /// the first ratio, then of the next. Rounded as the reference rounds.
    fn half_sizes(&self, stride: usize) -> Vec<[f32; 2]> {
        let octaves = self.scales_per_octave;
        let scale = |i: usize| 2.0_f64.powf(i as f64 / octaves as f64) * f64::from(self.base_scale);
        let half_side = |factor: f32, i: usize| match self.sides {
            AnchorSides::Exact => 0.5 * (stride as f32 * factor * scale(i) as f32),
            AnchorSides::WholePixels => {
                let square = (stride as f64 * scale(i)).trunc() as f32;
                (factor * square / 2.0).round_ties_even()
            }
        };
        let of_ratio = |ratio: &f32| {
            let high = ratio.sqrt();
            let wide = 1.0 / high;
            (0..octaves).map(move |i| [wide, high].map(|factor| half_side(factor, i)))
        };
        self.ratios.iter().flat_map(of_ratio).collect()
    }

    /// Every anchor of the pyramid on the host: level after level, in a level one shape at every
    /// point, row by row, then the next shape.
    pub fn host(&self, levels: &[LevelShape]) -> Vec<[f32; 4]> {
        let mut anchors = Vec::new();
        for level in levels {
            for half_sides in self.half_sizes(level.stride) {
                let points = level.host_points(PointOrigin::Corner);
                anchors.extend(points.map(|point| centered_at(point, half_sides)));
            }
        }
        anchors
    }

    /// Every anchor of the pyramid, in the order of [`host`](Self::host).
    ///
    /// # Shapes
    ///
    /// `[P, 4]` with A anchors at every point, each `[x1, y1, x2, y2]` in pixels, f32.
    #[cfg(feature = "tensor")]
    pub fn tensor(&self, levels: &[LevelShape], device: &Device) -> Tensor<2> {
        crate::points::rows(self.host(levels), device)
    }
}

#[cfg(all(test, feature = "tensor"))]
mod tests {
    use super::*;
    use aweigh_testkit::device;

    #[test]
    fn shapes_follow_each_other_on_a_level() {
        let grid = AnchorGrid {
            base_scale: 2.0,
            scales_per_octave: 2,
            ratios: vec![1.0, 4.0],
            sides: AnchorSides::Exact,
        };
        let levels = [LevelShape::new(1, 2, 8), LevelShape::new(1, 1, 16)];
        let anchors = grid.host(&levels);
        assert_eq!(grid.per_point(), 4);
        assert_eq!(anchors.len(), 4 * 3);
        let check = |index: usize, center: f32, [w, h]: [f32; 2]| {
            let expected = [center - w, -h, center + w, h];
            for (got, expected) in anchors[index].into_iter().zip(expected) {
                // A rounding of the square root of two.
                assert!(
                    (got - expected).abs() < 1e-5,
                    "{index}: {:?}",
                    anchors[index]
                );
            }
        };
        let root = 2.0_f32.sqrt();
        check(0, 0.0, [8.0, 8.0]);
        check(1, 8.0, [8.0, 8.0]);
        check(2, 0.0, [8.0 * root, 8.0 * root]);
        check(4, 0.0, [4.0, 16.0]);
        check(7, 8.0, [4.0 * root, 16.0 * root]);
        check(8, 0.0, [16.0, 16.0]);
        let tensor = grid.tensor(&levels, &device());
        assert_eq!(tensor.dims(), [12, 4]);
    }

    #[test]
    fn sides_in_whole_pixels_are_those_of_torchvision() {
        let grid = AnchorGrid {
            base_scale: 4.0,
            scales_per_octave: 3,
            ratios: vec![0.5, 1.0, 2.0],
            sides: AnchorSides::WholePixels,
        };
        let check = |stride: usize, expected: [[f32; 2]; 9]| {
            assert_eq!(grid.half_sizes(stride), expected, "stride {stride}");
        };
        // `retinanet_resnet50_fpn().anchor_generator.cell_anchors`, first and third level.
        check(
            8,
            [
                [23.0, 11.0],
                [28.0, 14.0],
                [35.0, 18.0],
                [16.0, 16.0],
                [20.0, 20.0],
                [25.0, 25.0],
                [11.0, 23.0],
                [14.0, 28.0],
                [18.0, 35.0],
            ],
        );
        check(
            32,
            [
                [91.0, 45.0],
                [114.0, 57.0],
                [144.0, 72.0],
                [64.0, 64.0],
                [80.0, 80.0],
                [102.0, 102.0],
                [45.0, 91.0],
                [57.0, 114.0],
                [72.0, 144.0],
            ],
        );
    }

    #[test]
    fn one_square_per_point_is_a_square_anchor() {
        let levels = [LevelShape::new(2, 3, 8)];
        let grid = AnchorGrid {
            base_scale: 1.0,
            scales_per_octave: 1,
            ratios: vec![1.0],
            sides: AnchorSides::Exact,
        };
        let squares = crate::points::square_anchors(&levels, 1.0, PointOrigin::Corner, &device());
        let squares: Vec<f32> = squares.try_into_vec_as().expect("anchors");
        assert_eq!(grid.host(&levels).into_flattened(), squares);
    }
}

//! Point sets: regular grids, and the boxes of points.
//!
//! Points are displacements from a cell's own point in strides, y before x, as the offsets of a
//! deformable convolution: K of them are 2 K channels.

use burn::tensor::{Device, Tensor};

use super::BoxTransform;

/// Points that `partial_minmax` makes a box of.
pub const PARTIAL: usize = 4;

/// Smallest variance whose root is taken. The root has no derivative at 0, where all points
/// coincide; below this variance the gradient is 0.
pub const MIN_VARIANCE: f64 = 1e-24;

/// Smallest side of a box that the next one is regressed from, in strides.
pub const MIN_SIDE: f64 = 1e-6;

/// Largest logarithm of a factor of a side. `exp` of an unbounded prediction overflows to infinity,
/// whose gradient is not a number; a box e^18 times as large is beyond every image.
pub const MAX_LOG_FACTOR: f64 = 18.0;

/// Side of the square of `num_points` points.
pub(crate) fn grid_side(num_points: usize) -> usize {
    num_points.isqrt()
}

/// A regular grid of unit distance around 0, y before x: the taps of a convolution, 2 K values.
pub fn taps(num_points: usize) -> Vec<f32> {
    let reach = (grid_side(num_points) / 2) as f32;
    grid(num_points, |i| i as f32 - reach)
}

/// A regular grid over a square of this side around 0, in strides, y before x, 2 K values.
pub fn square_grid(num_points: usize, side: f32) -> Vec<f32> {
    let reach = grid_side(num_points) / 2;
    let last = reach.max(1) as f32;
    let at = |i: usize| (i as f32 - reach as f32) / last * (0.5 * side);
    grid(num_points, at)
}

/// Relative height and width of every point of a grid over a box, 2 K values: from 0 at the upper
/// left to 1 at the lower right.
pub fn fractions(num_points: usize) -> Vec<f32> {
    let last = (grid_side(num_points) - 1).max(1) as f32;
    grid(num_points, |i| i as f32 / last)
}

/// The coordinates of a square of points, row by row, y before x.
fn grid(num_points: usize, at: impl Fn(usize) -> f32) -> Vec<f32> {
    let side = grid_side(num_points);
    let point = |k: usize| [at(k / side), at(k % side)];
    (0..num_points).flat_map(point).collect()
}

/// Values of the channels of one cell, `[1, channels, 1, 1]`.
pub(super) fn of_one_cell(values: &[f32], device: &Device) -> Tensor<4> {
    Tensor::<1>::from_floats(values, device).reshape([1, values.len(), 1, 1])
}

/// Moves the centre of a box by `regression` in sides of the box and scales its sides by
/// exponentials.
///
/// # Shapes
///
/// - `previous`: `[B or 1, 4, H or 1, W or 1]`, corners `x1, y1, x2, y2`
/// - `regression`: `[B, 4, H, W]`, `dx, dy, ln(w' / w), ln(h' / h)`
/// - returns `[B, 4, H, W]`, upper left corner `x, y` and sides `w, h`
pub(super) fn regress_box(previous: Tensor<4>, regression: Tensor<4>) -> Tensor<4> {
    let (low, high) = (previous.clone().narrow(1, 0, 2), previous.narrow(1, 2, 2));
    let center = (low.clone() + high.clone()) / 2.0;
    let sides = (high - low).clamp_min(MIN_SIDE);
    let scale = regression.clone().narrow(1, 2, 2);
    let scale = scale.clamp_max(MAX_LOG_FACTOR).exp();
    let moved = center + sides.clone() * regression.narrow(1, 0, 2);
    let sides = sides * scale;
    let corner = moved - sides.clone() * 0.5;
    Tensor::cat(vec![corner, sides], 1)
}

/// A grid of points over each box of [`regress_box`], `[B, 2 K, H, W]`.
pub(super) fn grid_on(bbox: Tensor<4>, num_points: usize) -> Tensor<4> {
    let [batch, _, height, width] = bbox.dims();
    let device = bbox.device();
    let yx = |from: usize| {
        bbox.clone()
            .narrow(1, from, 2)
            .flip([1])
            .unsqueeze_dim::<5>(1) // [B, 1, 2, H, W]
    };
    let fractions = of_one_cell(&fractions(num_points), &device);
    let fractions = fractions.reshape([1, num_points, 2, 1, 1]);
    let points = yx(0) + yx(2) * fractions; // [B, K, 2, H, W]
    points.reshape([batch, 2 * num_points, height, width])
}

/// Corners `x1, y1, x2, y2` of each box of [`regress_box`].
pub(super) fn corners(bbox: Tensor<4>) -> Tensor<4> {
    let (low, sides) = (bbox.clone().narrow(1, 0, 2), bbox.narrow(1, 2, 2));
    Tensor::cat(vec![low.clone(), low + sides], 1)
}

/// The same value, with the gradient times `factor`.
pub(super) fn scale_gradient<const D: usize>(x: Tensor<D>, factor: f64) -> Tensor<D> {
    x.clone().without_autodiff() * (1.0 - factor) + x * factor
}

/// The box of each set of points:
///
/// - min-max: the smallest box around all points, or around the first four;
/// - moment: `mean +- std * e^m` along each axis, with the unbiased standard deviation and the
///   learnable `m` of the axis.
///
/// # Shapes
///
/// - `points`: `[B, 2 K, H, W]`
/// - `moment`: `[2]`, of width and height; used by the moment transform only
/// - returns `[B, 4, H, W]`, `x1, y1, x2, y2` in strides
pub(super) fn points_to_box(
    points: Tensor<4>,
    transform: BoxTransform,
    moment: Option<Tensor<1>>,
) -> Tensor<4> {
    let [batch, channels, height, width] = points.dims();
    let points = points.reshape([batch, channels / 2, 2, height, width]); // [B, K, 2, H, W]
    let [low, high] = match (transform, moment) {
        (BoxTransform::PartialMinmax, _) => {
            let first = PARTIAL.min(channels / 2);
            extremes(points.narrow(1, 0, first))
        }
        (BoxTransform::Moment { mul }, Some(moment)) => spread(points, scale_gradient(moment, mul)),
        _ => extremes(points),
    };
    let xy = |yx: Tensor<5>| yx.squeeze_dim::<4>(1).flip([1]); // [B, 2, H, W]
    Tensor::cat(vec![xy(low), xy(high)], 1)
}

/// Smallest and largest coordinates, each `[B, 1, 2, H, W]`.
fn extremes(points: Tensor<5>) -> [Tensor<5>; 2] {
    [points.clone().min_dim(1), points.max_dim(1)]
}

/// `mean - std * e^m` and `mean + std * e^m`, each `[B, 1, 2, H, W]`.
fn spread(points: Tensor<5>, moment: Tensor<1>) -> [Tensor<5>; 2] {
    let degrees = points.dims()[1].saturating_sub(1).max(1);
    let mean = points.clone().mean_dim(1);
    let variance = (points - mean.clone()).square().sum_dim(1) / degrees as f64;
    let deviation = variance.clamp_min(MIN_VARIANCE).sqrt();
    // Width before height in the parameter, y before x in points.
    let factor = moment.exp().flip([0]).reshape([1, 1, 2, 1, 1]);
    let half = deviation * factor;
    [mean.clone() - half.clone(), mean + half]
}

#[cfg(test)]
mod tests {
    use super::*;
    use aweigh_testkit::{device, finite_difference};
    use burn::tensor::{DType, TensorData};

    /// Nine points (y, x) of one cell; the first four lie in a box of their own.
    const POINTS: [f32; 18] = [
        0.0, 1.0, 2.0, 3.0, 1.0, 2.0, 0.5, 1.5, -4.0, 5.0, 6.0, -7.0, 0.0, 0.0, 1.0, 1.0, 2.0, 2.0,
    ];

    fn values<const D: usize>(x: Tensor<D>) -> Vec<f32> {
        x.into_data().iter::<f32>().collect()
    }

    fn one_cell(points: &[f32]) -> Tensor<4> {
        Tensor::<1>::from_floats(points, &device()).reshape([1, points.len(), 1, 1])
    }

    #[test]
    fn taps_are_rows_of_y_before_x() {
        let expected = [
            -1, -1, -1, 0, -1, 1, 0, -1, 0, 0, 0, 1, 1, -1, 1, 0, 1, 1_i8,
        ];
        assert_eq!(taps(9), expected.map(f32::from));
        assert_eq!(taps(1), [0.0; 2]);
        assert_eq!(taps(25)[..4], [-2.0, -2.0, -2.0, -1.0]);
    }

    #[test]
    fn boxes_enclose_points() {
        let check = |transform, expected: [f32; 4]| {
            let found = points_to_box(one_cell(&POINTS), transform, None);
            assert_eq!(values(found), expected, "{transform:?}");
        };
        check(BoxTransform::Minmax, [-7.0, -4.0, 5.0, 6.0]);
        check(BoxTransform::PartialMinmax, [1.0, 0.0, 3.0, 2.0]);
    }

    #[test]
    fn moments_are_mean_and_unbiased_deviation() {
        let moment = Tensor::from_floats([2.0_f32.ln(), 0.0], &device());
        let points = one_cell(&[0.0, 10.0, 0.0, 10.0, 3.0, 12.0, 3.0, 8.0, 1.5, 10.0]);
        let transform = BoxTransform::Moment { mul: 0.01 };
        let found = values(points_to_box(points, transform, Some(moment)));
        // Squared distances from the mean: 4 * 2.25 in y, 4 + 4 in x, over five points less one.
        let (y, x) = (2.25_f32.sqrt(), 2.0 * 2.0_f32.sqrt());
        let expected = [10.0 - x, 1.5 - y, 10.0 + x, 1.5 + y];
        for (found, expected) in found.iter().zip(expected) {
            // Roundings of the mean, the root and the exponential.
            assert!((found - expected).abs() < 1e-5, "{found} is not {expected}");
        }
    }

    #[test]
    fn gradients_equal_central_differences() {
        let f64s = |x: &[f64], device: &Device| {
            let data = TensorData::new(x.to_vec(), [x.len()]);
            Tensor::<1>::from_data(data, (device, DType::F64))
        };
        // The last two numbers are the moments; each side of the box counts differently.
        let loss = |x: Tensor<1>, transform| {
            let points = x.clone().narrow(0, 0, 18).reshape([1, 18, 1, 1]);
            let bbox = points_to_box(points, transform, Some(x.narrow(0, 18, 2)));
            let side = |i: usize| bbox.clone().narrow(1, i, 1).sum();
            side(0) + side(1) * 2.0 - side(2).square() * 0.1 + (side(3) * 0.3).exp()
        };
        let mut input: Vec<f64> = POINTS.iter().map(|x| f64::from(*x)).collect();
        input.extend([0.2, -0.3]);
        let autodiff = device().autodiff();
        for transform in [BoxTransform::Minmax, BoxTransform::Moment { mul: 1.0 }] {
            let x = f64s(&input, &autodiff).require_grad();
            let gradient = x.grad(&loss(x.clone(), transform).backward());
            let gradient = gradient.expect("a gradient").into_data();
            let value = |x: &[f64]| loss(f64s(x, &device()), transform).into_scalar::<f64>();
            let expected = finite_difference(value, &input, 1e-5);
            for (got, expected) in gradient.iter::<f64>().zip(expected) {
                // step^2 times a third derivative of the exponential.
                let error = (got - expected).abs();
                assert!(error < 1e-8, "{transform:?}: {got} is not {expected}");
            }
        }
    }

    #[test]
    fn points_that_coincide_have_a_gradient() {
        let device = device().autodiff();
        let transform = BoxTransform::Moment { mul: 0.01 };
        for spread in [0.0, 1e-30, 1e-12, 1e-6] {
            let points: Vec<f32> = (0..18).map(|i| spread * (i % 5) as f32).collect();
            let points = Tensor::<1>::from_floats(points.as_slice(), &device).require_grad();
            let moment = Tensor::<1>::zeros([2], &device).require_grad();
            let cell = points.clone().reshape([1, 18, 1, 1]);
            let bbox = points_to_box(cell, transform, Some(moment.clone()));
            let weights = Tensor::<1>::from_floats([1.0, 2.0, 3.0, 5.0], &device);
            let loss = bbox * weights.reshape([1, 4, 1, 1]);
            let gradients = loss.sum().backward();
            let of_points = values(points.grad(&gradients).expect("a gradient"));
            // The mean alone gives every point its ninth.
            assert!(
                of_points.iter().all(|g| g.abs() < 2.0),
                "{spread}: {of_points:?}"
            );
            assert!(of_points.iter().any(|g| *g != 0.0), "{spread}");
            let of_moment = values(moment.grad(&gradients).expect("a gradient"));
            assert!(of_moment.iter().all(|g| g.is_finite()), "{of_moment:?}");
        }
    }

    #[test]
    fn gradients_are_scaled_and_values_kept() {
        let x = Tensor::<1>::from_floats([3.0, -8.0], &device().autodiff()).require_grad();
        let y = scale_gradient(x.clone(), 0.25);
        assert_eq!(values(y.clone()), [3.0, -8.0]);
        let gradient = x.grad(&y.sum().backward()).expect("a gradient");
        assert_eq!(values(gradient), [0.25; 2]);
    }

    #[test]
    fn grids_cover_regressed_boxes() {
        let previous = one_cell(&[-2.0, -2.0, 2.0, 2.0]);
        // A quarter to the right, half as high.
        let regression = one_cell(&[0.25, 0.0, 0.0, 0.5_f32.ln()]);
        let bbox = regress_box(previous, regression);
        assert_eq!(values(corners(bbox.clone())), [-1.0, -1.0, 3.0, 1.0]);
        let grid = values(grid_on(bbox, 9));
        let expected = [-1.0, 0.0, 1.0].map(|y| [-1.0, 1.0, 3.0].map(|x| [y, x]));
        assert_eq!(grid, expected.as_flattened().as_flattened());
    }
}

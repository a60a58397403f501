//! From losses per element to the scalar that is minimised.

use burn::tensor::Tensor;

/// What mmdetection adds to every normaliser: the epsilon of f32.
const NORMALISER_EPSILON: f64 = f32::EPSILON as f64;

/// Sum of weighted losses over an explicit normaliser: `sum(loss * weight) / (normaliser + eps)`
/// with `eps = 2^-23` (mmdetection 3.x `models/losses/utils.py`, `weight_reduce_loss`).
///
/// # Shapes
///
/// A loss of any shape, a weight of the same rank that broadcasts to it, and a normaliser `[1]`
/// (such as the number of positive points, at least 1) give `[1]`.
///
/// # Panics
///
/// When loss and weight do not broadcast.
pub fn weighted_mean<const D: usize>(
    loss: Tensor<D>,
    weight: Option<Tensor<D>>,
    normaliser: Tensor<1>,
) -> Tensor<1> {
    let weighted = match weight {
        Some(weight) => loss * weight,
        None => loss,
    };
    weighted.sum() / (normaliser + NORMALISER_EPSILON)
}

#[cfg(test)]
mod tests {
    use super::*;
    use aweigh_testkit::device;

    fn check(weight: Option<[[f32; 1]; 2]>, normaliser: f32, expected: f32) {
        let loss = Tensor::<2>::from_data([[1.0, 2.0], [3.0, 4.0]], &device());
        let weight = weight.map(|rows| Tensor::from_data(rows, &device()));
        let normaliser = Tensor::from_data([normaliser], &device());
        let mean: f32 = weighted_mean(loss, weight, normaliser).into_scalar();
        // The epsilon of the normaliser.
        let close = (mean - expected).abs() <= 2e-7 * expected.abs();
        assert!(close, "{mean} is not {expected}");
    }

    #[test]
    fn sums_are_divided_by_the_normaliser() {
        check(None, 4.0, 2.5);
        check(None, 1.0, 10.0);
        check(Some([[1.0], [0.0]]), 2.0, 1.5);
        check(Some([[0.0], [0.0]]), 1.0, 0.0);
        check(Some([[0.0], [0.0]]), 0.0, 0.0);
    }
}

//! Binary cross entropy.

use burn::tensor::{Tensor, activation};

use crate::gradient::with_slope;

/// Binary cross entropy of logits with targets in `[0, 1]`:
/// `-t ln sigmoid(x) - (1 - t) ln(1 - sigmoid(x)) = max(x, 0) - x t + ln(1 + e^-|x|)`
/// (mmdetection 3.x `models/losses/cross_entropy_loss.py`, `binary_cross_entropy`).
///
/// # Shapes
///
/// Logits and targets of one shape give one loss per element.
///
/// # Panics
///
/// When the shapes differ.
pub fn bce_with_logits<const D: usize>(logits: Tensor<D>, target: Tensor<D>) -> Tensor<D> {
    assert_eq!(logits.dims(), target.dims(), "logits and soft targets");
    let target = target.without_autodiff();
    let x = logits.clone().without_autodiff();
    // The difference comes first: it is exact where the target is 0 or 1.
    let linear = activation::relu(x.clone()) - x.clone() * target.clone();
    let value = x.clone().abs().neg().exp().log1p() + linear;
    with_slope(logits, value, || activation::sigmoid(x) - target)
}

#[cfg(test)]
mod tests {
    use super::*;
    use aweigh_testkit::device;

    fn check(logit: f32, target: f32, expected: [f32; 2]) {
        let device = device().autodiff();
        let logits = Tensor::<1>::from_data([logit], &device).require_grad();
        let loss = bce_with_logits(logits.clone(), Tensor::from_data([target], &device));
        let gradients = loss.clone().sum().backward();
        let slope: f32 = logits.grad(&gradients).expect("a gradient").into_scalar();
        for (got, expected) in [loss.into_scalar::<f32>(), slope].into_iter().zip(expected) {
            // Some roundings of f32.
            let close = (got - expected).abs() <= 1e-6 * expected.abs().max(1e-6);
            assert!(close, "{logit} {target}: {got} is not {expected}");
        }
    }

    #[test]
    fn known_values() {
        let ln2 = std::f32::consts::LN_2;
        check(0.0, 0.0, [ln2, 0.5]);
        check(0.0, 1.0, [ln2, -0.5]);
        check(0.0, 0.25, [ln2, 0.25]);
        check(1000.0, 0.0, [1000.0, 1.0]);
        check(-1000.0, 0.0, [0.0, 0.0]);
        check(1000.0, 1.0, [0.0, 0.0]);
        check(20.0, 1.0, [2.061_153_6e-9, 0.0]);
    }
}

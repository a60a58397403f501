//! Focal loss.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::gradient::{sigmoid_and_softplus, with_slope};

/// Parameters of the focal loss (RetinaNet, section 3).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FocalLoss {
    /// Exponent that plays down easy elements, at least 0; 0 gives cross entropy. Default: 2.
    pub gamma: f64,
    /// Weight of positives; negatives weigh `1 - alpha`. Below 0 both weigh 1. Default: 0.25.
    pub alpha: f64,
    /// Factor of the whole term, which whoever reduces the loss applies. Default: 1.
    pub weight: f64,
}

impl Default for FocalLoss {
    fn default() -> Self {
        Self {
            gamma: 2.0,
            alpha: 0.25,
            weight: 1.0,
        }
    }
}

/// Focal loss of independent classes:
/// `a (1 - p_t)^gamma * -ln p_t` with `p_t = sigmoid(x)` and `a = alpha` where the class is
/// present, `p_t = 1 - sigmoid(x)` and `a = 1 - alpha` where it is absent
/// (Lin et al. 2017, equation 5; mmdetection 3.x `models/losses/focal_loss.py`). The weight of
/// `focal` is not applied: it is the reduced term's.
///
/// The gradient is computed in closed form, so it is finite for every `gamma` and the graph keeps
/// one tensor.
///
/// # Shapes
///
/// Logits and targets of one shape, the targets 1 where the class is present and 0 elsewhere;
/// gives one loss per element.
///
/// # Panics
///
/// When the shapes differ or `gamma` is negative.
pub fn sigmoid_focal_loss<const D: usize>(
    logits: Tensor<D>,
    target: Tensor<D>,
    focal: &FocalLoss,
) -> Tensor<D> {
    let gamma = focal.gamma;
    assert!(gamma >= 0.0, "gamma of the focal loss is {gamma}, below 0");
    assert_eq!(logits.dims(), target.dims(), "logits and focal targets");
    let target = target.without_autodiff();
    // With u = -x where the class is present and x elsewhere, both cases are one formula:
    // 1 - p_t = sigmoid(u) and -ln p_t = ln(1 + e^u).
    let side = target.clone() * -2.0 + 1.0;
    let u = logits.clone().without_autodiff() * side.clone();
    let [miss, entropy] = sigmoid_and_softplus(u);
    let weight = weight(target, miss.clone(), focal);
    let value = entropy.clone() * weight.clone();
    with_slope(logits, value, || {
        // d value / du = weight * (gamma p_t entropy + 1 - p_t), and du / dx = side.
        let hit = miss.clone() * -gamma + gamma; // gamma p_t
        (hit * entropy + miss) * weight * side
    })
}

/// `a (1 - p_t)^gamma`.
fn weight<const D: usize>(target: Tensor<D>, miss: Tensor<D>, focal: &FocalLoss) -> Tensor<D> {
    let focus = power(miss, focal.gamma);
    if focal.alpha < 0.0 {
        return focus;
    }
    focus * (target * (2.0 * focal.alpha - 1.0) + (1.0 - focal.alpha))
}

/// `x^gamma` for x in `[0, 1]`, without the general power function for the usual exponents.
fn power<const D: usize>(x: Tensor<D>, gamma: f64) -> Tensor<D> {
    if gamma == 0.0 {
        x.ones_like()
    } else if gamma == 1.0 {
        x
    } else if gamma == 2.0 {
        x.clone() * x
    } else {
        x.powf_scalar(gamma)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aweigh_testkit::device;
    use burn::tensor::TensorData;

    /// Value and derivative of the loss of one logit.
    fn loss(logit: f32, target: f32, focal: &FocalLoss) -> [f32; 2] {
        let device = device().autodiff();
        let data = |value: f32| TensorData::new(vec![value], [1]);
        let logit = Tensor::<1>::from_data(data(logit), &device).require_grad();
        let target = Tensor::<1>::from_data(data(target), &device);
        let loss = sigmoid_focal_loss(logit.clone(), target, focal);
        let gradients = loss.clone().sum().backward();
        let slope = logit.grad(&gradients).expect("a gradient");
        [loss.into_scalar(), slope.into_scalar()]
    }

    fn check(logit: f32, target: f32, (alpha, gamma): (f64, f64), expected: [f64; 2]) {
        let got = loss(
            logit,
            target,
            &FocalLoss {
                alpha,
                gamma,
                ..FocalLoss::default()
            },
        );
        for (got, expected) in got.into_iter().zip(expected) {
            // Some roundings of f32.
            let close = (f64::from(got) - expected).abs() <= 1e-6 * expected.abs().max(1e-6);
            assert!(
                close,
                "{logit} {target} {alpha} {gamma}: {got} is not {expected}"
            );
        }
    }

    #[test]
    fn known_values() {
        let ln2 = std::f64::consts::LN_2;
        // p = 1/2: cross entropy ln 2 with slope -1/2 and 1/2.
        check(0.0, 1.0, (-1.0, 0.0), [ln2, -0.5]);
        check(0.0, 0.0, (-1.0, 0.0), [ln2, 0.5]);
        check(0.0, 1.0, (0.25, 0.0), [0.25 * ln2, -0.125]);
        check(0.0, 0.0, (0.25, 0.0), [0.75 * ln2, 0.375]);
        // d/du q^g e = q^g (g (1 - q) e + q) at q = 1/2.
        check(0.0, 0.0, (-1.0, 1.0), [0.5 * ln2, 0.25 * ln2 + 0.25]);
        check(0.0, 0.0, (-1.0, 2.0), [0.25 * ln2, 0.25 * ln2 + 0.125]);
    }

    #[test]
    fn large_logits_are_exact_and_finite() {
        check(100.0, 0.0, (0.25, 2.0), [75.0, 0.75]);
        check(-100.0, 1.0, (0.25, 2.0), [25.0, -0.25]);
        check(100.0, 1.0, (0.25, 2.0), [0.0, 0.0]);
        check(-1000.0, 0.0, (0.25, 2.0), [0.0, 0.0]);
        check(-1000.0, 0.0, (0.25, 0.5), [0.0, 0.0]);
    }

    #[test]
    fn a_plain_device_gives_values_only() {
        let logits = Tensor::<2>::zeros([2, 3], &device());
        let target = Tensor::<2>::zeros([2, 3], &device());
        let loss = sigmoid_focal_loss(logits, target, &FocalLoss::default());
        assert_eq!(loss.dims(), [2, 3]);
        assert!(!loss.is_autodiff());
    }

    #[test]
    fn a_logit_that_is_not_finite_shows_in_the_loss() {
        assert!(loss(f32::NAN, 0.0, &FocalLoss::default())[0].is_nan());
    }

    #[test]
    #[should_panic(expected = "below 0")]
    fn a_negative_gamma_is_refused() {
        let focal = FocalLoss {
            gamma: -1.0,
            ..FocalLoss::default()
        };
        let _ = loss(0.0, 0.0, &focal);
    }
}

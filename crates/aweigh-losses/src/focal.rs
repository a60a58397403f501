//! Focal loss.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::gradient::{sigmoid_and_softplus, with_slope};

/// Balance and focus of [`sigmoid_focal_loss`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FocalConfig {
    /// Weight of the present classes, `1 - alpha` being that of the absent ones; a negative value
    /// switches the balance off.
    pub alpha: f64,
    /// Exponent that plays down easy elements, at least 0; 0 gives cross entropy.
    pub gamma: f64,
}

impl Default for FocalConfig {
    fn default() -> Self {
        Self {
            alpha: 0.25,
            gamma: 2.0,
        }
    }
}

/// Focal loss of independent classes:
/// `a (1 - p_t)^gamma * -ln p_t` with `p_t = sigmoid(x)` and `a = alpha` where the class is
/// present, `p_t = 1 - sigmoid(x)` and `a = 1 - alpha` where it is absent
/// (Lin et al. 2017, equation 5; mmdetection 3.x `models/losses/focal_loss.py`).
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
    config: FocalConfig,
) -> Tensor<D> {
    let gamma = config.gamma;
    assert!(gamma >= 0.0, "gamma of the focal loss is {gamma}, below 0");
    assert_eq!(logits.dims(), target.dims(), "logits and focal targets");
    let target = target.without_autodiff();
    // With u = -x where the class is present and x elsewhere, both cases are one formula:
    // 1 - p_t = sigmoid(u) and -ln p_t = ln(1 + e^u).
    let side = target.clone() * -2.0 + 1.0;
    let u = logits.clone().without_autodiff() * side.clone();
    let [miss, entropy] = sigmoid_and_softplus(u);
    let weight = weight(target, miss.clone(), config);
    let value = entropy.clone() * weight.clone();
    with_slope(logits, value, || {
        // d value / du = weight * (gamma p_t entropy + 1 - p_t), and du / dx = side.
        let hit = miss.clone() * -gamma + gamma; // gamma p_t
        (hit * entropy + miss) * weight * side
    })
}

/// `a (1 - p_t)^gamma`.
fn weight<const D: usize>(target: Tensor<D>, miss: Tensor<D>, config: FocalConfig) -> Tensor<D> {
    let focus = power(miss, config.gamma);
    if config.alpha < 0.0 {
        return focus;
    }
    focus * (target * (2.0 * config.alpha - 1.0) + (1.0 - config.alpha))
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
    fn loss(logit: f32, target: f32, config: FocalConfig) -> [f32; 2] {
        let device = device().autodiff();
        let data = |value: f32| TensorData::new(vec![value], [1]);
        let logit = Tensor::<1>::from_data(data(logit), &device).require_grad();
        let target = Tensor::<1>::from_data(data(target), &device);
        let loss = sigmoid_focal_loss(logit.clone(), target, config);
        let gradients = loss.clone().sum().backward();
        let slope = logit.grad(&gradients).expect("a gradient");
        [loss.into_scalar(), slope.into_scalar()]
    }

    fn check(logit: f32, target: f32, (alpha, gamma): (f64, f64), expected: [f64; 2]) {
        let got = loss(logit, target, FocalConfig { alpha, gamma });
        for (got, want) in got.into_iter().zip(expected) {
            // Some roundings of f32.
            let close = (f64::from(got) - want).abs() <= 1e-6 * want.abs().max(1e-6);
            assert!(
                close,
                "{logit} {target} {alpha} {gamma}: {got} is not {want}"
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
        let loss = sigmoid_focal_loss(logits, target, FocalConfig::default());
        assert_eq!(loss.dims(), [2, 3]);
        assert!(!loss.is_autodiff());
    }

    #[test]
    fn a_logit_that_is_not_finite_shows_in_the_loss() {
        assert!(loss(f32::NAN, 0.0, FocalConfig::default())[0].is_nan());
    }

    #[test]
    #[should_panic(expected = "below 0")]
    fn a_negative_gamma_is_refused() {
        let config = FocalConfig {
            alpha: 0.25,
            gamma: -1.0,
        };
        let _ = loss(0.0, 0.0, config);
    }
}

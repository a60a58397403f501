//! ReLU that keeps one byte per element for the backward pass.

use burn::tensor::{GradientCheckpointingStrategy, Tensor, activation};

/// `max(x, 0)`, with gradient 0 at 0.
///
/// Burn's own ReLU keeps its input for the backward pass while the next convolution keeps the
/// output, which doubles the activations of a network. This one keeps the mask `x <= 0` and
/// overwrites its input. Where nothing is differentiated, or gradient checkpointing recomputes the
/// output anyway, it is Burn's.
///
/// # Shapes
///
/// Any shape in, the same shape out.
pub fn relu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let strategy = x.gradient_checkpointing_strategy();
    let recomputed = strategy == Some(GradientCheckpointingStrategy::Balanced);
    if recomputed || !x.is_tracked() {
        return activation::relu(x);
    }
    let negative = x.clone().lower_equal_elem(0.0);
    x.mask_fill(negative, 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use aweigh_testkit::device;

    #[test]
    fn value_and_gradient_equal_burns() {
        let device = device().autodiff();
        let values = [-2.0, -0.0, 0.0, 1e-30, 3.0, -1e-30];
        let run = |f: fn(Tensor<1>) -> Tensor<1>| {
            let x = Tensor::<1>::from_floats(values, &device).require_grad();
            let y = f(x.clone());
            let grads = (y.clone() * Tensor::arange(1..7, &device).float()).backward();
            (y.into_data(), x.grad(&grads).map(Tensor::into_data))
        };
        assert_eq!(run(relu), run(activation::relu));
    }

    #[test]
    fn not_a_number_stays_visible() {
        let device = device().autodiff();
        let x = Tensor::<1>::from_floats([f32::NAN], &device).require_grad();
        assert!(relu(x).into_data().iter::<f32>().all(f32::is_nan));
    }
}

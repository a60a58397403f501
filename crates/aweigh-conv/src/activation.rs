//! What follows a layer.

use burn::backend::Dispatch;
use burn::tensor::{GradientCheckpointingStrategy, Tensor, activation};

use crate::choice::is_ours;
pub(crate) use crate::kernels::Activation;
use crate::ops::LayerOps;

/// `x` after the activation.
///
/// # Shapes
///
/// Any shape in, the same shape out.
pub fn activate<const D: usize>(x: Tensor<D>, activation: Activation) -> Tensor<D> {
    match activation {
        Activation::Relu => relu(x),
        Activation::None => x,
    }
}

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

/// `max(a + b, 0)`: the end of a residual block.
///
/// # Shapes
///
/// Two of one shape in, the same shape out.
///
/// # Panics
///
/// When the shapes differ.
pub fn add_relu(a: Tensor<4>, b: Tensor<4>) -> Tensor<4> {
    assert_eq!(a.dims(), b.dims(), "residual sum");
    if is_ours(&a) {
        let (a, b) = (a.into_dispatch(), b.into_dispatch());
        return Tensor::from_dispatch(Dispatch::add_relu(a, b));
    }
    relu(a + b)
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

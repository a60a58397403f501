//! What follows a layer.

use burn::backend::Dispatch;
use burn::tensor::{GradientCheckpointingStrategy, Tensor, activation};

use crate::choice::is_ours;
pub(crate) use crate::kernels::Activation;
use crate::kernels::activation::SIX;
use crate::ops::LayerOps;

/// `x` after the activation.
///
/// # Shapes
///
/// Any shape in, the same shape out.
pub fn activate<const D: usize>(x: Tensor<D>, activation: Activation) -> Tensor<D> {
    match activation {
        Activation::Relu => relu(x),
        Activation::Relu6 => relu6(x),
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

/// `min(max(x, 0), 6)`, with gradient 0 at 0 and at 6, as PyTorch's.
fn relu6<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    if !x.is_tracked() {
        return x.clamp(0.0, SIX);
    }
    // Masks, for what they keep as for their gradients at the corners.
    let negative = x.clone().lower_equal_elem(0.0);
    let large = x.clone().greater_equal_elem(SIX);
    x.mask_fill(negative, 0.0).mask_fill(large, SIX)
}

/// `activation(a + b)`: the end of a residual block.
///
/// # Shapes
///
/// Two of one shape in, the same shape out.
///
/// # Panics
///
/// When the shapes differ.
pub fn add(a: Tensor<4>, b: Tensor<4>, activation: Activation) -> Tensor<4> {
    assert_eq!(a.dims(), b.dims(), "residual sum");
    if is_ours(&a) {
        let (a, b) = (a.into_dispatch(), b.into_dispatch());
        return Tensor::from_dispatch(Dispatch::add(a, b, activation));
    }
    activate(a + b, activation)
}

#[cfg(test)]
mod tests {
    use super::*;
    use aweigh_testkit::device;

    /// Value and gradient of a function at `values`, for different gradients of its outputs.
    fn run(values: [f32; 6], f: fn(Tensor<1>) -> Tensor<1>) -> [Vec<f32>; 2] {
        let device = device().autodiff();
        let x = Tensor::<1>::from_floats(values, &device).require_grad();
        let y = f(x.clone());
        let grads = (y.clone() * Tensor::arange(1..7, &device).float()).backward();
        let gradient = x.grad(&grads).expect("a gradient");
        [y.inner(), gradient].map(|t| t.try_into_vec_as().expect("values"))
    }

    #[test]
    fn value_and_gradient_equal_burns() {
        let values = [-2.0, -0.0, 0.0, 1e-30, 3.0, -1e-30];
        assert_eq!(run(values, relu), run(values, activation::relu));
    }

    #[test]
    fn a_relu6_is_constant_at_its_corners() {
        let values = [-2.0, 0.0, 2.5, 6.0f32.next_down(), 6.0, 7.0];
        let [y, gradient] = run(values, relu6);
        assert_eq!(y, [0.0, 0.0, 2.5, 6.0f32.next_down(), 6.0, 6.0]);
        assert_eq!(gradient, [0.0, 0.0, 3.0, 4.0, 0.0, 0.0]);
    }

    #[test]
    fn what_is_not_differentiated_has_the_same_values() {
        let values = [-2.0, 0.0, 2.5, 6.0, 7.0];
        let y = relu6(Tensor::<1>::from_floats(values, &device()));
        let y: Vec<f32> = y.try_into_vec_as().expect("values");
        assert_eq!(y, [0.0, 0.0, 2.5, 6.0, 6.0]);
    }

    #[test]
    fn not_a_number_stays_visible() {
        for activation in [Activation::Relu, Activation::Relu6] {
            for device in [device(), device().autodiff()] {
                let x = Tensor::<1>::from_floats([f32::NAN], &device);
                let x = x.set_require_grad(device.is_autodiff());
                let y = activate(x, activation).into_data();
                assert!(y.iter::<f32>().all(f32::is_nan), "{activation:?}");
            }
        }
    }
}

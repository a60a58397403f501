//! Gradient clipping by global norm.
//!
//! Burn clips each parameter's gradient by a norm of its own.

use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor, TensorData};
use rayon::prelude::*;

use crate::device::is_host;
use crate::gradients;

/// Elements that one task reads. Fixed, so that sums do not depend on the number of threads.
const CHUNK: usize = 64 * 1024;

/// Added to the norm before dividing by it (PyTorch `clip_grad_norm_`).
const EPSILON: f64 = 1e-6;

/// Scales all gradients by `min(1, max_norm / (norm + 1e-6))`, where `norm` is the L2 norm of all
/// of them together, and returns it (PyTorch `clip_grad_norm_`).
///
/// Nothing is read back from a device.
///
/// # Shapes
///
/// The norm is `[1]`, without autodiff.
pub fn clip_gradients<M: Module>(
    model: &M,
    gradients: GradientsParams,
    max_norm: f64,
    device: &Device,
) -> (GradientsParams, Tensor<1>) {
    let device = device.clone().inner();
    if is_host(&device) {
        on_host(model, gradients, max_norm, &device)
    } else {
        on_device(model, gradients, max_norm, &device)
    }
}

fn on_device<M: Module>(
    model: &M,
    gradients: GradientsParams,
    max_norm: f64,
    device: &Device,
) -> (GradientsParams, Tensor<1>) {
    let norm = gradients::sum(model, &gradients, device, |x| x.square()).sqrt();
    let factor = ((norm.clone() + EPSILON).recip() * max_norm).clamp_max(1.0);
    let scale = |data: &mut Tensor<1>| *data = data.clone() * factor.clone();
    (gradients::rewrite(model, gradients, scale), norm)
}

/// In host memory the norm is known at once: one pass over the gradients, and a second one only
/// where they are too large; [`is_host`] says what that gains.
fn on_host<M: Module>(
    model: &M,
    gradients: GradientsParams,
    max_norm: f64,
    device: &Device,
) -> (GradientsParams, Tensor<1>) {
    let mut sum = 0.0_f64;
    let gradients = gradients::rewrite(model, gradients, |tensor| {
        change_data(tensor, |values| sum += sum_of_squares(values));
    });
    let norm = sum.sqrt();
    let result = Tensor::from_floats([norm as f32], device);
    let factor = (max_norm / (norm + EPSILON)) as f32;
    // A norm that is not a number must reach the gradients, as on a device.
    if factor >= 1.0 {
        return (gradients, result);
    }
    let scaled = gradients::rewrite(model, gradients, |tensor| {
        change_data(tensor, |values| {
            values.par_chunks_mut(CHUNK).for_each(|chunk| {
                chunk.iter_mut().for_each(|value| *value *= factor);
            });
        });
    });
    (scaled, result)
}

fn change_data(tensor: &mut Tensor<1>, change: impl FnOnce(&mut [f32])) {
    let device = tensor.device();
    // A placeholder, so that the buffer has one owner and is not copied.
    let owned = std::mem::replace(tensor, Tensor::empty([0], &device));
    let mut data: TensorData = owned.into_data();
    change(data.as_mut_slice().expect("gradients are f32"));
    *tensor = Tensor::from_data(data, &device);
}

fn sum_of_squares(values: &[f32]) -> f64 {
    let square = |chunk: &[f32]| -> f64 {
        // Lanes of f32 over short runs keep this as fast as memory; f64 keeps it exact.
        chunk
            .chunks(256)
            .map(|run| f64::from(run.iter().map(|x| x * x).sum::<f32>()))
            .sum()
    };
    let sums: Vec<f64> = values.par_chunks(CHUNK).map(square).collect();
    sums.into_iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::nn::{Linear, LinearConfig};

    type Clip = fn(&Linear, GradientsParams, f64, &Device) -> (GradientsParams, Tensor<1>);

    /// Gradients 3 for the weight and 4 for the bias have norm 5.
    fn check(clip: Clip, max_norm: f64, expected: [f32; 3]) {
        let device = Device::flex();
        let layer = LinearConfig::new(1, 1).init(&device);
        let (weight, bias) = (layer.weight.id, layer.bias.as_ref().unwrap().id);
        let mut gradients = GradientsParams::new();
        gradients.register(weight, Tensor::<2>::from_floats([[3.0]], &device));
        gradients.register(bias, Tensor::<1>::from_floats([4.0], &device));
        let (gradients, norm) = clip(&layer, gradients, max_norm, &device);
        let got = [
            norm.into_scalar::<f32>(),
            gradients.get::<2>(weight).unwrap().into_scalar::<f32>(),
            gradients.get::<1>(bias).unwrap().into_scalar::<f32>(),
        ];
        for (got, expected) in got.iter().zip(expected) {
            // 1e-6 is added to the norm.
            assert!((got - expected).abs() < 2e-6, "{got} {expected}");
        }
    }

    #[test]
    fn gradients_above_the_norm_are_scaled_and_others_kept() {
        for clip in [on_host::<Linear> as Clip, on_device::<Linear>] {
            check(clip, 35.0, [5.0, 3.0, 4.0]);
            check(clip, 2.5, [5.0, 1.5, 2.0]);
        }
    }

    #[test]
    fn sums_do_not_depend_on_the_number_of_threads() {
        let values: Vec<f32> = (0..300_000).map(|i| (i as f32).cos()).collect();
        let sum = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            pool.unwrap().install(|| sum_of_squares(&values))
        };
        assert_eq!(sum(1), sum(4));
        // cos^2 averages 1/2; the bound is the rounding of f32 squares.
        assert!((sum(2) - 150_000.0).abs() < 1.0, "{}", sum(2));
    }
}

//! Convolution with a kernel of 1 x 1 without padding or groups: a product of matrices as they are.

use std::mem::MaybeUninit;

use super::activation::Activation;
use super::columns;
use super::gemm::{Maps, Multiply, WeightGradient, Weights};
use super::sizes::ConvSizes;
use crate::simd::InstructionSet;

/// Whether this module computes convolutions of the sizes.
pub(crate) fn fits(sizes: &ConvSizes) -> bool {
    sizes.kernel == [1, 1] && sizes.padding == [0, 0] && sizes.groups == 1
}

/// Whether pixels of input and output are the same.
fn same(sizes: &ConvSizes) -> bool {
    assert!(fits(sizes), "not a pointwise convolution: {sizes:?}");
    sizes.stride == [1, 1]
}

/// `out[b] = weight x[b] + bias`, `[K, H' W']` for every image, and the activation of it.
///
/// # Panics
///
/// When the convolution is another one, or a slice is not as long as its sizes say.
pub(crate) fn forward(
    set: InstructionSet,
    sizes: &ConvSizes,
    x: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
    activation: Activation,
    out: &mut [MaybeUninit<f32>],
) {
    if !same(sizes) {
        return columns::forward(set, sizes, x, weight, bias, activation, out);
    }
    assert_eq!(x.len(), sizes.input_len());
    assert_eq!(weight.len(), sizes.weight_len());
    assert!(bias.is_none_or(|bias| bias.len() == sizes.channels_out));
    let multiply = Multiply {
        source: &Maps {
            values: x,
            channels: sizes.channels_in,
            pixels: sizes.pixels_in(),
        },
        weights: Weights {
            values: weight,
            row_step: sizes.channels_in,
            channel_step: 1,
            group_step: 0,
            taps: vec![0],
        },
        batch: sizes.batch,
        groups: 1,
        rows: sizes.channels_out,
        channels: sizes.channels_in,
        bias,
        activation,
    };
    multiply.run(set, out);
}

/// `out[b] = weight^T grad[b]`, `[C, H W]` for every image; 0 at pixels that a stride leaves out.
///
/// # Panics
///
/// As [`forward`].
pub(crate) fn input_gradient(
    set: InstructionSet,
    sizes: &ConvSizes,
    grad: &[f32],
    weight: &[f32],
    out: &mut [MaybeUninit<f32>],
) {
    if !same(sizes) {
        return columns::input_gradient(set, sizes, grad, weight, out);
    }
    assert_eq!(grad.len(), sizes.output_len());
    assert_eq!(weight.len(), sizes.weight_len());
    let multiply = Multiply {
        source: &Maps {
            values: grad,
            channels: sizes.channels_out,
            pixels: sizes.pixels_out(),
        },
        weights: Weights {
            values: weight,
            row_step: 1,
            channel_step: sizes.channels_in,
            group_step: 0,
            taps: vec![0],
        },
        batch: sizes.batch,
        groups: 1,
        rows: sizes.channels_in,
        channels: sizes.channels_out,
        bias: None,
        activation: Activation::None,
    };
    multiply.run(set, out);
}

/// `out = sum over images of grad[b] x[b]^T`, `[K, C]`.
///
/// # Panics
///
/// As [`forward`].
pub(crate) fn weight_gradient(
    set: InstructionSet,
    sizes: &ConvSizes,
    x: &[f32],
    grad: &[f32],
    out: &mut [MaybeUninit<f32>],
) {
    if !same(sizes) {
        return columns::weight_gradient(set, sizes, x, grad, out);
    }
    assert_eq!(x.len(), sizes.input_len());
    assert_eq!(grad.len(), sizes.output_len());
    let maps = |values, channels| Maps {
        values,
        channels,
        pixels: sizes.pixels_in(),
    };
    let gradient = WeightGradient {
        grad: maps(grad, sizes.channels_out),
        source: &maps(x, sizes.channels_in),
        batch: sizes.batch,
        groups: 1,
        outputs: sizes.channels_out,
        channels: sizes.channels_in,
    };
    gradient.run(set, out);
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::kernels::gemm::testing::Algorithm;

    const POINTWISE: Algorithm = Algorithm {
        forward,
        input_gradient,
        weight_gradient,
    };

    fn sizes(
        batch: usize,
        channels: [usize; 2],
        input: [usize; 2],
        stride: [usize; 2],
    ) -> ConvSizes {
        ConvSizes {
            batch,
            channels_in: channels[0],
            channels_out: channels[1],
            input,
            kernel: [1, 1],
            stride,
            padding: [0, 0],
            dilation: [1, 1],
            groups: 1,
        }
    }

    #[test]
    fn equals_the_reference() {
        let mut random = ChaCha8Rng::seed_from_u64(7);
        for seed in 0..60 {
            let mut any = |most: usize| random.random_range(1..=most);
            let channels = [any(70), any(70)];
            let input = [any(20), any(40)];
            let stride = if seed % 2 == 0 {
                [1, 1]
            } else {
                [any(3), any(3)]
            };
            POINTWISE.check(sizes(any(4), channels, input, stride), seed);
        }
    }

    #[test]
    fn equals_the_reference_with_several_blocks() {
        POINTWISE.check(sizes(1, [600, 20], [9, 7], [1, 1]), 1);
        POINTWISE.check(sizes(3, [20, 600], [2, 3], [1, 1]), 2);
        POINTWISE.check(sizes(2, [300, 280], [16, 16], [2, 2]), 3);
        POINTWISE.check(sizes(2, [33, 40], [64, 64], [1, 1]), 4);
    }

    #[test]
    fn nothing_is_computed_of_nothing() {
        for sizes in [
            sizes(0, [3, 4], [5, 6], [1, 1]),
            sizes(2, [3, 4], [0, 6], [1, 1]),
        ] {
            let none = |_: &f32| unreachable!();
            let case = crate::kernels::reference::Case::new(sizes, 0);
            for set in InstructionSet::available() {
                let [out, dx, dw] = POINTWISE.results(set, &case);
                out.iter().chain(&dx).for_each(none);
                assert!(dw.iter().all(|value| *value == 0.0));
            }
        }
    }

    #[test]
    fn threads_do_not_change_results() {
        POINTWISE.check_threads(sizes(2, [300, 70], [30, 33], [1, 1]));
        POINTWISE.check_threads(sizes(2, [40, 300], [64, 64], [2, 2]));
        POINTWISE.check_threads(sizes(4, [300, 300], [3, 4], [1, 1]));
    }

    #[test]
    fn what_is_not_finite_shows() {
        POINTWISE.check_not_finite(sizes(2, [20, 18], [5, 7], [1, 1]));
        POINTWISE.check_not_finite(sizes(2, [20, 18], [5, 7], [2, 2]));
    }
}

//! Convolution of any kernel, stride, padding, dilation and groups, as a product of matrices.

mod axis;
mod few;
mod gather;
mod lines;
mod strided;
#[cfg(test)]
mod tests;

use std::mem::MaybeUninit;

use axis::Axis;
use gather::Columns;

use super::activation::Activation;
use super::gemm::{Maps, Multiply, WeightGradient, Weights};
use super::sizes::ConvSizes;
use crate::simd::InstructionSet;

/// `out = weight * x + bias`, and the activation of it.
///
/// # Panics
///
/// When a slice is not as long as its sizes say.
pub(crate) fn forward(
    set: InstructionSet,
    sizes: &ConvSizes,
    x: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
    activation: Activation,
    out: &mut [MaybeUninit<f32>],
) {
    assert_eq!(x.len(), sizes.input_len());
    assert_eq!(weight.len(), sizes.weight_len());
    assert!(bias.is_none_or(|bias| bias.len() == sizes.channels_out));
    let channels = sizes.channels_in / sizes.groups;
    let rows = sizes.channels_out / sizes.groups;
    let multiply = Multiply {
        source: &columns_of_input(sizes, x),
        weights: Weights {
            values: weight,
            row_step: channels * sizes.taps(),
            channel_step: sizes.taps(),
            group_step: rows * channels * sizes.taps(),
            taps: (0..sizes.taps()).collect(),
        },
        batch: sizes.batch,
        groups: sizes.groups,
        rows,
        channels,
        bias,
        activation,
    };
    run(&multiply, set, out);
}

/// The gradient by the input.
///
/// With a stride of 1 it is a convolution of the gradient by the output with the weight flipped
/// around; otherwise it is one for each place of an input between the strides.
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
    assert_eq!(grad.len(), sizes.output_len());
    assert_eq!(weight.len(), sizes.weight_len());
    assert_eq!(out.len(), sizes.input_len());
    if sizes.stride != [1, 1] {
        return strided::input_gradient(set, sizes, grad, weight, out);
    }
    let (source, weights) = backward(sizes, [0, 0], grad, weight);
    let multiply = Multiply {
        source: &source,
        weights,
        batch: sizes.batch,
        groups: sizes.groups,
        rows: sizes.channels_in / sizes.groups,
        channels: sizes.channels_out / sizes.groups,
        bias: None,
        activation: Activation::None,
    };
    run(&multiply, set, out);
}

/// The gradient by the weight.
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
    assert_eq!(x.len(), sizes.input_len());
    assert_eq!(grad.len(), sizes.output_len());
    let gradient = WeightGradient {
        grad: Maps {
            values: grad,
            channels: sizes.channels_out,
            pixels: sizes.pixels_out(),
        },
        source: &columns_of_input(sizes, x),
        batch: sizes.batch,
        groups: sizes.groups,
        outputs: sizes.channels_out / sizes.groups,
        channels: sizes.channels_in / sizes.groups,
    };
    if few::fits_weight_gradient(&gradient) {
        few::run_weight_gradient(&gradient, set, out);
    } else {
        gradient.run(set, out);
    }
}

/// Computes a product in the faster one of two ways.
fn run(multiply: &Multiply<Columns>, set: InstructionSet, out: &mut [MaybeUninit<f32>]) {
    if few::fits(multiply) {
        few::run(multiply, set, out);
    } else {
        multiply.run(set, out);
    }
}

/// What every output reads.
fn columns_of_input<'a>(sizes: &ConvSizes, x: &'a [f32]) -> Columns<'a> {
    let [down, across] = [0, 1].map(|axis| Axis::forward(sizes, axis));
    Columns::new(x, sizes.channels_in, down, across)
}

/// What the gradient by every `stride`-th input is made of, from the input `phase` on: values of
/// the gradient by the output, and weights.
fn backward<'a>(
    sizes: &ConvSizes,
    phase: [usize; 2],
    grad: &'a [f32],
    weight: &'a [f32],
) -> (Columns<'a>, Weights<'a>) {
    let [(down, rows), (across, columns)] =
        [0, 1].map(|axis| Axis::backward(sizes, axis, phase[axis]));
    let channels = sizes.channels_in / sizes.groups;
    let places = |row: &usize| {
        let first = row * sizes.kernel[1];
        columns.iter().map(move |column| first + column)
    };
    let weights = Weights {
        values: weight,
        row_step: sizes.taps(),
        channel_step: channels * sizes.taps(),
        group_step: sizes.channels_out / sizes.groups * channels * sizes.taps(),
        taps: rows.iter().flat_map(places).collect(),
    };
    let source = Columns::new(grad, sizes.channels_out, down, across);
    (source, weights)
}

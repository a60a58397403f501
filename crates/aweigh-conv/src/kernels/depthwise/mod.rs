//! Depthwise convolution: every channel has a kernel of its own. It is bound by memory, so it goes
//! once over input and output, a strip of rows at a time.

mod correlate;
mod direct;
mod spread;
mod strip;
#[cfg(test)]
mod tests;
mod weight;

use std::mem::MaybeUninit;
use std::ops::Range;

pub(crate) use weight::weight_gradient;

use super::activation::Activation;
use super::planes::for_planes;
use super::sizes::ConvSizes;
use super::threads::Shared;
use crate::simd::InstructionSet;
use correlate::{Correlate, Correlation, Plane};
use direct::{Direct, is_direct};
use strip::Map;

/// Whether this module computes convolutions of the sizes.
pub(crate) fn fits(sizes: &ConvSizes) -> bool {
    let groups = sizes.groups;
    groups > 1 && groups == sizes.channels_in && groups == sizes.channels_out
}

/// `out = conv(x, weight) + bias`, and the activation of it. `x` is `[B, C, H, W]`, `weight`
/// `[C, kh, kw]`, `bias` `[C]`.
///
/// # Panics
///
/// When the convolution is not depthwise or a length does not fit the sizes.
pub(crate) fn forward(
    set: InstructionSet,
    sizes: &ConvSizes,
    x: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
    activation: Activation,
    out: &mut [MaybeUninit<f32>],
) {
    check(sizes, x.len(), weight.len(), out.len());
    assert!(bias.is_none_or(|bias| bias.len() == sizes.channels_out));
    let correlation = Correlation::forward(sizes);
    correlate(
        set,
        sizes,
        &correlation,
        [x, weight],
        (bias, activation),
        out,
    );
}

/// Gradient of the input: the gradient of the output, with zeros between its values where the
/// stride is above 1, correlated with the flipped kernel.
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
    check(sizes, out.len(), weight.len(), grad.len());
    if spread::fits(sizes) {
        return spread::input_gradient(set, sizes, grad, weight, out);
    }
    let padding =
        |i: usize| (sizes.dilation[i] * (sizes.kernel[i] - 1)) as isize - sizes.padding[i] as isize;
    let correlation = Correlation {
        map: Map {
            size: sizes.output(),
            spread: sizes.stride,
            padding: [padding(0), padding(1)],
        },
        kernel: sizes.kernel,
        stride: [1; 2],
        dilation: sizes.dilation,
        output: sizes.input,
    };
    let flipped: Vec<f32> = weight
        .chunks_exact(sizes.taps())
        .flat_map(|taps| taps.iter().rev().copied())
        .collect();
    correlate(
        set,
        sizes,
        &correlation,
        [grad, &flipped],
        (None, Activation::None),
        out,
    );
}

#[track_caller]
fn check(sizes: &ConvSizes, input: usize, weight: usize, output: usize) {
    let channels = sizes.groups;
    assert!(sizes.channels_in == channels && sizes.channels_out == channels);
    assert_eq!(input, sizes.input_len());
    assert_eq!(weight, channels * sizes.taps());
    assert_eq!(output, sizes.output_len());
}

/// Correlates every plane of `from` with its channel's kernel; their lengths have been checked.
fn correlate(
    set: InstructionSet,
    sizes: &ConvSizes,
    correlation: &Correlation,
    [from, weight]: [&[f32]; 2],
    (bias, activation): (Option<&[f32]>, Activation),
    out: &mut [MaybeUninit<f32>],
) {
    let [of_input, of_output] = [correlation.map.size, correlation.output].map(|[h, w]| h * w);
    let (planes, taps) = (sizes.batch * sizes.channels_out, sizes.taps());
    let out = Shared::new(out);
    let strip = (!is_direct(correlation)).then(|| correlation.strip());
    let scratch = || vec![0.0; strip.map_or(correlation.map.size[1], |strip| strip.len())];
    let work = |scratch: &mut Vec<f32>, range: Range<usize>| {
        for plane in range {
            let channel = plane % sizes.channels_out;
            let plane = Plane {
                correlation,
                map: &from[plane * of_input..][..of_input],
                weight: &weight[channel * taps..][..taps],
                bias: bias.map_or(0.0, |bias| bias[channel]),
                activation,
                // SAFETY: a place of the output, which has as many planes as the input.
                out: unsafe { out.get().add(plane * of_output).cast() },
            };
            // SAFETY: as long as a plane; each job writes to planes of its own.
            unsafe {
                match strip {
                    None => set.run(Direct {
                        plane,
                        zeros: scratch,
                    }),
                    Some(strip) => set.run(Correlate {
                        plane,
                        strip,
                        scratch,
                    }),
                }
            }
        }
    };
    for_planes(planes, of_input.max(of_output), scratch, work);
}

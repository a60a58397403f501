//! The gradient of the kernels of a depthwise convolution.

use std::mem::MaybeUninit;

use super::check;
use super::correlate::{Correlation, read};
use super::direct::{DirectWeight, is_direct};
use super::strip::Strip;
use crate::kernels::planes::{for_planes, total, vectors};
use crate::kernels::sizes::ConvSizes;
use crate::kernels::threads::Shared;
use crate::simd::{InstructionSet, Kernel, Simd};

/// Gradient of the weight, `[C, kh, kw]`: sums over the strips of all images in their order, those
/// of a strip in the lanes of vectors, the rest in `f64`.
///
/// # Panics
///
/// As [`forward`](super::forward).
pub(crate) fn weight_gradient(
    set: InstructionSet,
    sizes: &ConvSizes,
    x: &[f32],
    grad: &[f32],
    out: &mut [MaybeUninit<f32>],
) {
    check(sizes, x.len(), out.len(), grad.len());
    let (channels, taps) = (sizes.channels_out, sizes.taps());
    let [of_input, of_output] = [sizes.pixels_in(), sizes.pixels_out()];
    let out = Shared::new(out);
    let correlation = Correlation::forward(sizes);
    let (strip, direct) = (correlation.strip(), is_direct(&correlation));
    let scratch = || {
        let len = if direct { sizes.input[1] } else { strip.len() };
        (vec![0.0f32; len], vec![0.0f64; taps])
    };
    let values = sizes.batch * of_input.max(of_output);
    for_planes(channels, values, scratch, |(scratch, sums), range| {
        for channel in range {
            sums.fill(0.0);
            for image in 0..sizes.batch {
                let plane = image * channels + channel;
                let map = &x[plane * of_input..][..of_input];
                let grad = &grad[plane * of_output..][..of_output];
                // SAFETY: the planes are as long as the sizes say.
                unsafe {
                    if direct {
                        set.run(DirectWeight {
                            correlation: &correlation,
                            map,
                            grad,
                            zeros: scratch,
                            sums,
                        });
                    } else {
                        set.run(WeightGradient {
                            correlation: &correlation,
                            strip,
                            map,
                            grad,
                            scratch,
                            sums,
                        });
                    }
                }
            }
            for (tap, sum) in sums.iter().enumerate() {
                // SAFETY: a place of the weight; each job writes to channels of its own.
                unsafe { (*out.get().add(channel * taps + tap)).write(*sum as f32) };
            }
        }
    });
}

/// Adds the products of one plane.
struct WeightGradient<'a> {
    correlation: &'a Correlation,
    strip: Strip,
    map: &'a [f32],
    grad: &'a [f32],
    /// Rows of the padded map.
    scratch: &'a mut [f32],
    /// One for each tap.
    sums: &'a mut [f64],
}

impl Kernel for WeightGradient<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let c = self.correlation;
        let [height, width] = c.output;
        if height == 0 || width == 0 {
            return;
        }
        for first in (0..height).step_by(self.strip.outputs) {
            let (row, step) = (first * c.stride[0], self.strip.step);
            c.map.fill(self.map, row, step, self.scratch);
            let rows = Rows {
                correlation: c,
                strip: self.scratch.as_ptr(),
                step,
                grad: self.grad[first * width..].as_ptr(),
                width,
                count: self.strip.outputs.min(height - first),
            };
            // SAFETY: the strip has all rows and columns that the outputs need.
            unsafe { rows.add::<S>(self.sums) };
        }
    }
}

/// Some rows of the output's gradient.
struct Rows<'a> {
    correlation: &'a Correlation,
    strip: *const f32,
    step: usize,
    grad: *const f32,
    width: usize,
    count: usize,
}

impl Rows<'_> {
    #[inline(always)]
    unsafe fn add<S: Simd>(&self, sums: &mut [f64]) {
        let s = self.correlation;
        // SAFETY: as the caller's.
        unsafe {
            match (s.kernel[1], s.stride[1]) {
                (5, 1) => self.all::<S, 5, 1>(sums),
                (_, 1) => self.all::<S, 1, 1>(sums),
                (_, 2) => self.all::<S, 1, 2>(sums),
                _ => self.all::<S, 1, 0>(sums),
            }
        }
    }

    /// `TAPS` divides the width of the kernel; `STRIDE` is the step across, 0 for any.
    #[inline(always)]
    unsafe fn all<S: Simd, const TAPS: usize, const STRIDE: usize>(&self, sums: &mut [f64]) {
        for (i, sums) in sums.as_chunks_mut::<TAPS>().0.iter_mut().enumerate() {
            // SAFETY: as the caller's.
            unsafe { self.taps::<S, TAPS, STRIDE>(i * TAPS, sums) };
        }
    }

    /// `TAPS` neighbouring taps from `first` on.
    #[inline(always)]
    unsafe fn taps<S: Simd, const TAPS: usize, const STRIDE: usize>(
        &self,
        first: usize,
        sums: &mut [f64; TAPS],
    ) {
        let s = self.correlation;
        let (i, j) = (first / s.kernel[1], first % s.kernel[1]);
        // SAFETY: as the caller's.
        unsafe {
            let place = i * s.dilation[0] * self.step + j * s.dilation[1];
            let from = self.strip.add(place);
            let mut lanes = [[S::zero(); 4]; TAPS];
            for row in 0..self.count {
                let grad = self.grad.add(row * self.width);
                let from = from.add(row * s.stride[0] * self.step);
                vectors!(self.width, |x, n, turn| {
                    let grad = S::load_first(grad.add(x), n);
                    for (tap, lanes) in lanes.iter_mut().enumerate() {
                        let from = from.add(x * s.stride[1] + tap * s.dilation[1]);
                        let value = read::<S, STRIDE>(from, s.stride[1]);
                        lanes[turn] = S::mul_add(grad, value, lanes[turn]);
                    }
                });
            }
            for (sum, lanes) in sums.iter_mut().zip(lanes) {
                *sum += total::<S>(lanes);
            }
        }
    }
}

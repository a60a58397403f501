//! The transforms of weights, to panels of right matrices, and of their gradient.

use std::mem::MaybeUninit;
use std::ops::Range;

use super::transform::{Expand, SPAN, TAPS, Taps, taps};
use crate::simd::{Kernel, LANES, Simd};

/// Taps of a kernel.
const KERNEL: usize = TAPS * TAPS;

/// Weights of a convolution.
#[derive(Debug, Clone, Copy)]
pub(super) struct Weights<'a> {
    /// `[outputs][inputs][3][3]`, or `[inputs][outputs][3][3]` if transposed.
    pub(super) values: &'a [f32],
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    /// Whether the weights are those of the opposite direction: the taps are in reverse order.
    pub(super) transposed: bool,
}

/// Transforms the weights of a panel of outputs to right matrices, `[plane][input][width]`.
pub(super) struct WeightsToPlanes<'a> {
    pub(super) weights: Weights<'a>,
    /// Outputs of the panel, from and to a multiple of 16.
    pub(super) outputs: Range<usize>,
    /// Inputs, from and to a multiple of 16.
    pub(super) inputs: Range<usize>,
    pub(super) planes: *mut f32,
    /// From plane to plane.
    pub(super) step: usize,
}

/// Taps of 16 inputs, `[input][tap]`, for 16 outputs each.
#[repr(align(64))]
struct Block([[MaybeUninit<f32>; LANES]; LANES * KERNEL]);

impl Kernel for WeightsToPlanes<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let mut taps = Block([[MaybeUninit::uninit(); LANES]; LANES * KERNEL]);
        for input in self.inputs.clone().step_by(LANES) {
            for output in self.outputs.clone().step_by(LANES) {
                // SAFETY: the planes have room for the panel.
                unsafe {
                    if self.weights.transposed {
                        self.load_transposed::<S>(&mut taps, input, output);
                    } else {
                        self.load::<S>(&mut taps, input, output);
                    }
                    self.expand::<S>(&mut taps, input, output);
                }
            }
        }
    }
}

impl WeightsToPlanes<'_> {
    /// Takes 16 inputs and outputs from `[outputs][inputs][3][3]`: each output has its taps in a
    /// row.
    #[inline(always)]
    unsafe fn load<S: Simd>(&self, to: &mut Block, input: usize, output: usize) {
        let Weights {
            inputs, outputs, ..
        } = self.weights;
        let (values, rows) = ((inputs - input).min(LANES) * KERNEL, outputs - output);
        let from = self.weights.values[(output * inputs + input) * KERNEL..].as_ptr();
        // SAFETY: the values lie in the weights of the outputs there are.
        unsafe {
            for part in 0..KERNEL {
                let first = part * LANES;
                let mut v = [S::zero(); LANES];
                for (i, v) in v.iter_mut().enumerate() {
                    if i < rows && first < values {
                        let from = from.add(i * inputs * KERNEL + first);
                        *v = S::load_first(from, values - first);
                    }
                }
                for (i, v) in S::transpose(v).into_iter().enumerate() {
                    S::store(to.0[first + i].as_mut_ptr().cast(), v);
                }
            }
        }
    }

    /// Takes 16 inputs and outputs from `[inputs][outputs][3][3]`, with the taps reversed.
    #[inline(always)]
    unsafe fn load_transposed<S: Simd>(&self, to: &mut Block, input: usize, output: usize) {
        let Weights {
            inputs, outputs, ..
        } = self.weights;
        let (present, rows) = (inputs - input, outputs - output);
        for i in 0..LANES {
            // SAFETY: the values lie in the weights of the channels there are.
            unsafe {
                let mut v = [S::zero(); LANES];
                if i < present {
                    let from = &self.weights.values[((input + i) * outputs + output) * KERNEL..];
                    // Whole vectors, of which nine values count, where they end in the slice.
                    if rows >= LANES && from.len() >= LANES * KERNEL + LANES {
                        for (row, v) in v.iter_mut().enumerate() {
                            *v = S::load(from.as_ptr().add(row * KERNEL));
                        }
                    } else {
                        for (row, v) in v.iter_mut().enumerate() {
                            if row < rows {
                                *v = S::load_first(from.as_ptr().add(row * KERNEL), KERNEL);
                            }
                        }
                    }
                }
                let v = S::transpose(v);
                for tap in 0..KERNEL {
                    let to = &mut to.0[i * KERNEL + tap];
                    S::store(to.as_mut_ptr().cast(), v[KERNEL - 1 - tap]);
                }
            }
        }
    }

    /// Transforms the taps of 16 inputs and outputs.
    #[inline(always)]
    unsafe fn expand<S: Simd>(&self, taps: &mut Block, input: usize, output: usize) {
        let width = self.outputs.len();
        for i in 0..LANES {
            let place = (input - self.inputs.start + i) * width + output - self.outputs.start;
            // SAFETY: as `run`'s.
            unsafe {
                let mut columns = [[S::zero(); SPAN]; TAPS];
                for (column, expanded) in columns.iter_mut().enumerate() {
                    let mut values = [S::zero(); TAPS];
                    for (row, value) in values.iter_mut().enumerate() {
                        let tap = i * KERNEL + row * TAPS + column;
                        *value = S::load(taps.0[tap].as_ptr().cast());
                    }
                    *expanded = Taps::expand::<S>(values);
                }
                for row in 0..SPAN {
                    let mut values = [S::zero(); TAPS];
                    for (value, column) in values.iter_mut().zip(&columns) {
                        *value = column[row];
                    }
                    for (j, value) in Taps::expand::<S>(values).into_iter().enumerate() {
                        S::store(self.planes.add((row * SPAN + j) * self.step + place), value);
                    }
                }
            }
        }
    }
}

/// Transforms sums over tiles, of some outputs and 16 inputs, to the gradient of the weights.
pub(super) struct PlanesToWeights {
    /// The inputs of the first output, in the first plane.
    pub(super) planes: *const f32,
    /// From plane to plane.
    pub(super) step: usize,
    /// From output to output, in a plane.
    pub(super) output_step: usize,
    /// Outputs.
    pub(super) outputs: usize,
    /// Inputs, at most 16.
    pub(super) inputs: usize,
    /// Gradient of the first output and input, `[outputs][inputs][3][3]`.
    pub(super) out: *mut f32,
    /// From output to output of the gradient.
    pub(super) out_step: usize,
}

impl Kernel for PlanesToWeights {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        for output in 0..self.outputs {
            // SAFETY: the planes hold 16 inputs of every output, and `out` those there are.
            unsafe {
                let from = self.planes.add(output * self.output_step);
                let mut columns = [[S::zero(); TAPS]; SPAN];
                for (column, reduced) in columns.iter_mut().enumerate() {
                    let mut values = [S::zero(); SPAN];
                    for (row, value) in values.iter_mut().enumerate() {
                        *value = S::load(from.add((row * SPAN + column) * self.step));
                    }
                    *reduced = taps::<S>(values);
                }
                let mut gradient = [S::zero(); LANES];
                for row in 0..TAPS {
                    let mut values = [S::zero(); SPAN];
                    for (value, column) in values.iter_mut().zip(&columns) {
                        *value = column[row];
                    }
                    for (i, value) in taps::<S>(values).into_iter().enumerate() {
                        gradient[row * TAPS + i] = value;
                    }
                }
                let out = self.out.add(output * self.out_step);
                for (i, values) in S::transpose(gradient).into_iter().enumerate() {
                    // Whole vectors: what is too much is overwritten by the next input.
                    if i + 1 < self.inputs {
                        S::store(out.add(i * KERNEL), values);
                    } else if i < self.inputs {
                        S::store_first(out.add(i * KERNEL), values, KERNEL);
                    }
                }
            }
        }
    }
}

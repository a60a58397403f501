//! The correlation of a plane with a kernel.

use super::strip::{Map, Strip};
use crate::kernels::activation::Activation;
use crate::kernels::planes::vectors;
use crate::kernels::sizes::ConvSizes;
use crate::simd::{Kernel, LANES, Simd};

/// Sizes of a correlation: output `(y, x)` is the sum of
/// `weight(i, j) padded(y stride + i dilation, x stride + j dilation)`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Correlation {
    pub(super) map: Map,
    pub(super) kernel: [usize; 2],
    pub(super) stride: [usize; 2],
    pub(super) dilation: [usize; 2],
    /// Height and width of the output.
    pub(super) output: [usize; 2],
}

impl Correlation {
    /// That of a convolution.
    pub(super) fn forward(sizes: &ConvSizes) -> Self {
        Self {
            map: Map {
                size: sizes.input,
                spread: [1; 2],
                padding: sizes.padding.map(|p| p as isize),
            },
            kernel: sizes.kernel,
            stride: sizes.stride,
            dilation: sizes.dilation,
            output: sizes.output(),
        }
    }

    /// The strips that it goes through.
    pub(super) fn strip(&self) -> Strip {
        Strip::new(self.output, self.kernel, self.stride, self.dilation)
    }
}

/// What is computed of a plane.
#[derive(Clone, Copy)]
pub(super) struct Plane<'a> {
    pub(super) correlation: &'a Correlation,
    pub(super) map: &'a [f32],
    pub(super) weight: &'a [f32],
    pub(super) bias: f32,
    pub(super) activation: Activation,
    pub(super) out: *mut f32,
}

/// One plane, a strip at a time.
pub(super) struct Correlate<'a> {
    pub(super) plane: Plane<'a>,
    pub(super) strip: Strip,
    /// Rows of the padded map.
    pub(super) scratch: &'a mut [f32],
}

impl Kernel for Correlate<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self {
            plane,
            strip,
            scratch,
        } = self;
        let Plane {
            correlation, map, ..
        } = plane;
        let [height, width] = correlation.output;
        if height == 0 || width == 0 {
            return;
        }
        for first in (0..height).step_by(strip.outputs) {
            let outputs = strip.outputs.min(height - first);
            correlation
                .map
                .fill(map, first * correlation.stride[0], strip.step, scratch);
            let rows = Rows {
                correlation,
                weight: plane.weight,
                bias: plane.bias,
                activation: plane.activation,
                strip: scratch.as_ptr(),
                step: strip.step,
                // SAFETY: a row of the output.
                out: unsafe { plane.out.add(first * width) },
                count: outputs,
            };
            // SAFETY: the strip has all rows and columns that the outputs need.
            unsafe { rows.compute::<S>() };
        }
    }
}

/// Some rows of the output.
struct Rows<'a> {
    correlation: &'a Correlation,
    weight: &'a [f32],
    bias: f32,
    activation: Activation,
    strip: *const f32,
    step: usize,
    out: *mut f32,
    count: usize,
}

impl Rows<'_> {
    #[inline(always)]
    unsafe fn compute<S: Simd>(&self) {
        let c = self.correlation;
        // SAFETY: as the caller's.
        unsafe {
            match (c.kernel, c.stride, c.dilation) {
                // Of a row each where maps may be large: stores to several rows at a time take a
                // fifth longer once the maps do not fit the caches.
                ([3, 3], [1, 1], [1, 1]) => self.tiles::<S, 3, 1, 1>(),
                ([5, 5], [1, 1], [1, 1]) => self.tiles::<S, 5, 1, 4>(),
                ([5, 5], [2, 2], [1, 1]) => self.tiles::<S, 5, 2, 2>(),
                (_, [_, 1], _) => self.any::<S, 1>(),
                (_, [_, 2], _) => self.any::<S, 2>(),
                _ => self.any::<S, 0>(),
            }
        }
    }

    /// A square kernel of a known size: tiles of `ROWS` rows, which share the rows they read.
    #[inline(always)]
    unsafe fn tiles<S: Simd, const KERNEL: usize, const STRIDE: usize, const ROWS: usize>(&self) {
        let mut weight = [[0.0; KERNEL]; KERNEL];
        for (i, weight) in weight.iter_mut().enumerate() {
            weight.copy_from_slice(&self.weight[i * KERNEL..][..KERNEL]);
        }
        let whole = self.count - self.count % ROWS;
        // SAFETY: as the caller's.
        unsafe {
            for row in (0..whole).step_by(ROWS) {
                self.tile::<S, KERNEL, STRIDE, ROWS>(&weight, row);
            }
            for row in whole..self.count {
                self.tile::<S, KERNEL, STRIDE, 1>(&weight, row);
            }
        }
    }

    #[inline(always)]
    unsafe fn tile<S: Simd, const KERNEL: usize, const STRIDE: usize, const ROWS: usize>(
        &self,
        weight: &[[f32; KERNEL]; KERNEL],
        row: usize,
    ) {
        let width = self.correlation.output[1];
        // SAFETY: as the caller's.
        unsafe {
            let from = self.strip.add(row * STRIDE * self.step);
            vectors!(width, |x, n| {
                let mut sums = [S::splat(self.bias); ROWS];
                for i in 0..(ROWS - 1) * STRIDE + KERNEL {
                    let from = from.add(i * self.step + x * STRIDE);
                    for j in 0..KERNEL {
                        let value = read::<S, STRIDE>(from.add(j), STRIDE);
                        for (r, sum) in sums.iter_mut().enumerate() {
                            if let Some(weight) = weight.get(i.wrapping_sub(r * STRIDE)) {
                                *sum = S::mul_add(value, S::splat(weight[j]), *sum);
                            }
                        }
                    }
                }
                for (r, sum) in sums.into_iter().enumerate() {
                    self.store::<S>((row + r) * width + x, sum, n);
                }
            });
        }
    }

    /// Any kernel. `STRIDE` is the step across, 0 for any.
    #[inline(always)]
    unsafe fn any<S: Simd, const STRIDE: usize>(&self) {
        let c = self.correlation;
        let width = c.output[1];
        for row in 0..self.count {
            // SAFETY: as the caller's.
            unsafe {
                let from = self.strip.add(row * c.stride[0] * self.step);
                for x in (0..width).step_by(4 * LANES) {
                    let vectors = (width - x).div_ceil(LANES).min(4);
                    let mut sums = [S::splat(self.bias); 4];
                    for i in 0..c.kernel[0] {
                        for j in 0..c.kernel[1] {
                            let weight = S::splat(self.weight[i * c.kernel[1] + j]);
                            let place = i * c.dilation[0] * self.step + j * c.dilation[1];
                            for (v, sum) in sums.iter_mut().enumerate() {
                                if v < vectors {
                                    let at = place + (x + v * LANES) * c.stride[1];
                                    let value = read::<S, STRIDE>(from.add(at), c.stride[1]);
                                    *sum = S::mul_add(value, weight, *sum);
                                }
                            }
                        }
                    }
                    for (v, sum) in sums.into_iter().enumerate() {
                        let x = x + v * LANES;
                        if x < width {
                            self.store::<S>(row * width + x, sum, width - x);
                        }
                    }
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn store<S: Simd>(&self, at: usize, sum: S::V, count: usize) {
        // SAFETY: as the caller's.
        unsafe {
            let value = self.activation.of::<S>(sum);
            S::store_first(self.out.add(at), value, count);
        }
    }
}

/// 16 values, each `stride` from the one before; `STRIDE` is the same if it is 1 or 2, else 0.
///
/// # Safety
///
/// The machine has the instructions of `S`; valid for 16 values, or 32 with a stride of 2.
#[inline(always)]
pub(super) unsafe fn read<S: Simd, const STRIDE: usize>(from: *const f32, stride: usize) -> S::V {
    // SAFETY: by this function's own conditions.
    unsafe {
        match STRIDE {
            1 => S::load(from),
            2 => S::evens(S::load(from), S::load(from.add(LANES))),
            _ => {
                let mut values = [0.0; LANES];
                for (i, value) in values.iter_mut().enumerate() {
                    *value = *from.add(i * stride);
                }
                S::load(values.as_ptr())
            }
        }
    }
}

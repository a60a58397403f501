//! The gradient of the input of 3x3 kernels with a stride of 2, without the zeros that stand between
//! the values of the output's gradient.
//!
//! Along an axis, place `q` of the padded input is read by tap `q - 2 o` of output `o`. Even places
//! are read by taps 0 and 2, of outputs `q / 2` and `q / 2 - 1`, odd places by tap 1 of output
//! `(q - 1) / 2`.

use std::mem::MaybeUninit;
use std::ops::Range;

use super::direct::load;
use crate::kernels::planes::for_planes;
use crate::kernels::sizes::ConvSizes;
use crate::kernels::threads::Shared;
use crate::simd::{InstructionSet, Kernel, LANES, Simd};

/// Whether this module computes the gradient.
pub(super) fn fits(sizes: &ConvSizes) -> bool {
    sizes.kernel == [3; 2] && sizes.stride == [2; 2] && sizes.dilation == [1; 2]
}

/// Gradient of the input; lengths have been checked.
pub(super) fn input_gradient(
    set: InstructionSet,
    sizes: &ConvSizes,
    grad: &[f32],
    weight: &[f32],
    out: &mut [MaybeUninit<f32>],
) {
    let [of_input, of_output] = [sizes.pixels_in(), sizes.pixels_out()];
    let zeros = vec![0.0; sizes.output()[1]];
    let out = Shared::new(out);
    let work = |(): &mut (), range: Range<usize>| {
        for plane in range {
            let kernel = Spread {
                sizes,
                grad: &grad[plane * of_output..][..of_output],
                weight: &weight[plane % sizes.channels_out * 9..][..9],
                zeros: &zeros,
                // SAFETY: a place of the output, which has as many planes as the gradient.
                out: unsafe { out.get().add(plane * of_input).cast() },
            };
            // SAFETY: as long as a plane; each job writes to planes of its own.
            unsafe { set.run(kernel) };
        }
    };
    for_planes(sizes.batch * sizes.channels_out, of_input, || (), work);
}

/// One plane.
struct Spread<'a> {
    sizes: &'a ConvSizes,
    grad: &'a [f32],
    weight: &'a [f32],
    /// A row of the gradient, of zeros: what is read above and below it.
    zeros: &'a [f32],
    out: *mut f32,
}

impl Kernel for Spread<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        for y in 0..self.sizes.input[0] {
            let q = y + self.sizes.padding[0];
            // SAFETY: `out` is valid for a plane, which has this row.
            unsafe {
                if q.is_multiple_of(2) {
                    let half = (q / 2) as isize;
                    self.row::<S, 2>([(0, half), (2, half - 1)], y);
                } else {
                    self.row::<S, 1>([(1, (q / 2) as isize)], y);
                }
            }
        }
    }
}

impl Spread<'_> {
    /// Row `y`, which these rows of the kernel read, each of a row of outputs.
    #[inline(always)]
    unsafe fn row<S: Simd, const ROWS: usize>(&self, taps: [(usize, isize); ROWS], y: usize) {
        let [height, width] = self.sizes.output();
        let rows = taps.map(|(_, output)| match usize::try_from(output) {
            Ok(output) if output < height => self.grad[output * width..][..width].as_ptr(),
            _ => self.zeros.as_ptr(),
        });
        let mut weight = [[0.0; 3]; ROWS];
        for (weight, (row, _)) in weight.iter_mut().zip(taps) {
            weight.copy_from_slice(&self.weight[row * 3..][..3]);
        }
        let (across, padding) = (self.sizes.input[1], self.sizes.padding[1]);
        let halves = (across + padding).div_ceil(2);
        // The first vector reads the output before it; the last ones may read beyond the outputs or
        // write beyond the row.
        let first = padding.div_ceil(2).max(1).next_multiple_of(LANES);
        let end = (width + 1)
            .min((across + padding) / 2 + 1)
            .saturating_sub(LANES);
        // SAFETY: the row has all places.
        unsafe {
            let out = self.out.add(y * across);
            let mut at = 0;
            while at < first.min(halves) {
                self.vector::<S, ROWS, true>(&rows, &weight, at, out);
                at += LANES;
            }
            while at < end {
                self.vector::<S, ROWS, false>(&rows, &weight, at, out);
                at += LANES;
            }
            while at < halves {
                self.vector::<S, ROWS, true>(&rows, &weight, at, out);
                at += LANES;
            }
        }
    }

    /// The 32 places of the padded row from `2 at` on; where `EDGE` is false, all of them are in the
    /// row and all that they read is inside.
    #[inline(always)]
    unsafe fn vector<S: Simd, const ROWS: usize, const EDGE: bool>(
        &self,
        rows: &[*const f32; ROWS],
        weight: &[[f32; 3]; ROWS],
        at: usize,
        out: *mut f32,
    ) {
        let width = self.sizes.output()[1];
        let (across, padding) = (self.sizes.input[1], self.sizes.padding[1]);
        // SAFETY: as `row`'s.
        unsafe {
            let [mut even, mut odd] = [S::zero(); 2];
            for (row, weight) in rows.iter().zip(weight) {
                let here = load::<S, EDGE>(*row, width, at as isize);
                let before = load::<S, EDGE>(*row, width, at as isize - 1);
                even = S::mul_add(here, S::splat(weight[0]), even);
                even = S::mul_add(before, S::splat(weight[2]), even);
                odd = S::mul_add(here, S::splat(weight[1]), odd);
            }
            let [low, high] = S::interleave(even, odd);
            if !EDGE {
                let to = out.add(2 * at - padding);
                S::store(to, low);
                S::store(to.add(LANES), high);
                return;
            }
            let mut values = [0.0; 2 * LANES];
            S::store(values.as_mut_ptr(), low);
            S::store(values[LANES..].as_mut_ptr(), high);
            let first = padding.saturating_sub(2 * at).min(2 * LANES);
            let last = (across + padding - 2 * at).min(2 * LANES);
            let to = out.add(2 * at + first - padding);
            for (place, value) in values[first..last].iter().enumerate() {
                *to.add(place) = *value;
            }
        }
    }
}

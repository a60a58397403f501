//! Adding up partial sums.

use crate::simd::{Kernel, LANES, Simd};

/// Adds up the partial sums of a block and writes them to the result.
pub(super) struct Reduce {
    /// `[parts][rows][step]`.
    pub(super) sums: *const f32,
    pub(super) step: usize,
    /// Distance of the parts.
    pub(super) apart: usize,
    pub(super) parts: usize,
    pub(super) rows: usize,
    pub(super) lanes: usize,
    /// Whether the result is `[lanes][out_step]`, else `[rows][out_step]`.
    pub(super) transposed: bool,
    pub(super) out: *mut f32,
    pub(super) out_step: usize,
}

impl Kernel for Reduce {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        for first in (0..self.rows).step_by(LANES) {
            let rows = LANES.min(self.rows - first);
            for lane in (0..self.lanes).step_by(LANES) {
                let lanes = LANES.min(self.lanes - lane);
                // SAFETY: by the conditions of `Sums::run`.
                unsafe {
                    let mut sums = [S::zero(); LANES];
                    for (i, sum) in sums.iter_mut().enumerate().take(rows) {
                        *sum = self.sum::<S>(first + i, lane);
                    }
                    let (sums, [rows, lanes], place) = if self.transposed {
                        (
                            S::transpose(sums),
                            [lanes, rows],
                            lane * self.out_step + first,
                        )
                    } else {
                        (sums, [rows, lanes], first * self.out_step + lane)
                    };
                    for (i, sum) in sums.into_iter().enumerate().take(rows) {
                        let out = self.out.add(place + i * self.out_step);
                        S::store_first(out, sum, lanes);
                    }
                }
            }
        }
    }
}

impl Reduce {
    /// The sum of 16 lanes of a row, one part after another.
    #[inline(always)]
    unsafe fn sum<S: Simd>(&self, row: usize, lane: usize) -> S::V {
        // SAFETY: by the conditions of `Sums::run`.
        unsafe {
            let from = self.sums.add(row * self.step + lane);
            let mut sum = S::load(from);
            for part in 1..self.parts {
                sum = S::add(sum, S::load(from.add(part * self.apart)));
            }
            sum
        }
    }
}

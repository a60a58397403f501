//! Weights as the left matrix of products.

use std::ops::Range;

use crate::simd::{LANES, Simd};

/// A left matrix `[rows, channels x taps]` for every group, as it lies in the weight.
#[derive(Clone)]
pub(crate) struct Weights<'a> {
    pub(crate) values: &'a [f32],
    /// From one row to the next.
    pub(crate) row_step: usize,
    /// From one channel to the next.
    pub(crate) channel_step: usize,
    /// From one group to the next.
    pub(crate) group_step: usize,
    /// Place of each tap within a channel, ascending.
    pub(crate) taps: Vec<usize>,
}

impl Weights<'_> {
    /// Values that [`pack`](Self::pack) writes for so many rows and channels.
    pub(crate) fn packed(&self, rows: usize, channels: usize) -> usize {
        rows * channels * self.taps.len()
    }

    /// Whether the weights of all rows for one channel are nearer to each other than those of one
    /// row for all channels.
    pub(crate) fn by_channel(&self) -> bool {
        self.channel_step > self.row_step
    }

    /// Writes the values of at most 16 rows as columns, `[channels x taps][rows]`.
    ///
    /// # Safety
    ///
    /// The machine has the instructions of `S`, rows and channels are there, and `to` has room for
    /// [`packed`](Self::packed) values.
    #[inline(always)]
    pub(crate) unsafe fn pack<S: Simd>(
        &self,
        group: usize,
        (first, rows): (usize, usize),
        channels: Range<usize>,
        to: *mut f32,
    ) {
        let start =
            group * self.group_step + first * self.row_step + channels.start * self.channel_step;
        let from = self.values.as_ptr().wrapping_add(start);
        let (taps, count) = (self.taps.len(), channels.len());
        // SAFETY: rows and channels are there, so that all values read are in the slice; what is
        // written is as long as `packed` says.
        unsafe {
            if taps == self.channel_step {
                // Taps of a channel and then those of the next are neighbours.
                let all = count * taps;
                self.columns::<S>(from, rows, all, |_| true, to, all);
                return;
            }
            for i in 0..count {
                let from = from.wrapping_add(i * self.channel_step);
                // What the next rows will read of this channel.
                for at in (0..rows * self.row_step).step_by(LANES) {
                    S::prefetch(from.wrapping_add(rows * self.row_step + at));
                }
                let to = to.add(i * taps * rows);
                if self.row_step == 1 {
                    let column = S::load_first(from, rows);
                    store_rows::<S>(to, column, rows, (count - i) * rows);
                } else {
                    let mut next = 0;
                    let wanted = |tap: usize| {
                        let found = next < taps && self.taps[next] == tap;
                        next += usize::from(found);
                        found
                    };
                    let (all, left) = (self.taps[taps - 1] + 1, (count - i) * taps);
                    self.columns::<S>(from, rows, all, wanted, to, left);
                }
            }
        }
    }

    /// Writes those of `count` columns of `rows` rows that are wanted. There is room for `left`
    /// columns, which are written in the end.
    #[inline(always)]
    unsafe fn columns<S: Simd>(
        &self,
        from: *const f32,
        rows: usize,
        count: usize,
        mut wanted: impl FnMut(usize) -> bool,
        mut to: *mut f32,
        mut left: usize,
    ) {
        for first in (0..count).step_by(LANES) {
            let here = LANES.min(count - first);
            // SAFETY: as `pack`'s.
            unsafe {
                let mut vectors = [S::zero(); LANES];
                for (i, vector) in vectors.iter_mut().enumerate().take(rows) {
                    *vector = S::load_first(from.add(i * self.row_step + first), here);
                }
                for (i, column) in S::transpose(vectors).into_iter().enumerate() {
                    if i < here && wanted(first + i) {
                        store_rows::<S>(to, column, rows, left * rows);
                        (to, left) = (to.add(rows), left - 1);
                    }
                }
            }
        }
    }
}

/// Stores the first `rows` values, in a whole vector if there is `room` for one: masked stores are
/// slow with AVX2.
#[inline(always)]
unsafe fn store_rows<S: Simd>(to: *mut f32, column: S::V, rows: usize, room: usize) {
    // SAFETY: by the conditions of `Weights::pack`.
    unsafe {
        if room >= LANES {
            S::store(to, column);
        } else {
            S::store_first(to, column, rows);
        }
    }
}

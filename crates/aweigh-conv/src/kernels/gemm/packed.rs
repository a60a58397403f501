//! All weights as left matrices of products.

use std::ops::Range;

use super::{BLOCK, Weights};
use crate::kernels::scratch::Scratch;
use crate::kernels::share::share;
use crate::kernels::threads::parallel;
use crate::simd::{InstructionSet, Kernel, Simd};

/// Values that are worth another thread, some 20 microseconds.
const JOB: usize = 1 << 15;

/// Where rows of packed weights lie.
pub(crate) struct PackedRows<'a> {
    weights: &'a Weights<'a>,
    rows: usize,
    channels: usize,
    row_groups: usize,
}

impl<'a> PackedRows<'a> {
    /// Rows in groups of at most `most`.
    pub(crate) fn new(weights: &'a Weights<'a>, rows: usize, channels: usize, most: usize) -> Self {
        Self {
            weights,
            rows,
            channels,
            row_groups: rows.div_ceil(most),
        }
    }

    /// Groups of rows.
    pub(crate) fn row_groups(&self) -> usize {
        self.row_groups
    }

    /// First row and number of rows of a group of rows.
    #[inline(always)]
    pub(crate) fn rows(&self, row_group: usize) -> (usize, usize) {
        let rows = share(self.rows, self.row_groups, row_group);
        (rows.start, rows.len())
    }

    /// Place of a group of rows, from the given channel on.
    #[inline(always)]
    pub(crate) fn place(&self, group: usize, row_group: usize, channel: usize) -> usize {
        let depth = self.channels * self.weights.taps.len();
        let (first, rows) = self.rows(row_group);
        (group * self.rows + first) * depth + channel * self.weights.taps.len() * rows
    }

    /// Packs the weights of all groups.
    pub(crate) fn pack(&self, set: InstructionSet, groups: usize) -> Scratch {
        let scratch_len = self.weights.packed(groups * self.rows, self.channels);
        let mut scratch = Scratch::new(scratch_len);
        let to = scratch.shared();
        let most = (scratch_len / JOB).max(1);
        let (blocks, row_groups) = if self.weights.by_channel() {
            // All rows of some channels, so that the weights are read in order.
            (self.channels.min(most), 1)
        } else {
            (1, self.row_groups.min(most))
        };
        parallel(
            groups * blocks * row_groups,
            || (),
            |(), job| {
                let (rest, row_group) = (job / row_groups, job % row_groups);
                let pack = Pack {
                    packed: self,
                    group: rest / blocks,
                    channels: share(self.channels, blocks, rest % blocks),
                    row_groups: share(self.row_groups, row_groups, row_group),
                    to: to.get().cast(),
                };
                // SAFETY: each job writes to its own places in scratch.
                unsafe { set.run(pack) }
            },
        );
        scratch
    }
}

/// [`Weights::pack`] for some rows and channels.
struct Pack<'a> {
    packed: &'a PackedRows<'a>,
    group: usize,
    channels: Range<usize>,
    row_groups: Range<usize>,
    to: *mut f32,
}

impl Kernel for Pack<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { packed, group, .. } = self;
        // All rows of some channels stay in the second-level cache.
        let block = (BLOCK / packed.weights.channel_step).max(1);
        let block = if packed.weights.by_channel() {
            block
        } else {
            self.channels.len().max(1)
        };
        for first in self.channels.clone().step_by(block) {
            let channels = first..(first + block).min(self.channels.end);
            for row_group in self.row_groups.clone() {
                let to = self.to.wrapping_add(packed.place(group, row_group, first));
                let rows = packed.rows(row_group);
                // SAFETY: by the conditions of `Weights::pack`.
                unsafe { packed.weights.pack::<S>(group, rows, channels.clone(), to) }
            }
        }
    }
}

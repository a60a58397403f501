//! Sums over pixels of products of two matrices: what a gradient by the weight is.

mod job;
mod reduce;

use std::mem::MaybeUninit;
use std::ops::Range;

use job::{Job, Layout};
use reduce::Reduce;

use super::{BLOCK, Maps, Panels, Source, channels_per_block};
use crate::kernels::scratch::Scratch;
use crate::kernels::share::share;
use crate::kernels::threads::{Shared, parallel};
use crate::simd::{InstructionSet, LANES};

/// Jobs that are made where there are pixels enough for them: two for each of 16 threads. More
/// threads than jobs wait; the number must not be theirs, since it decides in which order values
/// are added up.
pub(crate) const JOBS: usize = 32;

/// Chunks that are worth sums of their own.
const CHUNKS: usize = 2;

/// Chunks of the pixels at least, where the result has fewer blocks than that: blocks alone are too
/// few jobs then, and every [`CHUNKS`] chunks may be another.
const LEAST: usize = 8;

/// Values of all partial sums together, 64 MB.
const PARTIAL: usize = 1 << 24;

/// `out[g] = sum over images of grad[b, g] x source[b, g]^T`, `[outputs, channels x taps]` of depth
/// `pixels`, for every group.
pub(crate) struct WeightGradient<'a, A> {
    pub(crate) grad: Maps<'a>,
    pub(crate) source: &'a A,
    pub(crate) batch: usize,
    pub(crate) groups: usize,
    /// Channels of a group, of the gradient.
    pub(crate) outputs: usize,
    /// Channels of a group, of the source.
    pub(crate) channels: usize,
}

impl<A: Source> WeightGradient<'_, A> {
    /// Whether there is nothing to add up; the output is then zeros. Checks its length.
    pub(crate) fn is_trivial(&self, out: &mut [MaybeUninit<f32>]) -> bool {
        let columns = self.channels * self.source.taps();
        assert_eq!(self.grad.pixels, self.source.pixels());
        assert_eq!(out.len(), self.groups * self.outputs * columns);
        let pixels = self.batch * self.grad.pixels;
        if pixels == 0 {
            out.fill(MaybeUninit::new(0.0));
        }
        pixels * out.len() == 0
    }

    /// Computes it.
    ///
    /// # Panics
    ///
    /// When the output is not as long as the sizes say.
    pub(crate) fn run(&self, set: InstructionSet, out: &mut [MaybeUninit<f32>]) {
        if self.is_trivial(out) {
            return;
        }
        let columns = self.channels * self.source.taps();
        let (grad, source) = (
            Operand::new(&self.grad, self.outputs),
            Operand::new(self.source, self.channels),
        );
        // Sixteen pixels take a cycle for each row and value of a lane, about 3 to copy a vector,
        // 8 to transpose it; vectors of lanes may be partial.
        let cost = |rows: usize, lanes: usize, pack: usize| {
            let vectors = lanes.div_ceil(LANES);
            vectors * LANES * rows.max(2) + 3 * rows + pack * vectors * LANES
        };
        if cost(columns, self.outputs, 8) <= cost(self.outputs, columns, 11) {
            Sums::new(self, source, grad, true).run(set, out);
        } else {
            Sums::new(self, grad, source, false).run(set, out);
        }
    }
}

/// One of the two matrices, and how its channels are split.
struct Operand<'a, A> {
    source: &'a A,
    channels: usize,
    blocks: usize,
}

impl<A> Clone for Operand<'_, A> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<A> Copy for Operand<'_, A> {}

impl<'a, A: Source> Operand<'a, A> {
    fn new(source: &'a A, channels: usize) -> Self {
        let blocks = channels.div_ceil(channels_per_block(source.taps()));
        Self {
            source,
            channels,
            blocks,
        }
    }

    /// Rows of the largest block.
    fn most(&self) -> usize {
        self.channels.div_ceil(self.blocks) * self.source.taps()
    }

    /// Channels of a block, within a group.
    fn block(&self, block: usize) -> Range<usize> {
        share(self.channels, self.blocks, block)
    }
}

/// Sums `[rows, lanes]`, in blocks.
struct Sums<'a, R, L> {
    rows: Operand<'a, R>,
    lanes: Operand<'a, L>,
    groups: usize,
    /// Vectors of pixels.
    vectors: Panels,
    /// Vectors of the batch.
    count: usize,
    chunks: usize,
    /// Ranges of chunks that are added up one by one, and then together.
    parts: usize,
    /// Whether the result is `[lanes, rows]`.
    transposed: bool,
}

impl<'a, R: Source, L: Source> Sums<'a, R, L> {
    fn new<A>(
        gradient: &WeightGradient<A>,
        rows: Operand<'a, R>,
        lanes: Operand<'a, L>,
        transposed: bool,
    ) -> Self {
        let vectors = Panels::new(gradient.grad.pixels, LANES);
        let count = gradient.batch * vectors.per_image();
        let mut sums = Self {
            rows,
            lanes,
            groups: gradient.groups,
            vectors,
            count,
            chunks: 1,
            parts: 1,
            transposed,
        };
        // Few rows and lanes: chunks are long, so that rows of pixels read the same rows of a map.
        let most = sums.rows.most().max(sums.lanes.most()).max(1);
        let mut chunk = BLOCK / most / LANES;
        if sums.blocks() < LEAST {
            chunk = chunk.min(count / LEAST);
        }
        let chunk = chunk.clamp(8, 64);
        sums.chunks = count.div_ceil(chunk);
        // The number of parts decides in which order values are added up, and so must not depend
        // on the number of threads.
        sums.parts = JOBS
            .div_ceil(sums.blocks())
            .min(sums.chunks / CHUNKS)
            .min(PARTIAL / (sums.blocks() * sums.block_len()))
            .max(1);
        sums
    }

    /// Blocks of all groups.
    fn blocks(&self) -> usize {
        self.groups * self.rows.blocks * self.lanes.blocks
    }

    /// Pixels of the largest chunk, and those that fill up vectors.
    fn chunk(&self) -> usize {
        self.count.div_ceil(self.chunks) * LANES
    }

    /// Distance of rows of the sums of a block.
    fn step(&self) -> usize {
        self.lanes.most().next_multiple_of(LANES)
    }

    /// Values of the sums of a block, whose rows are read 16 at a time.
    fn block_len(&self) -> usize {
        self.rows.most().next_multiple_of(LANES) * self.step()
    }

    /// Group, and channels of rows and lanes, of a block.
    fn block(&self, block: usize) -> (usize, Range<usize>, Range<usize>) {
        let (rest, lanes) = (block / self.lanes.blocks, block % self.lanes.blocks);
        let (group, rows) = (rest / self.rows.blocks, rest % self.rows.blocks);
        (group, self.rows.block(rows), self.lanes.block(lanes))
    }

    fn run(&self, set: InstructionSet, out: &mut [MaybeUninit<f32>]) {
        let (blocks, block_len) = (self.blocks(), self.block_len());
        let alone = self.parts == 1;
        let mut partial = Scratch::new(if alone {
            0
        } else {
            self.parts * blocks * block_len
        });
        let partial = partial.shared();
        let out = Shared::new(out);
        let layout = Layout::new(self, set);
        let scratch = || {
            let own = if alone { block_len } else { 0 };
            (Scratch::new(layout.len + own), Vec::new())
        };
        parallel(self.parts * blocks, scratch, |(scratch, places), job| {
            let (part, block) = (job / blocks, job % blocks);
            let scratch = scratch.get();
            let sums = if alone {
                scratch.wrapping_add(layout.len)
            } else {
                let partial = partial.get().cast::<f32>();
                partial.wrapping_add(job * block_len)
            };
            let job = Job {
                sums: self,
                block: self.block(block),
                chunks: share(self.chunks, self.parts, part),
                layout: &layout,
                scratch,
                places,
                to: sums,
            };
            // SAFETY: scratch is as long as the sizes say, and each job writes sums of its own.
            unsafe { set.run(job) };
            if alone {
                let reduce = self.reduce(block, 0..self.rows.most(), sums, 0, out.get().cast());
                // SAFETY: as above; each block has its own part of the result.
                unsafe { set.run(reduce) }
            }
        });
        if !alone {
            let strips = self.rows.most().div_ceil(LANES);
            parallel(
                blocks * strips,
                || (),
                |(), job| {
                    let (block, strip) = (job / strips, job % strips);
                    let rows = strip * LANES..(strip + 1) * LANES;
                    let sums = partial.get().cast::<f32>().wrapping_add(block * block_len);
                    let reduce =
                        self.reduce(block, rows, sums, blocks * block_len, out.get().cast());
                    // SAFETY: sums are as long as the sizes say, and each job has its own part of
                    // the result.
                    unsafe { set.run(reduce) }
                },
            );
        }
    }

    /// What adds up some rows of the partial sums of a block.
    fn reduce(
        &self,
        block: usize,
        rows: Range<usize>,
        sums: *const f32,
        apart: usize,
        out: *mut f32,
    ) -> Reduce {
        let (group, row_channels, lane_channels) = self.block(block);
        let (row_taps, lane_taps) = (self.rows.source.taps(), self.lanes.source.taps());
        let (all_rows, all_lanes) = (
            self.rows.channels * row_taps,
            self.lanes.channels * lane_taps,
        );
        let (first_row, first_lane) = (
            row_channels.start * row_taps + rows.start,
            lane_channels.start * lane_taps,
        );
        let place = if self.transposed {
            first_lane * all_rows + first_row
        } else {
            first_row * all_lanes + first_lane
        };
        let end = rows.end.min(row_channels.len() * row_taps);
        Reduce {
            sums: sums.wrapping_add(rows.start * self.step()),
            step: self.step(),
            apart,
            parts: self.parts,
            rows: end.saturating_sub(rows.start),
            lanes: lane_channels.len() * lane_taps,
            transposed: self.transposed,
            out: out.wrapping_add(group * all_rows * all_lanes + place),
            out_step: if self.transposed { all_rows } else { all_lanes },
        }
    }
}

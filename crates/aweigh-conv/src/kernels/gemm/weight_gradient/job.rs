//! Packing and multiplying chunks of pixels.

use std::ops::Range;

use super::{Operand, Sums};
use crate::kernels::gemm::{Source, share};
use crate::kernels::prefetch::Prefetch;
use crate::kernels::product::{Left, Product};
use crate::simd::{InstructionSet, Kernel, LANES, Simd};

/// Places in a thread's scratch.
pub(super) struct Layout {
    /// The right matrix, `[pixels][width]` for each panel of lanes.
    right: usize,
    /// The right matrix before it is transposed, `[lanes][pixels]`.
    lines: usize,
    /// What sources need.
    fill: usize,
    /// All of it; the left matrix, `[pixels / 16][rows][16]` for each group of rows, is the first.
    pub(super) len: usize,
}

impl Layout {
    pub(super) fn new<R: Source, L: Source>(sums: &Sums<R, L>, set: InstructionSet) -> Self {
        let ([_, width], chunk) = (set.tile(), sums.chunk());
        let lanes = sums.lanes.most().next_multiple_of(width);
        let (rows, lines) = (&sums.rows.source, &sums.lanes.source);
        let fill = rows.scratch(chunk).max(lines.scratch(chunk));
        let right = sums.rows.most() * chunk;
        Self {
            right,
            lines: right + lanes * chunk,
            fill: right + 2 * lanes * chunk,
            len: (right + 2 * lanes * chunk + fill).next_multiple_of(LANES),
        }
    }
}

/// The sums of a block over some chunks.
pub(super) struct Job<'a, 'b, R, L> {
    pub(super) sums: &'b Sums<'a, R, L>,
    /// Group, and channels of rows and lanes.
    pub(super) block: (usize, Range<usize>, Range<usize>),
    pub(super) chunks: Range<usize>,
    pub(super) layout: &'b Layout,
    pub(super) scratch: *mut f32,
    /// For each row of the left matrix, the place of its first vector and the distance of the
    /// others; memory that is used again.
    pub(super) places: &'b mut Vec<(usize, usize)>,
    /// `[rows][step]`.
    pub(super) to: *mut f32,
}

impl<R: Source, L: Source> Kernel for Job<'_, '_, R, L> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(mut self) {
        for chunk in self.chunks.clone() {
            let vectors = share(self.sums.count, self.sums.chunks, chunk);
            let prefetch = if chunk + 1 < self.chunks.end {
                self.prefetch(share(self.sums.count, self.sums.chunks, chunk + 1))
            } else {
                [Prefetch::NOTHING; 2]
            };
            // SAFETY: by the conditions of `Sums::run`.
            unsafe {
                self.pack_rows::<S>(vectors.clone());
                self.pack_lanes::<S>(vectors.clone());
                self.multiply::<S>(vectors.len() * LANES, chunk > self.chunks.start, prefetch);
            }
        }
    }
}

impl<R: Source, L: Source> Job<'_, '_, R, L> {
    /// Rows and lanes of the block.
    fn size(&self) -> [usize; 2] {
        let (_, rows, lanes) = &self.block;
        let sums = self.sums;
        [
            rows.len() * sums.rows.source.taps(),
            lanes.len() * sums.lanes.source.taps(),
        ]
    }

    /// Memory that packing other vectors will read.
    fn prefetch(&self, vectors: Range<usize>) -> [Prefetch; 2] {
        let Some(part) = self.sums.vectors.parts(vectors).next() else {
            return [Prefetch::NOTHING; 2];
        };
        let (group, rows, lanes) = &self.block;
        let channels = |channels: usize, block: &Range<usize>| {
            group * channels + block.start..group * channels + block.end
        };
        let (left, right) = (self.sums.rows, self.sums.lanes);
        [
            left.source.prefetch(
                part.image,
                channels(left.channels, rows),
                part.pixels.clone(),
            ),
            right
                .source
                .prefetch(part.image, channels(right.channels, lanes), part.pixels),
        ]
    }

    #[inline(always)]
    unsafe fn pack_rows<S: Simd>(&mut self, vectors: Range<usize>) {
        let (depth, [count, _]) = (vectors.len() * LANES, self.size());
        self.places.clear();
        let groups = count.div_ceil(S::ROWS);
        for group in 0..groups {
            let rows = share(count, groups, group);
            let place = |i| (rows.start * depth + i * LANES, rows.len() * LANES);
            self.places.extend((0..rows.len()).map(place));
        }
        let Operand {
            source, channels, ..
        } = self.sums.rows;
        let (left, places) = (self.scratch, self.places.as_ptr());
        let first = self.block.0 * channels;
        let channels = first + self.block.1.start..first + self.block.1.end;
        for part in self.sums.vectors.parts(vectors) {
            let to = |row: usize, vector: usize| {
                // SAFETY: there is a place for each row.
                let (first, step) = unsafe { *places.add(row) };
                left.wrapping_add(first + (part.panel + vector) * step)
            };
            let fill = self.scratch.wrapping_add(self.layout.fill);
            // SAFETY: by the conditions of `Sums::run`.
            unsafe { source.fill::<S>(part.image, channels.clone(), part.pixels, fill, to) };
        }
    }

    #[inline(always)]
    unsafe fn pack_lanes<S: Simd>(&mut self, vectors: Range<usize>) {
        let depth = vectors.len() * LANES;
        let Operand {
            source, channels, ..
        } = self.sums.lanes;
        let lines = self.scratch.wrapping_add(self.layout.lines);
        let first = self.block.0 * channels;
        let channels = first + self.block.2.start..first + self.block.2.end;
        for part in self.sums.vectors.parts(vectors) {
            let to = |row: usize, vector: usize| {
                lines.wrapping_add(row * depth + (part.panel + vector) * LANES)
            };
            let fill = self.scratch.wrapping_add(self.layout.fill);
            // SAFETY: by the conditions of `Sums::run`.
            unsafe { source.fill::<S>(part.image, channels.clone(), part.pixels, fill, to) };
        }
        // SAFETY: as above.
        unsafe { self.transpose::<S>(lines, depth) };
    }

    /// Lanes as columns; those that fill up the last vector are 0.
    #[inline(always)]
    unsafe fn transpose<S: Simd>(&self, lines: *const f32, depth: usize) {
        let (width, [_, lanes]) = (S::VECTORS * LANES, self.size());
        for lane in (0..lanes).step_by(LANES) {
            let count = LANES.min(lanes - lane);
            let panel = self.layout.right + lane / width * width * depth + lane % width;
            for pixel in (0..depth).step_by(LANES) {
                // SAFETY: by the conditions of `Sums::run`.
                unsafe {
                    let mut rows = [S::zero(); LANES];
                    for (i, row) in rows.iter_mut().enumerate().take(count) {
                        *row = S::load(lines.add((lane + i) * depth + pixel));
                    }
                    let right = self.scratch.add(panel + pixel * width);
                    for (i, column) in S::transpose(rows).into_iter().enumerate() {
                        S::store(right.add(i * width), column);
                    }
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn multiply<S: Simd>(&self, depth: usize, accumulate: bool, prefetch: [Prefetch; 2]) {
        let [mut prefetch, mut later] = prefetch;
        let (width, step, [count, lanes]) = (S::VECTORS * LANES, self.sums.step(), self.size());
        let lanes = lanes.next_multiple_of(LANES);
        let groups = count.div_ceil(S::ROWS);
        for lane in (0..lanes).step_by(width) {
            for group in 0..groups {
                let rows = share(count, groups, group);
                // SAFETY: by the conditions of `Sums::run`.
                unsafe {
                    let product = Product {
                        rows: rows.len(),
                        columns: width.min(lanes - lane),
                        depth,
                        left: Left::Blocks(self.scratch.add(rows.start * depth)),
                        right: self.scratch.add(self.layout.right + lane * depth),
                        right_step: width,
                        out: self.to.add(rows.start * step + lane),
                        out_step: step,
                        accumulate,
                        finish: None,
                    };
                    prefetch = product.compute_and_prefetch::<S>(prefetch);
                    if prefetch.is_empty() {
                        std::mem::swap(&mut prefetch, &mut later);
                    }
                }
            }
        }
    }
}

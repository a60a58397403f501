//! Weights times pixels: what a convolution and its gradient by the input are.

use std::mem::MaybeUninit;
use std::ops::Range;

use super::{Blocks, Extent, PackedRows, Panels, Source, Split, Tile, Weights, panel_len};
use crate::kernels::activation::Activation;
use crate::kernels::prefetch::Prefetch;
use crate::kernels::product::{Finish, Left, Product};
use crate::kernels::scratch::Scratch;
use crate::kernels::share::share;
use crate::kernels::threads::{Shared, parallel};
use crate::simd::{InstructionSet, Kernel, Simd};

/// `out[b, g] = weights[g] x source[b, g]`, `[rows, pixels]` of depth `channels x taps`, for every
/// image and group.
pub(crate) struct Multiply<'a, A> {
    pub(crate) source: &'a A,
    pub(crate) weights: Weights<'a>,
    pub(crate) batch: usize,
    pub(crate) groups: usize,
    /// Rows of a group.
    pub(crate) rows: usize,
    /// Channels of a group, of the source.
    pub(crate) channels: usize,
    /// Added to each row of each group.
    pub(crate) bias: Option<&'a [f32]>,
    /// Of each value in the end.
    pub(crate) activation: Activation,
}

impl<A: Source> Multiply<'_, A> {
    /// Computes it.
    ///
    /// # Panics
    ///
    /// When the output is not as long as the sizes say.
    pub(crate) fn run(&self, set: InstructionSet, out: &mut [MaybeUninit<f32>]) {
        let pixels = self.source.pixels();
        assert_eq!(out.len(), self.batch * self.groups * self.rows * pixels);
        if out.is_empty() {
            return;
        }
        let [most, width] = set.tile();
        let panels = Panels::new(pixels, width);
        let row_groups = self.rows.div_ceil(most);
        let blocks = Blocks::new(self.channels, self.source.taps());
        let split = Split::new(Extent {
            panels: self.batch * panels.per_image(),
            width,
            row_groups,
            rows: self.rows,
            groups: self.groups,
            block: blocks.depth(),
            depth: self.channels * self.source.taps(),
        });
        let packed_rows = PackedRows::new(&self.weights, self.rows, self.channels, most);
        // Weights that a single tile needs are packed by its jobs, while they are in the cache.
        let packed = (split.tiles > 1).then(|| packed_rows.pack(set, self.groups));
        let most_pixels = split.most_panels() * width;
        let right = panel_len(blocks.depth(), width) * split.most_panels();
        let left = self.weights.packed(most, blocks.channels());
        let fill = self.source.scratch(most_pixels);
        let out = Shared::new(out);
        let jobs = self.groups * split.tiles * split.parts;
        let scratch = || Scratch::new(right + left + fill);
        parallel(jobs, scratch, |scratch, job| {
            let (rest, part) = (job / split.parts, job % split.parts);
            let (group, tile) = (rest / split.tiles, rest % split.tiles);
            let right_at = scratch.get();
            let job = Job {
                multiply: self,
                blocks,
                tile: Tile {
                    panels,
                    range: split.tile(tile),
                },
                next: split.next(tile),
                group,
                row_groups: share(row_groups, split.parts, part),
                packed_rows: &packed_rows,
                packed: packed.as_ref().map(Scratch::as_ptr),
                right: right_at,
                left: right_at.wrapping_add(right),
                fill: right_at.wrapping_add(right + left),
                out: out.get().cast(),
            };
            // SAFETY: scratch and output are as long as the sizes say. Jobs write to tiles and rows
            // of their own.
            unsafe { set.run(job) }
        });
    }
}

impl<A> Multiply<'_, A> {
    /// What is done to the sums of rows from `row` of all groups on after `channels`: nothing before
    /// the last ones.
    #[inline(always)]
    pub(crate) fn finish(&self, row: usize, channels: &Range<usize>) -> Option<Finish> {
        let finishes = self.bias.is_some() || self.activation != Activation::None;
        (finishes && channels.end == self.channels).then(|| Finish {
            shift: self.bias.map(|bias| bias[row..].as_ptr()),
            activation: self.activation,
        })
    }
}

/// Some rows of a tile.
struct Job<'a, 'b, A> {
    multiply: &'b Multiply<'a, A>,
    blocks: Blocks,
    tile: Tile,
    /// Panels that the same thread may compute next.
    next: Option<Range<usize>>,
    group: usize,
    row_groups: Range<usize>,
    packed_rows: &'b PackedRows<'b>,
    /// Weights, if they are packed.
    packed: Option<*const f32>,
    right: *mut f32,
    left: *mut f32,
    fill: *mut f32,
    out: *mut f32,
}

impl<A: Source> Kernel for Job<'_, '_, A> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let (tile, source) = (&self.tile, self.multiply.source);
        let last = self.multiply.channels;
        let of_all = |block: &Range<usize>| {
            let first = self.group * last;
            first + block.start..first + block.end
        };
        let mut blocks = self.blocks.each().peekable();
        while let Some(channels) = blocks.next() {
            let range = blocks.peek().map(|_| &tile.range).or(self.next.as_ref());
            let next = blocks.peek().cloned().unwrap_or(0..self.blocks.channels());
            let mut prefetch = Prefetch::NOTHING;
            if let Some(part) = range.and_then(|range| tile.panels.parts(range.clone()).next()) {
                prefetch = source.prefetch(part.image, of_all(&next), part.pixels);
            }
            // SAFETY: by the conditions of `Multiply::run`.
            unsafe {
                tile.fill::<S>(source, of_all(&channels), self.right, self.fill);
                for row_group in self.row_groups.clone() {
                    prefetch = self.rows::<S>(row_group, channels.clone(), prefetch);
                }
            }
        }
    }
}

impl<A: Source> Job<'_, '_, A> {
    /// A block of the sums of a group of rows.
    #[inline(always)]
    unsafe fn rows<S: Simd>(
        &self,
        row_group: usize,
        channels: Range<usize>,
        prefetch: Prefetch,
    ) -> Prefetch {
        let Multiply {
            weights,
            groups,
            rows: all_rows,
            ..
        } = self.multiply;
        let (pixels, group) = (self.multiply.source.pixels(), self.group);
        let (first, rows) = self.packed_rows.rows(row_group);
        // SAFETY: by the conditions of `Multiply::run`.
        unsafe {
            let left = match self.packed {
                Some(packed) => {
                    packed.add(self.packed_rows.place(group, row_group, channels.start))
                }
                None => {
                    weights.pack::<S>(group, (first, rows), channels.clone(), self.left);
                    self.left
                }
            };
            let row = group * all_rows + first;
            let product = Product {
                rows,
                columns: 0,
                depth: channels.len() * weights.taps.len(),
                left: Left::Columns(left, rows),
                right: self.right,
                right_step: 0,
                out: self.out,
                out_step: pixels,
                accumulate: channels.start > 0,
                finish: self.multiply.finish(row, &channels),
            };
            self.tile
                .multiply::<S>(product, prefetch, |image, pixel, _| {
                    self.out
                        .add((image * groups * all_rows + row) * pixels + pixel)
                })
        }
    }
}

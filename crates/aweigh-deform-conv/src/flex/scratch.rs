//! Memory that every chunk of a call uses again, and how it is filled.

use std::ops::Range;

use rayon::prelude::*;

use super::chunk::Chunk;
use super::inputs::{Inputs, TILE};
use super::kernels::{self, Maps, Rows};
use super::maps;
use super::plan::{Block, Plan};
use super::real::Real;
use super::samples::{Sample, locate};

/// Size of a [`Sample`] in numbers: 7 `f32` or 5 `f64`; the larger holds for both.
pub(super) const SAMPLE: usize = 7;

/// Buffers that every chunk uses again.
pub(super) struct Scratch<T> {
    /// Channel-last maps of the group's images, `[image][pixels + 1][channel of the block]`; the
    /// row after the last pixel is zero.
    pub(super) maps: Vec<T>,
    /// `[position][offset group][tap]`.
    pub(super) table: Vec<Sample<T>>,
    /// `[position][row of the block]`.
    pub(super) columns: Vec<T>,
}

impl<T: Real> Scratch<T> {
    pub(super) fn new(inputs: &Inputs<'_, T>, plan: &Plan) -> Self {
        let widest = plan
            .blocks
            .iter()
            .map(|b| b.channels.len())
            .max()
            .unwrap_or(0);
        let row = plan.blocks.iter().map(|b| b.row).max().unwrap_or(0);
        Self {
            maps: vec![T::ZERO; plan.images * (inputs.sizes.pixels() + 1) * widest],
            table: vec![Sample::NOWHERE; plan.chunk * inputs.samples_per_position()],
            columns: vec![T::ZERO; plan.chunk * row],
        }
    }

    /// Copies the block's channels of the images `group` to channel-last order.
    pub(super) fn load(&mut self, inputs: &Inputs<'_, T>, block: &Block, group: Range<usize>) {
        let (channels, pixels) = (inputs.sizes.channels_in, inputs.sizes.pixels());
        let width = block.channels.len();
        let rows = self.maps.chunks_exact_mut((pixels + 1) * width);
        for (image, rows) in group.zip(rows) {
            let start = (image * channels + block.channels.start) * pixels;
            maps::to_rows(&inputs.x[start..start + width * pixels], rows, width);
            // The buffer is used again, for blocks of other widths too.
            rows[pixels * width..].fill(T::ZERO);
        }
    }

    pub(super) fn locate(&mut self, inputs: &Inputs<'_, T>, chunk: &Chunk) {
        let samples = chunk.len() * inputs.samples_per_position();
        locate(inputs, chunk, &mut self.table[..samples]);
    }

    /// Fills the columns of a chunk.
    pub(super) fn sample(&mut self, inputs: &Inputs<'_, T>, block: &Block, chunk: &Chunk) {
        let per_position = inputs.samples_per_position();
        let maps = Maps {
            values: &self.maps,
            width: block.channels.len(),
        };
        self.columns[..chunk.len() * block.row]
            .par_chunks_mut(TILE * block.row)
            .zip(self.table.par_chunks(TILE * per_position))
            .for_each(|(columns, samples)| {
                kernels::sample(&rows(inputs, block, samples), maps, columns);
            });
    }
}

/// Rows of columns of a block with their samples.
pub(super) fn rows<'a, T: Real>(
    inputs: &Inputs<'_, T>,
    block: &'a Block,
    samples: &'a [Sample<T>],
) -> Rows<'a, T> {
    Rows {
        samples,
        per_position: inputs.samples_per_position(),
        taps: inputs.sizes.taps(),
        segments: &block.segments,
        row: block.row,
    }
}

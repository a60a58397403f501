//! The forward pass.

use rayon::prelude::*;

use super::chunk::{Chunk, Part, chunks};
use super::gemm::{Layout, Threads, Write, product};
use super::kernels::{self, Maps, Rows};
use super::plan::{Block, Needs, Plan};
use super::real::Real;
use super::samples::{Sample, locate};
use super::weights::BlockWeight;
use super::{Inputs, TILE, maps};

/// Bytes of a [`Sample`] in units of the number type, the larger of both types.
pub(super) const SAMPLE: usize = 7;

/// The output, `[B, C_out, H', W']`.
pub(super) fn forward<T: Real>(inputs: &Inputs<'_, T>) -> Vec<T> {
    let sizes = &inputs.sizes;
    let mut out = vec![T::ZERO; sizes.output_shape().num_elements()];
    if out.is_empty() {
        return out;
    }
    let needs = Needs {
        maps: 1,
        columns: 1,
        weights: 1,
        per_sample: SAMPLE,
    };
    let plan = Plan::new(sizes, &inputs.options, needs, size_of::<T>());
    let mut scratch = Scratch::new(inputs, &plan);
    for (index, block) in plan.blocks.iter().enumerate() {
        let weight = BlockWeight::gather(inputs.weight, sizes, &inputs.options, block);
        let write = match index {
            0 => Write::Overwrite,
            _ => Write::Accumulate,
        };
        for first in (0..sizes.batch).step_by(plan.images) {
            let group = first..(first + plan.images).min(sizes.batch);
            scratch.load(inputs, block, group.clone());
            for chunk in chunks(group, sizes.positions(), plan.chunk) {
                scratch.locate(inputs, &chunk);
                scratch.sample(inputs, block, &chunk);
                multiply(
                    inputs,
                    block,
                    &chunk,
                    (&weight, &scratch.columns),
                    (&mut out, write),
                );
            }
        }
    }
    out
}

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
    pub(super) fn load(
        &mut self,
        inputs: &Inputs<'_, T>,
        block: &Block,
        group: std::ops::Range<usize>,
    ) {
        let (channels, pixels) = (inputs.sizes.channels_in, inputs.sizes.pixels());
        let width = block.channels.len();
        let rows = self.maps.chunks_exact_mut((pixels + 1) * width);
        for (image, rows) in group.zip(rows) {
            let start = (image * channels + block.channels.start) * pixels;
            maps::to_rows(&inputs.x[start..start + width * pixels], rows, width);
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

/// Who works on the product of each of `parts` images.
pub(super) fn threads(parts: usize) -> Threads {
    match parts >= rayon::current_num_threads() {
        true => Threads::One,
        false => Threads::Pool,
    }
}

/// `out = W x columns` for the positions of a chunk.
fn multiply<T: Real>(
    inputs: &Inputs<'_, T>,
    block: &Block,
    chunk: &Chunk,
    (weight, columns): (&BlockWeight<T>, &[T]),
    (out, write): (&mut [T], Write),
) {
    let sizes = &inputs.sizes;
    let positions = sizes.positions();
    let parts = chunk.parts(positions);
    let threads = threads(parts.len());
    let one_image = |(part, out): (&Part, &mut [T])| {
        for panel in &block.panels {
            let start = panel.group * weight.outputs * positions + part.positions.start;
            let to = Layout::rows(start, weight.outputs, part.positions.len(), positions);
            let matrix = weight.matrix(panel);
            let samples = Layout::rows(
                part.row * block.row + panel.column,
                part.positions.len(),
                matrix.cols,
                block.row,
            );
            let weight = (weight.values.as_slice(), matrix);
            product(
                (out, to),
                weight,
                (columns, samples.transposed()),
                write,
                threads,
            );
        }
    };
    let image = sizes.channels_out * positions;
    let first = (chunk.first_image + parts[0].image) * image;
    let images = &mut out[first..first + parts.len() * image];
    match threads {
        Threads::One => parts
            .par_iter()
            .zip(images.par_chunks_exact_mut(image))
            .for_each(one_image),
        Threads::Pool => parts
            .iter()
            .zip(images.chunks_exact_mut(image))
            .for_each(one_image),
    }
}

//! The forward pass.

use rayon::prelude::*;

use super::chunk::{Chunk, Part, chunks};
use super::gemm::{Destination, Layout, Matrix, Threads, Write, product};
use super::inputs::Inputs;
use super::plan::{Block, Buffers, Plan};
use super::real::Real;
use super::scratch::{SAMPLE, Scratch};
use super::weights::BlockWeight;

/// The output, `[B, C_out, H', W']`.
pub(super) fn forward<T: Real>(inputs: &Inputs<'_, T>) -> Vec<T> {
    let sizes = &inputs.sizes;
    let mut out = vec![T::ZERO; sizes.output_shape().num_elements()];
    if out.is_empty() {
        return out;
    }
    let buffers = Buffers {
        maps: 1,
        columns: 1,
        weights: 1,
        per_sample: SAMPLE,
    };
    let plan = Plan::new(sizes, &inputs.options, buffers, size_of::<T>());
    let mut scratch = Scratch::new(inputs, &plan);
    for (index, block) in plan.blocks.iter().enumerate() {
        let products = BlockProducts {
            inputs,
            block,
            weight: BlockWeight::gather(inputs.weight, sizes, &inputs.options, block),
            // Blocks of one weight group add up; those of another find the zeros that the output
            // starts with.
            write: match index {
                0 => Write::Overwrite,
                _ => Write::Accumulate,
            },
        };
        for first in (0..sizes.batch).step_by(plan.images) {
            let group = first..(first + plan.images).min(sizes.batch);
            scratch.load(inputs, block, group.clone());
            for chunk in chunks(group, sizes.positions(), plan.chunk) {
                scratch.locate(inputs, &chunk);
                scratch.sample(inputs, block, &chunk);
                products.multiply(&scratch.columns, &chunk, &mut out);
            }
        }
    }
    out
}

/// The products of a block of channels.
struct BlockProducts<'a, T> {
    inputs: &'a Inputs<'a, T>,
    block: &'a Block,
    weight: BlockWeight<T>,
    write: Write,
}

impl<T: Real> BlockProducts<'_, T> {
    /// `out = W x columns` for the positions of a chunk.
    fn multiply(&self, columns: &[T], chunk: &Chunk, out: &mut [T]) {
        let sizes = &self.inputs.sizes;
        let positions = sizes.positions();
        let parts = chunk.parts(positions);
        let threads = Threads::of_images(parts.len());
        let image = sizes.channels_out * positions;
        let first = (chunk.first_image + parts[0].image) * image;
        let images = &mut out[first..first + parts.len() * image];
        let one_image = |(part, out): (&Part, &mut [T])| {
            self.multiply_image(columns, part, out, threads);
        };
        // Channels of the output are planes of the image, so that its positions in a chunk are
        // strided; cut at images, every product has a slice of its own.
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

    /// The same for the chunk's part in one image, whose output is `out`.
    fn multiply_image(&self, columns: &[T], part: &Part, out: &mut [T], threads: Threads) {
        let positions = self.inputs.sizes.positions();
        let (weight, row) = (&self.weight, self.block.row);
        for panel in &self.block.panels {
            let start = panel.group * weight.outputs * positions + part.positions.start;
            let matrix = weight.matrix(panel);
            let samples = Layout::rows(
                part.row * row + panel.column,
                part.positions.len(),
                matrix.layout.cols,
                row,
            );
            let to = Destination {
                values: &mut *out,
                layout: Layout::rows(start, weight.outputs, part.positions.len(), positions),
                write: self.write,
            };
            let samples = Matrix {
                values: columns,
                layout: samples.transposed(),
            };
            product(to, matrix, samples, threads);
        }
    }
}

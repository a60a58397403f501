//! The backward pass.

use std::ops::Range;

use rayon::prelude::*;

use super::chunk::{Chunk, Part, chunks};
use super::gemm::{Destination, Layout, Matrix, Threads, Write, product};
use super::inputs::{Inputs, TILE};
use super::kernels::{self, GradientMaps, Maps};
use super::maps;
use super::plan::{Block, Buffers, Plan};
use super::real::Real;
use super::scratch::{SAMPLE, Scratch, rows};
use super::weights::BlockWeight;
use crate::ops::NeedsGrad;

/// Channels of a slice of the input's gradient: at least a cache line, so that threads that add to
/// neighbouring slices do not share one.
const MIN_SLICE: usize = 16;

/// The needed gradients, each of the shape of its tensor.
pub(super) struct Gradients<T> {
    pub(super) x: Option<Vec<T>>,
    pub(super) offset: Option<Vec<T>>,
    pub(super) weight: Option<Vec<T>>,
    pub(super) mask: Option<Vec<T>>,
}

/// The needed gradients, given the gradient of the output, `[B, C_out, H', W']`.
pub(super) fn backward<T: Real>(
    inputs: &Inputs<'_, T>,
    grad: &[T],
    needs: NeedsGrad,
) -> Gradients<T> {
    let needs = needs.with_mask(inputs.mask.is_some());
    let zeros = |needed: bool, len: usize| needed.then(|| vec![T::ZERO; len]);
    let mut found = Gradients {
        x: zeros(needs.x, inputs.x.len()),
        offset: zeros(needs.offset, inputs.offset.len()),
        weight: zeros(needs.weight, inputs.weight.len()),
        mask: zeros(needs.mask, inputs.mask.map_or(0, <[T]>::len)),
    };
    if grad.is_empty() {
        return found;
    }
    let sizes = &inputs.sizes;
    let buffers = Buffers {
        maps: 1 + usize::from(needs.x),
        columns: 1,
        weights: 1 + usize::from(needs.weight),
        per_sample: SAMPLE + 3 * usize::from(needs.offset || needs.mask),
    };
    let plan = Plan::new(sizes, &inputs.options, buffers, size_of::<T>());
    let mut pass = Pass {
        inputs,
        grad,
        needs,
        scratch: Scratch::new(inputs, &plan),
        slopes: Vec::new(),
        x_gradient: Vec::new(),
    };
    for block in &plan.blocks {
        pass.block(block, &plan, &mut found);
    }
    found
}

struct Pass<'a, T> {
    inputs: &'a Inputs<'a, T>,
    /// Gradient of the output.
    grad: &'a [T],
    needs: NeedsGrad,
    scratch: Scratch<T>,
    /// Gradients of each sample's vertical and horizontal position and mask,
    /// `[position][offset group][tap]`.
    slopes: Vec<[T; 3]>,
    /// Gradient of the maps, `[slice][image][pixels + 1][channel of the slice]`.
    x_gradient: Vec<T>,
}

/// A block's part of the weight, and of its gradient if that is needed.
struct BlockWeights<T> {
    weight: BlockWeight<T>,
    gradient: Option<BlockWeight<T>>,
}

impl<T: Real> Pass<'_, T> {
    fn block(&mut self, block: &Block, plan: &Plan, found: &mut Gradients<T>) {
        let (sizes, options) = (&self.inputs.sizes, &self.inputs.options);
        let zeros = || BlockWeight::zeros(sizes, options, block);
        let mut weights = BlockWeights {
            weight: BlockWeight::gather(self.inputs.weight, sizes, options, block),
            gradient: self.needs.weight.then(zeros),
        };
        for first in (0..sizes.batch).step_by(plan.images) {
            let group = first..(first + plan.images).min(sizes.batch);
            // The input's own gradient depends on where it was sampled, not on what was there.
            let needs_maps = self.needs.offset || self.needs.mask || self.needs.weight;
            if needs_maps {
                self.scratch.load(self.inputs, block, group.clone());
            }
            if self.needs.x {
                let maps = group.len() * (sizes.pixels() + 1) * block.channels.len();
                self.x_gradient.clear();
                self.x_gradient.resize(maps, T::ZERO);
            }
            for chunk in chunks(group.clone(), sizes.positions(), plan.chunk) {
                self.chunk(block, &chunk, &mut weights, found);
            }
            if let Some(x) = &mut found.x {
                self.store_x(block, group, x);
            }
        }
        if let (Some(gradient), Some(whole)) = (weights.gradient, &mut found.weight) {
            gradient.scatter(whole, block);
        }
    }

    fn chunk(
        &mut self,
        block: &Block,
        chunk: &Chunk,
        weights: &mut BlockWeights<T>,
        found: &mut Gradients<T>,
    ) {
        let NeedsGrad {
            x, offset, mask, ..
        } = self.needs;
        self.scratch.locate(self.inputs, chunk);
        if x || offset || mask {
            self.column_gradients(block, chunk, &weights.weight);
        }
        if offset || mask {
            self.differentiate(block, chunk);
            self.store_slopes(chunk, found);
        }
        if x {
            self.scatter(block, chunk);
        }
        if let Some(gradient) = &mut weights.gradient {
            // Last, because the samples take the place of the columns' gradients.
            self.scratch.sample(self.inputs, block, chunk);
            self.accumulate_weight(block, chunk, gradient);
        }
    }

    /// The gradient of the output at `part`, `[output channel of the group, position]`.
    fn output_gradient(&self, chunk: &Chunk, part: &Part, group: usize, outputs: usize) -> Layout {
        let (sizes, positions) = (&self.inputs.sizes, self.inputs.sizes.positions());
        let image = chunk.first_image + part.image;
        let channel = image * sizes.channels_out + group * outputs;
        let start = channel * positions + part.positions.start;
        Layout::rows(start, outputs, part.positions.len(), positions)
    }

    /// `d columns = d out^T x W`.
    fn column_gradients(&mut self, block: &Block, chunk: &Chunk, weight: &BlockWeight<T>) {
        // Out of `self` while tasks write to parts of it and read the rest of `self`.
        let mut columns = std::mem::take(&mut self.scratch.columns);
        let parts = chunk.parts(self.inputs.sizes.positions());
        let mut rest = &mut columns[..chunk.len() * block.row];
        let mut tasks = Vec::new();
        for part in &parts {
            let (rows, after) = rest.split_at_mut(part.positions.len() * block.row);
            tasks.push((part, rows));
            rest = after;
        }
        let threads = Threads::of_images(parts.len());
        let one_image = |(part, rows): (&Part, &mut [T])| {
            for panel in &block.panels {
                let grad = self.output_gradient(chunk, part, panel.group, weight.outputs);
                let matrix = weight.matrix(panel);
                let cols = matrix.layout.cols;
                let to = Destination {
                    values: &mut *rows,
                    layout: Layout::rows(panel.column, grad.cols, cols, block.row),
                    write: Write::Overwrite,
                };
                let grad = Matrix {
                    values: self.grad,
                    layout: grad.transposed(),
                };
                product(to, grad, matrix, threads);
            }
        };
        match threads {
            Threads::One => tasks.into_par_iter().for_each(one_image),
            Threads::Pool => tasks.into_iter().for_each(one_image),
        }
        self.scratch.columns = columns;
    }

    /// `d W += d out x columns`.
    fn accumulate_weight(&self, block: &Block, chunk: &Chunk, gradient: &mut BlockWeight<T>) {
        // One image after another, in order: all add to the same matrix.
        for part in chunk.parts(self.inputs.sizes.positions()) {
            for panel in &block.panels {
                let grad = self.output_gradient(chunk, &part, panel.group, gradient.outputs);
                let to = gradient.layout(panel);
                let start = part.row * block.row + panel.column;
                let samples = Layout::rows(start, grad.cols, to.cols, block.row);
                let to = Destination {
                    values: &mut gradient.values,
                    layout: to,
                    write: Write::Accumulate,
                };
                let grad = Matrix {
                    values: self.grad,
                    layout: grad,
                };
                let samples = Matrix {
                    values: &self.scratch.columns,
                    layout: samples,
                };
                product(to, grad, samples, Threads::Pool);
            }
        }
    }

    /// Fills the slopes of a chunk from the gradients of its columns.
    fn differentiate(&mut self, block: &Block, chunk: &Chunk) {
        let per_position = self.inputs.samples_per_position();
        let samples = chunk.len() * per_position;
        self.slopes.resize(samples, [T::ZERO; 3]);
        let maps = Maps {
            values: &self.scratch.maps,
            width: block.channels.len(),
        };
        self.slopes
            .par_chunks_mut(TILE * per_position)
            .zip(self.scratch.table[..samples].par_chunks(TILE * per_position))
            .zip(self.scratch.columns.par_chunks(TILE * block.row))
            .for_each(|((slopes, samples), columns)| {
                kernels::differentiate(&rows(self.inputs, block, samples), maps, columns, slopes);
            });
    }

    /// Adds the slopes of a chunk to the gradients of offset and mask, to which every block adds:
    /// an offset moves the channels of all of them.
    fn store_slopes(&self, chunk: &Chunk, found: &mut Gradients<T>) {
        if let Some(offset) = &mut found.offset {
            self.store_planes(chunk, offset, 2, |slopes, axis| slopes[axis]);
        }
        if let Some(mask) = &mut found.mask {
            self.store_planes(chunk, mask, 1, |slopes, _| slopes[2]);
        }
    }

    /// Adds a value of each sample to `planes`, `[B, samples * per_sample, H', W']`.
    fn store_planes(
        &self,
        chunk: &Chunk,
        planes: &mut [T],
        per_sample: usize,
        value: impl Fn(&[T; 3], usize) -> T + Sync,
    ) {
        let positions = self.inputs.sizes.positions();
        let samples = self.inputs.samples_per_position();
        let image_planes = samples * per_sample;
        let parts = chunk.parts(positions);
        let first = (chunk.first_image + parts[0].image) * image_planes;
        let range = first * positions..(first + parts.len() * image_planes) * positions;
        // A task per plane, although the slopes of a position lie together: no two write to one.
        planes[range]
            .par_chunks_mut(positions)
            .enumerate()
            .for_each(|(plane, values)| {
                let part = &parts[plane / image_planes];
                let channel = plane % image_planes;
                let (sample, which) = (channel / per_sample, channel % per_sample);
                let values = &mut values[part.positions.clone()];
                for (row, out) in (part.row..).zip(values) {
                    *out += value(&self.slopes[row * samples + sample], which);
                }
            });
    }

    /// Channels of a slice of the input's gradient: one slice for each thread. The result does not
    /// depend on their number, because channels are added up apart from each other.
    fn slice_width(block: &Block) -> usize {
        let channels = block.channels.len();
        let equal = channels.div_ceil(rayon::current_num_threads());
        equal.next_multiple_of(MIN_SLICE).min(channels)
    }

    /// Adds the columns' gradients to the corners they were sampled from.
    ///
    /// Offsets can move any two positions to the same pixel, so threads that shared out positions
    /// would race. They share out channels and images: none adds where another does, and each
    /// adds in the order of the positions.
    fn scatter(&mut self, block: &Block, chunk: &Chunk) {
        let (inputs, map_rows) = (self.inputs, self.inputs.sizes.pixels() + 1);
        let per_position = inputs.samples_per_position();
        let parts = chunk.parts(inputs.sizes.positions());
        let (width, channels) = (Self::slice_width(block), block.channels.len());
        let images = self.x_gradient.len() / (map_rows * channels);
        let (table, columns) = (&self.scratch.table, &self.scratch.columns);
        self.x_gradient
            .par_chunks_mut(images * map_rows * width)
            .enumerate()
            .for_each(|(index, maps)| {
                let slice = index * width..((index + 1) * width).min(channels);
                let maps = maps.par_chunks_exact_mut(map_rows * slice.len());
                // Maps are those of all images of the group, parts those of the chunk alone.
                let maps = maps.skip(parts[0].image);
                maps.zip(&parts).for_each(|(map, part)| {
                    let positions = part.row..part.row + part.positions.len();
                    let samples = positions.start * per_position..positions.end * per_position;
                    let columns = &columns[positions.start * block.row..positions.end * block.row];
                    let rows = rows(inputs, block, &table[samples]);
                    let maps = GradientMaps {
                        values: map,
                        first_row: part.image * map_rows,
                        channels: slice.clone(),
                    };
                    kernels::scatter(&rows, columns, maps);
                });
            });
    }

    /// Copies the block's gradient of the images `group` to `x`, `[B, C, H, W]`.
    fn store_x(&self, block: &Block, group: Range<usize>, x: &mut [T]) {
        let sizes = &self.inputs.sizes;
        let (pixels, map_rows) = (sizes.pixels(), sizes.pixels() + 1);
        let (width, channels) = (Self::slice_width(block), block.channels.len());
        for (index, maps) in self
            .x_gradient
            .chunks(group.len() * map_rows * width)
            .enumerate()
        {
            let start = index * width;
            let width = width.min(channels - start);
            for (image, rows) in group.clone().zip(maps.chunks_exact(map_rows * width)) {
                let channel = image * sizes.channels_in + block.channels.start + start;
                let planes = &mut x[channel * pixels..(channel + width) * pixels];
                // What went to corners outside is in the row after the last pixel: it stays there.
                maps::to_planes(&rows[..pixels * width], planes, width);
            }
        }
    }
}

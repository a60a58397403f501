//! Where the taps of each output position sample: computed once, used for every channel.

use rayon::prelude::*;

use super::chunk::Chunk;
use super::inputs::{Inputs, TILE};
use super::real::Real;

/// Where one tap of one position and offset group samples.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample<T> {
    /// Rows of the channel-last maps at the corners (y0, x0), (y0, x1), (y1, x0), (y1, x1). A
    /// corner outside of the map is the row of zeros after the image's last pixel, so that the
    /// loops over channels ask nothing. `u32` keeps the table small; a group of images has far
    /// fewer pixels.
    pub(super) rows: [u32; 4],
    /// Distance of the sample below and right of its first corner, in [0, 1).
    pub(super) fraction: [T; 2],
    /// Modulation; 1 without a mask.
    pub(super) mask: T,
}

impl<T: Real> Sample<T> {
    pub(super) const NOWHERE: Self = Self {
        rows: [0; 4],
        fraction: [T::ZERO; 2],
        mask: T::ZERO,
    };

    /// Weights of the corners in the sampled value.
    #[inline(always)]
    pub(super) fn weights(&self) -> [T; 4] {
        let [y, x] = self.fraction;
        let (above, left) = (T::ONE - y, T::ONE - x);
        [above * left, above * x, y * left, y * x].map(|weight| weight * self.mask)
    }
}

/// Where a coordinate lies along one axis.
struct Neighbours<T> {
    /// The pixels before and after it; none where they lie outside of the map.
    pixels: [Option<usize>; 2],
    /// Distance from the pixel before it.
    fraction: T,
}

/// The neighbours of a coordinate on an axis of `size` pixels.
fn neighbours<T: Real>(at: T, size: usize) -> Neighbours<T> {
    let size = T::from_int(size as i64);
    let low = at.floor();
    // Compared before the conversion: an offset may be as large as the number type allows.
    let pixel = |at: T| (at >= T::ZERO && at < size).then(|| at.to_index());
    // An infinite coordinate is outside, where `at - low` would be no number. What is no number to
    // begin with stays so: it is neither outside nor inside, and shows in the output.
    let fraction = if at <= T::from_int(-1) || at >= size {
        T::ZERO
    } else {
        at - low
    };
    Neighbours {
        pixels: [pixel(low), pixel(low + T::ONE)],
        fraction,
    }
}

/// Fills `table`, `[position of the chunk][offset group][tap]`.
pub(super) fn locate<T: Real>(inputs: &Inputs<'_, T>, chunk: &Chunk, table: &mut [Sample<T>]) {
    let per_position = inputs.samples_per_position();
    table
        .par_chunks_mut(per_position * TILE)
        .enumerate()
        .for_each(|(tile, samples)| {
            for (row, samples) in samples.chunks_exact_mut(per_position).enumerate() {
                locate_position(inputs, chunk, tile * TILE + row, samples);
            }
        });
}

fn locate_position<T: Real>(
    inputs: &Inputs<'_, T>,
    chunk: &Chunk,
    row: usize,
    samples: &mut [Sample<T>],
) {
    let sizes = &inputs.sizes;
    let options = &inputs.options;
    let (positions, taps) = (sizes.positions(), sizes.taps());
    let (image, position) = chunk.position(row, positions);
    let output = [position / sizes.output[1], position % sizes.output[1]];
    // Every image has one row more than pixels: the zeros.
    let map = image * (sizes.pixels() + 1);
    let plane = |channel: usize, channels: usize| {
        ((chunk.first_image + image) * channels + channel) * positions + position
    };
    for (index, sample) in samples.iter_mut().enumerate() {
        let tap = index % taps;
        let tap = [tap / sizes.kernel[1], tap % sizes.kernel[1]];
        let [rows, columns] = [0, 1].map(|axis| {
            let start = output[axis] * options.stride[axis] + tap[axis] * options.dilation[axis];
            let start = T::from_int(start as i64 - options.padding[axis] as i64);
            let offset = inputs.offset[plane(2 * index + axis, 2 * inputs.samples_per_position())];
            neighbours(start + offset, sizes.input[axis])
        });
        let corner = |y: Option<usize>, x: Option<usize>| match (y, x) {
            (Some(y), Some(x)) => (map + y * sizes.input[1] + x) as u32,
            _ => (map + sizes.pixels()) as u32,
        };
        let ([y0, y1], [x0, x1]) = (rows.pixels, columns.pixels);
        *sample = Sample {
            rows: [
                corner(y0, x0),
                corner(y0, x1),
                corner(y1, x0),
                corner(y1, x1),
            ],
            fraction: [rows.fraction, columns.fraction],
            mask: match inputs.mask {
                Some(mask) => mask[plane(index, inputs.samples_per_position())],
                None => T::ONE,
            },
        };
    }
}

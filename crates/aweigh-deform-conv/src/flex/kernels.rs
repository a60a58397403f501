//! The loops over channels, compiled for several vector instruction sets.
//!
//! A row of maps holds the channels of one pixel, a row of columns the samples of one position;
//! both are walked in runs of neighbouring channels that share a weight group and an offset group.

use std::ops::Range;

use multiversion::multiversion;

use super::plan::Segment;
use super::real::Real;
use super::samples::Sample;

/// Partial sums of a dot product: one 512-bit vector of `f32`.
const LANES: usize = 16;

/// Rows of columns and the samples they belong to.
pub(super) struct Rows<'a, T> {
    /// Samples, `[position][offset group][tap]`.
    pub(super) samples: &'a [Sample<T>],
    /// Samples of one position.
    pub(super) per_position: usize,
    pub(super) taps: usize,
    /// Runs of channels.
    pub(super) segments: &'a [Segment],
    /// Length of a row of columns.
    pub(super) row: usize,
}

/// Channel-last maps: rows of `width` channels.
#[derive(Clone, Copy)]
pub(super) struct Maps<'a, T> {
    pub(super) values: &'a [T],
    pub(super) width: usize,
}

impl<'a, T: Real> Maps<'a, T> {
    #[inline(always)]
    fn corners(&self, sample: &Sample<T>, segment: &Segment) -> [&'a [T]; 4] {
        sample.rows.map(|row| {
            let start = row as usize * self.width + segment.channel;
            &self.values[start..start + segment.len]
        })
    }
}

/// Writes the samples of every position, tap and channel to `columns`.
///
/// Slices of one length side by side leave the inner loop without bounds checks, and so vectors.
#[multiversion(targets = "simd")]
pub(super) fn sample<T: Real>(rows: &Rows<'_, T>, maps: Maps<'_, T>, columns: &mut [T]) {
    let positions = rows.samples.chunks_exact(rows.per_position);
    for (samples, columns) in positions.zip(columns.chunks_exact_mut(rows.row)) {
        for segment in rows.segments {
            for tap in 0..rows.taps {
                let sample = &samples[segment.offset_group * rows.taps + tap];
                let [w0, w1, w2, w3] = sample.weights();
                let [a, b, c, d] = maps.corners(sample, segment);
                let start = segment.column + tap * segment.tap_stride;
                let out = &mut columns[start..start + segment.len];
                for ((((out, a), b), c), d) in out.iter_mut().zip(a).zip(b).zip(c).zip(d) {
                    *out = w0 * *a + w1 * *b + w2 * *c + w3 * *d;
                }
            }
        }
    }
}

/// Adds up, for every sample, the gradients with respect to its vertical and horizontal position
/// and its mask, in `found`, given the gradients of the `columns`.
#[multiversion(targets = "simd")]
pub(super) fn differentiate<T: Real>(
    rows: &Rows<'_, T>,
    maps: Maps<'_, T>,
    columns: &[T],
    found: &mut [[T; 3]],
) {
    found.fill([T::ZERO; 3]);
    let positions = rows.samples.chunks_exact(rows.per_position);
    let positions = positions.zip(found.chunks_exact_mut(rows.per_position));
    for ((samples, found), columns) in positions.zip(columns.chunks_exact(rows.row)) {
        for segment in rows.segments {
            for tap in 0..rows.taps {
                let index = segment.offset_group * rows.taps + tap;
                let sample = &samples[index];
                let start = segment.column + tap * segment.tap_stride;
                let gradient = &columns[start..start + segment.len];
                let corners = maps.corners(sample, segment);
                // A sample is linear in its corners: four sums over channels, one for each corner,
                // give the slopes along both axes and of the mask.
                let [a, b, c, d] = dots(gradient, corners);
                let [y, x] = sample.fraction;
                let (above, left) = (T::ONE - y, T::ONE - x);
                let [of_y, of_x, of_mask] = &mut found[index];
                *of_y += sample.mask * (left * (c - a) + x * (d - b));
                *of_x += sample.mask * (above * (b - a) + y * (d - c));
                *of_mask += above * (left * a + x * b) + y * (left * c + x * d);
            }
        }
    }
}

/// Dot products of `gradient` with each of the corners, summed in an order of their own that does
/// not depend on the instruction set.
#[inline(always)]
fn dots<T: Real>(gradient: &[T], corners: [&[T]; 4]) -> [T; 4] {
    let mut sums = [[T::ZERO; LANES]; 4];
    let whole = gradient.len() / LANES * LANES;
    // As many sums as lanes, because a single one would wait for itself at every addition.
    for start in (0..whole).step_by(LANES) {
        let lanes = start..start + LANES;
        let gradient = &gradient[lanes.clone()];
        for (sums, corner) in sums.iter_mut().zip(corners) {
            let corner = &corner[lanes.clone()];
            for lane in 0..LANES {
                sums[lane] += gradient[lane] * corner[lane];
            }
        }
    }
    let mut found = [T::ZERO; 4];
    for ((found, sums), corner) in found.iter_mut().zip(sums).zip(corners) {
        for (gradient, corner) in gradient[whole..].iter().zip(&corner[whole..]) {
            *found += *gradient * *corner;
        }
        *found += sums.into_iter().fold(T::ZERO, |sum, lane| sum + lane);
    }
    found
}

/// Memory of the input's gradient: rows that hold some of the block's channels only.
pub(super) struct GradientMaps<'a, T> {
    pub(super) values: &'a mut [T],
    /// Row of the maps that it starts with.
    pub(super) first_row: usize,
    pub(super) channels: Range<usize>,
}

/// Adds the gradients of `columns` to the corners they were sampled from, for the channels of `maps`.
#[multiversion(targets = "simd")]
pub(super) fn scatter<T: Real>(rows: &Rows<'_, T>, columns: &[T], maps: GradientMaps<'_, T>) {
    let slice = maps.channels;
    let width = slice.len();
    let positions = rows.samples.chunks_exact(rows.per_position);
    for (samples, columns) in positions.zip(columns.chunks_exact(rows.row)) {
        for segment in rows.segments {
            // The slice is this thread's; the rest of the segment is another's.
            let start = segment.channel.max(slice.start);
            let end = (segment.channel + segment.len).min(slice.end);
            if start >= end {
                continue;
            }
            for tap in 0..rows.taps {
                let sample = &samples[segment.offset_group * rows.taps + tap];
                let column = segment.column + tap * segment.tap_stride + start - segment.channel;
                let gradient = &columns[column..column + end - start];
                for (weight, row) in sample.weights().into_iter().zip(sample.rows) {
                    let at = (row as usize - maps.first_row) * width + start - slice.start;
                    let corner = &mut maps.values[at..at + end - start];
                    for (corner, gradient) in corner.iter_mut().zip(gradient) {
                        *corner += weight * *gradient;
                    }
                }
            }
        }
    }
}

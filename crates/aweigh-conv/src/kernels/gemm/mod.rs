//! Convolutions as products of matrices.
//!
//! The matrix of pixels `[channels x taps, batch x pixels]` is never built as a whole: every job
//! packs the part that it needs, small enough for the second-level cache, and multiplies it at
//! once. How large blocks of a sum are depends on the sizes of the convolution alone; how the
//! outputs are split into jobs may depend on the number of threads too, since that does not change
//! any sum.

mod maps;
mod multiply;
mod packed;
mod panels;
mod split;
#[cfg(test)]
pub(crate) mod testing;
mod tile;
mod weight_gradient;
mod weights;

use std::ops::Range;

pub(crate) use maps::Maps;
pub(crate) use multiply::Multiply;
pub(crate) use packed::PackedRows;
pub(crate) use panels::Panels;
pub(crate) use split::{Extent, Split};
pub(crate) use tile::{Tile, panel_len};
pub(crate) use weight_gradient::{JOBS, WeightGradient};
pub(crate) use weights::Weights;

use super::prefetch::Prefetch;
use super::share::share;
use crate::simd::Simd;

/// Steps of a product whose sums stay in registers: a panel of the right matrix, 32 values wide,
/// is then as large as a first-level cache, and 8 panels a quarter of a second-level one.
pub(crate) const DEPTH: usize = 256;

/// Values of a matrix that is packed and then used often, 256 KB: less than the second-level cache.
const BLOCK: usize = 1 << 16;

/// A matrix `[channels x taps, pixels]` for every image, of which parts are made when needed.
pub(crate) trait Source: Sync {
    /// Rows of a channel.
    fn taps(&self) -> usize;

    /// Columns of an image's matrix.
    fn pixels(&self) -> usize;

    /// Values of scratch that [`fill`](Self::fill) needs for this many pixels.
    fn scratch(&self, pixels: usize) -> usize;

    /// Memory that [`fill`](Self::fill) will read, or most of it.
    fn prefetch(&self, image: usize, channels: Range<usize>, pixels: Range<usize>) -> Prefetch;

    /// Writes the rows of `channels` at `pixels`, of which the first is a multiple of 16.
    ///
    /// Vector `v` of row `r`, counted from the first pixel and channel given, goes to `to(r, v)`;
    /// the last one ends with zeros.
    ///
    /// # Safety
    ///
    /// The machine has the instructions of `S`, channels and pixels are there, `scratch` is as long
    /// as said, and `to` gives room for a vector.
    unsafe fn fill<S: Simd>(
        &self,
        image: usize,
        channels: Range<usize>,
        pixels: Range<usize>,
        scratch: *mut f32,
        to: impl Fn(usize, usize) -> *mut f32,
    );
}

/// Channels of a block of about [`DEPTH`] rows, at least one.
pub(crate) fn channels_per_block(taps: usize) -> usize {
    (DEPTH / taps.max(1)).max(1)
}

/// Blocks of depth: whole channels.
#[derive(Clone, Copy)]
pub(crate) struct Blocks {
    channels: usize,
    taps: usize,
    count: usize,
}

impl Blocks {
    /// Blocks of `channels` with `taps` rows each; at least one, which may be empty.
    pub(crate) fn new(channels: usize, taps: usize) -> Self {
        let count = channels.div_ceil(channels_per_block(taps)).max(1);
        Self {
            channels,
            taps,
            count,
        }
    }

    /// Channels of the largest block.
    pub(crate) fn channels(&self) -> usize {
        self.channels.div_ceil(self.count)
    }

    /// Depth of the largest block.
    pub(crate) fn depth(&self) -> usize {
        self.channels() * self.taps
    }

    /// The channels of each block.
    #[inline(always)]
    pub(crate) fn each(self) -> impl Iterator<Item = Range<usize>> {
        (0..self.count).map(move |i| share(self.channels, self.count, i))
    }
}

//! Where tiles and channels lie in memory.

use std::ops::Range;

use super::transform::{PLANES, TAPS, TILE};
use crate::kernels::ConvSizes;
use crate::kernels::share::groups;
use crate::simd::LANES;

/// Convolutions 3x3 of stride 1 with the same weights, from maps of several sizes to maps.
///
/// The maps of a level follow those of the level before, `[level][batch][channels][y][x]`.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    pub(super) batch: usize,
    /// Channels of the input.
    pub(super) inputs: usize,
    /// Channels of the output.
    pub(super) outputs: usize,
    /// Zeros above and left of the input.
    pub(super) padding: [usize; 2],
    levels: Vec<Level>,
}

/// Maps of one size.
#[derive(Debug, Clone, Copy)]
pub(super) struct Level {
    pub(super) input: Map,
    pub(super) output: Map,
    /// Tiles of the levels before.
    first_tile: usize,
}

/// The maps of a level on one side of a convolution.
#[derive(Debug, Clone, Copy)]
pub(super) struct Map {
    /// Height and width.
    pub(super) size: [usize; 2],
    /// Values of the levels before.
    pub(super) at: usize,
}

/// A side of a convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Input,
    Output,
}

impl Level {
    /// The maps of a side.
    pub(super) fn map(&self, side: Side) -> Map {
        match side {
            Side::Input => self.input,
            Side::Output => self.output,
        }
    }

    /// Tiles down and across an output map.
    fn grid(&self) -> [usize; 2] {
        self.output.size.map(|size| size.div_ceil(TILE))
    }
}

impl Shape {
    /// From the input of convolutions to their output; they differ in the size of the map alone.
    pub(super) fn new(sizes: &[ConvSizes]) -> Self {
        let ConvSizes {
            batch,
            channels_in,
            channels_out,
            padding,
            ..
        } = sizes[0];
        let maps = sizes.iter().map(|sizes| [sizes.input, sizes.output()]);
        Self::of([batch, channels_in, channels_out], padding, maps)
    }

    /// From the gradient of the output to that of the input: a convolution too, with the taps in
    /// reverse order.
    pub(super) fn transposed(&self) -> Self {
        let padding = self.padding.map(|padding| TAPS - 1 - padding);
        let levels = self.levels.iter();
        let maps = levels.map(|level| [level.output.size, level.input.size]);
        Self::of([self.batch, self.outputs, self.inputs], padding, maps)
    }

    fn of(
        [batch, inputs, outputs]: [usize; 3],
        padding: [usize; 2],
        maps: impl Iterator<Item = [[usize; 2]; 2]>,
    ) -> Self {
        let (mut levels, mut tiles, mut at) = (Vec::new(), 0, [0; 2]);
        for [input, output] in maps {
            let level = Level {
                input: Map {
                    size: input,
                    at: at[0],
                },
                output: Map {
                    size: output,
                    at: at[1],
                },
                first_tile: tiles,
            };
            levels.push(level);
            tiles += batch * level.grid().iter().product::<usize>();
            at[0] += batch * inputs * input.iter().product::<usize>();
            at[1] += batch * outputs * output.iter().product::<usize>();
        }
        Self {
            batch,
            inputs,
            outputs,
            padding,
            levels,
        }
    }

    /// Tiles of all images.
    pub(super) fn tiles(&self) -> usize {
        let last = self.levels[self.levels.len() - 1];
        let [down, across] = last.grid();
        last.first_tile + self.batch * down * across
    }

    /// The level of a tile.
    fn level(&self, tile: usize) -> Level {
        let mut levels = self.levels.iter().rev();
        *levels
            .find(|level| level.first_tile <= tile)
            .expect("the first level begins with tile 0")
    }

    /// The rows of tiles in `tiles`.
    pub(super) fn runs(&self, tiles: Range<usize>) -> impl Iterator<Item = Run> {
        let mut next = tiles.start;
        std::iter::from_fn(move || {
            if next >= tiles.end {
                return None;
            }
            let level = self.level(next);
            let [down, across] = level.grid();
            let tile = next - level.first_tile;
            let (row, column) = (tile / across, tile % across);
            let count = (across - column).min(tiles.end - next);
            let run = Run {
                level,
                image: row / down,
                row: row % down,
                columns: column..column + count,
                first: next - tiles.start,
            };
            next += count;
            Some(run)
        })
    }
}

/// Neighbouring tiles of a row.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) level: Level,
    pub(super) image: usize,
    /// Row of tiles in the image.
    pub(super) row: usize,
    /// Columns of tiles.
    pub(super) columns: Range<usize>,
    /// Place of the first tile among those that were asked for.
    pub(super) first: usize,
}

/// Where the 16 channels of a block are stored for a tile, in each plane: at
/// `first + block * block_step`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) first: usize,
    pub(super) block_step: usize,
}

/// The smallest multiple of 16 that is not below `count`.
pub(super) fn round_up(count: usize) -> usize {
    count.next_multiple_of(LANES)
}

/// Values from one of the 36 planes to the next, for `count` values in a plane.
///
/// The 36 values of a tile are written one after another: a step of 8 n + 5 cache lines puts them
/// into different sets of the cache, where one of 64 n would put them all into the same set.
pub(super) fn plane_step(count: usize) -> usize {
    let lines = count.div_ceil(LANES);
    (lines + (13 - lines % 8) % 8) * LANES
}

/// Channels in panels of at most `width`: first channel and channels of each, multiples of 16.
pub(super) fn panels(
    channels: usize,
    width: usize,
) -> impl Iterator<Item = (usize, usize)> + Clone {
    let blocks = groups(channels.div_ceil(LANES), width / LANES);
    blocks.map(|(first, count)| (first * LANES, count * LANES))
}

/// Places of tiles that are the rows of left matrices, in groups: `[group][block][row][16]`.
pub(super) fn left_places(groups: &[(usize, usize)], channels: usize) -> Vec<Place> {
    let group = |&(first, rows): &(usize, usize)| {
        (0..rows).map(move |row| Place {
            first: first * channels + row * LANES,
            block_step: rows * LANES,
        })
    };
    groups.iter().flat_map(group).collect()
}

/// Values of all planes, with `count` in each.
pub(super) fn planes_len(count: usize) -> usize {
    PLANES * plane_step(count)
}

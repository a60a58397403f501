//! The transforms of tiles: from maps to planes, and back.
//!
//! Maps are `[channel][y][x]`; in the planes, 16 channels of a tile are neighbours.

use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::Range;

use super::layout::{Map, Place, Run, Shape, Side};
use super::transform::{Expand, SPAN, TILE, outputs};
use crate::kernels::activation::Activation;
use crate::simd::{Kernel, LANES, Simd};

/// Columns kept of the rows that are being transformed.
const RING: usize = 2 * LANES;

/// 16 channels of the pixels of a tile's 6 rows, of the last two groups of 16 columns: 12 KB, which
/// stay in the first-level cache for maps of any width.
#[repr(align(64))]
struct Ring([[[MaybeUninit<f32>; LANES]; RING]; SPAN]);

impl Ring {
    /// Address of a column, in any row.
    #[inline(always)]
    fn at(&mut self, row: usize, column: isize) -> *mut f32 {
        // Two's complement: right for negative columns too.
        self.0[row][column as usize % RING].as_mut_ptr().cast()
    }
}

/// Transforms 16 channels of tiles of `FROM` pixels each way to the 36 values that are multiplied.
pub(super) struct ToPlanes<'a, const FROM: usize, E> {
    /// Whose tiles they are.
    pub(super) shape: &'a Shape,
    /// `[level][batch][channels][height][width]`.
    pub(super) map: &'a [f32],
    pub(super) channels: usize,
    /// Which maps they are.
    pub(super) side: Side,
    /// Rows above and columns left of the map that the first tile begins with.
    pub(super) before: [usize; 2],
    /// Block of 16 channels.
    pub(super) block: usize,
    pub(super) tiles: Range<usize>,
    /// Place of each tile.
    pub(super) places: &'a [Place],
    pub(super) planes: *mut f32,
    /// From plane to plane.
    pub(super) step: usize,
    pub(super) transform: PhantomData<E>,
}

impl<const FROM: usize, E: Expand<FROM>> Kernel for ToPlanes<'_, FROM, E> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let mut ring = Ring([[[MaybeUninit::uninit(); LANES]; RING]; SPAN]);
        for run in self.shape.runs(self.tiles.clone()) {
            // SAFETY: the places are those of the tiles, within the planes.
            unsafe { self.run_of_tiles::<S>(&mut ring, &run) };
        }
    }
}

impl<const FROM: usize, E: Expand<FROM>> ToPlanes<'_, FROM, E> {
    /// Goes along a row of tiles, 16 columns of the map at a time.
    #[inline(always)]
    unsafe fn run_of_tiles<S: Simd>(&self, ring: &mut Ring, run: &Run) {
        let column = |tile: usize| (tile * TILE) as isize - self.before[1] as isize;
        let (lanes, span) = (LANES as isize, FROM as isize);
        let (first, end) = (
            column(run.columns.start),
            column(run.columns.end - 1) + span,
        );
        let mut tile = run.columns.start;
        let mut group = first.div_euclid(lanes) * lanes;
        while tile < run.columns.end {
            let columns = first.max(group)..end.min(group + lanes);
            // SAFETY: as `run`'s.
            unsafe {
                self.down::<S>(ring, run, group, columns);
                while tile < run.columns.end && column(tile) + span <= group + lanes {
                    let place = self.places[run.first + tile - run.columns.start];
                    let to = place.first + self.block * place.block_step;
                    self.across::<S>(ring, column(tile), self.planes.add(to));
                    tile += 1;
                }
            }
            group += lanes;
        }
    }

    /// Transforms `columns`, of the 16 from `group` on, down.
    #[inline(always)]
    unsafe fn down<S: Simd>(
        &self,
        ring: &mut Ring,
        run: &Run,
        group: isize,
        columns: Range<isize>,
    ) {
        let map = run.level.map(self.side);
        let [height, width] = map.size;
        // SAFETY: as `run`'s.
        unsafe {
            if group < 0 || group as usize >= width {
                for column in columns {
                    for row in 0..SPAN {
                        S::store(ring.at(row, column), S::zero());
                    }
                }
                return;
            }
            for row in 0..FROM {
                let to = ring.at(row, group);
                match (run.row * TILE + row).checked_sub(self.before[0]) {
                    Some(y) if y < height => {
                        self.pixels::<S>(map, run.image, [y, group as usize], to)
                    }
                    _ => (0..LANES).for_each(|i| S::store(to.add(i * LANES), S::zero())),
                }
            }
            for column in columns {
                let mut values = [S::zero(); FROM];
                for (row, value) in values.iter_mut().enumerate() {
                    *value = S::load(ring.at(row, column));
                }
                for (row, value) in E::expand::<S>(values).into_iter().enumerate() {
                    S::store(ring.at(row, column), value);
                }
            }
        }
    }

    /// Transposes 16 pixels of a row of the block's channels; those right of the map are 0.
    #[inline(always)]
    unsafe fn pixels<S: Simd>(&self, map: Map, image: usize, [y, x]: [usize; 2], to: *mut f32) {
        let [height, width] = map.size;
        let first = self.block * LANES;
        let (channels, count) = (self.channels - first, width - x);
        let at = map.at + (image * self.channels + first) * height * width + y * width + x;
        let from = self.map[at..].as_ptr();
        // What is needed next: the columns to the right, or at the end of a row the next tiles'.
        let next = if x + LANES < width {
            LANES
        } else {
            TILE * width - x
        };
        // SAFETY: the pixels lie in the row, the channels in the image; the ring has 16 columns.
        unsafe {
            let mut rows = [S::zero(); LANES];
            if channels >= LANES && count >= LANES {
                for (i, row) in rows.iter_mut().enumerate() {
                    *row = S::load(from.add(i * height * width));
                    S::prefetch(from.wrapping_add(i * height * width + next));
                }
            } else {
                for (i, row) in rows.iter_mut().enumerate() {
                    if i < channels {
                        *row = S::load_first(from.add(i * height * width), count);
                    }
                }
            }
            for (i, column) in S::transpose(rows).into_iter().enumerate() {
                S::store(to.add(i * LANES), column);
            }
        }
    }

    /// Transforms the tile that begins at `column` across, into the planes.
    #[inline(always)]
    unsafe fn across<S: Simd>(&self, ring: &mut Ring, column: isize, to: *mut f32) {
        // SAFETY: as `run`'s.
        unsafe {
            for row in 0..SPAN {
                let mut values = [S::zero(); FROM];
                for (i, value) in values.iter_mut().enumerate() {
                    *value = S::load(ring.at(row, column + i as isize));
                }
                for (i, value) in E::expand::<S>(values).into_iter().enumerate() {
                    S::store(to.add((row * SPAN + i) * self.step), value);
                }
            }
        }
    }
}

/// What is done to outputs before they are stored.
#[derive(Debug, Clone, Copy)]
pub(super) struct Finish<'a> {
    /// Added to each channel.
    pub(super) bias: Option<&'a [f32]>,
    pub(super) activation: Activation,
}

/// Tiles whose rows fill a vector.
const ABREAST: usize = LANES / TILE;

/// Transforms the products of 16 channels of tiles to outputs.
pub(super) struct FromPlanes<'a> {
    pub(super) shape: &'a Shape,
    /// Block of 16 channels.
    pub(super) block: usize,
    pub(super) tiles: Range<usize>,
    /// The block's channels of the first tile, in the first plane.
    pub(super) planes: *const f32,
    /// From plane to plane.
    pub(super) step: usize,
    /// From tile to tile.
    pub(super) tile_step: usize,
    pub(super) finish: Finish<'a>,
    /// `[level][batch][outputs][height][width]`.
    pub(super) out: *mut f32,
}

/// 16 channels of the outputs of four tiles, `[row][column][channel]`.
#[repr(align(64))]
struct Outputs([[[f32; LANES]; LANES]; TILE]);

impl Kernel for FromPlanes<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: the planes hold the tiles; 16 channels are loaded, as far as there are so many.
        unsafe {
            let mut outputs = Outputs([[[0.0; LANES]; LANES]; TILE]);
            let bias = match self.finish.bias {
                Some(bias) => {
                    let bias = &bias[self.block * LANES..];
                    S::load_first(bias.as_ptr(), bias.len())
                }
                None => S::zero(),
            };
            for run in self.shape.runs(self.tiles.clone()) {
                for column in run.columns.clone().step_by(ABREAST) {
                    let count = ABREAST.min(run.columns.end - column);
                    for i in 0..count {
                        let tile = run.first + column - run.columns.start + i;
                        let from = self.planes.add(tile * self.tile_step);
                        self.tile::<S>(from, bias, &mut outputs, i);
                    }
                    self.store::<S>(&outputs, &run, column, count);
                }
            }
        }
    }
}

impl FromPlanes<'_> {
    /// Transforms a tile, which is number `place` of four.
    #[inline(always)]
    unsafe fn tile<S: Simd>(&self, from: *const f32, bias: S::V, out: &mut Outputs, place: usize) {
        // SAFETY: as `run`'s.
        unsafe {
            let mut columns = [[S::zero(); TILE]; SPAN];
            for (column, reduced) in columns.iter_mut().enumerate() {
                let mut values = [S::zero(); SPAN];
                for (row, value) in values.iter_mut().enumerate() {
                    *value = S::load(from.add((row * SPAN + column) * self.step));
                }
                *reduced = outputs::<S>(values);
            }
            for row in 0..TILE {
                let mut values = [S::zero(); SPAN];
                for (value, column) in values.iter_mut().zip(&columns) {
                    *value = column[row];
                }
                for (i, value) in outputs::<S>(values).into_iter().enumerate() {
                    let value = self.finish.activation.of::<S>(S::add(value, bias));
                    S::store(out.0[row][place * TILE + i].as_mut_ptr(), value);
                }
            }
        }
    }

    /// Stores `count` tiles from `column` on, as far as they lie in the map.
    #[inline(always)]
    unsafe fn store<S: Simd>(&self, outputs: &Outputs, run: &Run, column: usize, count: usize) {
        let Map {
            size: [height, width],
            at,
        } = run.level.output;
        let (y, x) = (run.row * TILE, column * TILE);
        let first = self.block * LANES;
        let channels = self.shape.outputs - first;
        let pixels = (count * TILE).min(width - x);
        let at = at + ((run.image * self.shape.outputs + first) * height + y) * width + x;
        // SAFETY: the pixels lie in the row, the rows in the map, the channels in the image.
        unsafe {
            for row in 0..TILE.min(height - y) {
                let to = self.out.add(at + row * width);
                let mut columns = [S::zero(); LANES];
                for (i, column) in columns.iter_mut().enumerate() {
                    *column = S::load(outputs.0[row][i].as_ptr());
                }
                let rows = S::transpose(columns);
                if channels >= LANES && pixels == LANES {
                    for (i, values) in rows.into_iter().enumerate() {
                        S::store(to.add(i * height * width), values);
                    }
                } else {
                    for (i, values) in rows.into_iter().enumerate() {
                        if i < channels {
                            S::store_first(to.add(i * height * width), values, pixels);
                        }
                    }
                }
            }
        }
    }
}

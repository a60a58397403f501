//! Sums over the channels of a row: shares of lanes in shared memory, and what becomes of them.

use cubecl::prelude::*;

use super::arguments::{Chunk, Geometry};
use super::location::{Tile, index};

/// What a lane adds up over its channels of a row: with respect to the vertical and the horizontal
/// position and to the mask.
#[derive(CubeType)]
pub(crate) struct LaneSums<P: Float, N: Size> {
    pub(crate) y: Vector<P, N>,
    pub(crate) x: Vector<P, N>,
    pub(crate) mask: Vector<P, N>,
}

/// Before any channel.
#[cube]
pub(crate) fn no_sums<P: Float, N: Size>() -> LaneSums<P, N> {
    let zero = Vector::<P, N>::new(P::new(0.0));
    LaneSums::<P, N> {
        y: zero,
        x: zero,
        mask: zero,
    }
}

/// How the lanes' sums lie in shared memory: `[quantity][row][lane]`. The quantities are the two
/// positions, if the offset has a gradient, and the mask, if that has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SumLayout {
    pub(crate) has_offset: bool,
    pub(crate) has_mask: bool,
    pub(crate) rows: usize,
    pub(crate) lanes: usize,
}

impl SumLayout {
    pub(crate) fn quantities(self) -> usize {
        2 * usize::from(self.has_offset) + usize::from(self.has_mask)
    }

    /// Distance between rows. Neighbouring units add up neighbouring rows; one number more than
    /// there are lanes, which are a power of two, puts those on different banks.
    fn pitch(self) -> usize {
        self.lanes + 1
    }

    /// Where a quantity starts.
    fn start(self, quantity: usize) -> usize {
        quantity * self.rows * self.pitch()
    }

    /// Numbers in all; shared memory cannot be empty.
    pub(crate) fn len(self) -> usize {
        self.start(self.quantities().max(1))
    }
}

/// Sum of a vector's components.
#[cube]
fn total<P: Float, N: Size>(vector: Vector<P, N>) -> P {
    let mut sum = P::new(0.0);
    #[unroll]
    for component in 0..vector.vector_size() {
        sum += vector.extract(component);
    }
    sum
}

/// Leaves a lane's share of a row in shared memory; lanes that had no channels leave zeros, since all
/// lanes are added up.
#[cube]
pub(crate) fn leave_sums<P: Float, N: Size>(
    sums: &mut Shared<[P]>,
    lane: &LaneSums<P, N>,
    modulation: P,
    row: usize,
    #[comptime] layout: SumLayout,
) {
    let at = row * comptime!(layout.pitch()) + UNIT_POS_X as usize;
    if comptime!(layout.has_offset) {
        sums[at] = modulation * total::<P, N>(lane.y);
        sums[comptime!(layout.start(1)) + at] = modulation * total::<P, N>(lane.x);
    }
    if comptime!(layout.has_mask) {
        let first = comptime!(layout.start(layout.quantities() - 1));
        sums[first + at] = total::<P, N>(lane.mask);
    }
}

/// Writes the gradients of offset and mask of a tile. Each belongs to one position, tap and offset
/// group, and so to one cube: nothing is added to what others write.
#[cube]
pub(crate) fn write_gradients<F: Float, P: Float>(
    grad_offset: ComptimeOption<&mut Tensor<F>>,
    grad_mask: ComptimeOption<&mut Tensor<F>>,
    sums: &Shared<[P]>,
    geometry: &Geometry,
    chunk: &Chunk,
    tile: &Tile,
    #[comptime] layout: SumLayout,
) {
    #[comptime]
    match grad_offset {
        ComptimeOption::Some(grad) => {
            write_sums::<F, P>(grad, sums, geometry, chunk, tile, layout, 0usize, 2usize);
        }
        ComptimeOption::None => {}
    }
    #[comptime]
    match grad_mask {
        ComptimeOption::Some(grad) => {
            let first = comptime!(layout.quantities() - 1);
            write_sums::<F, P>(grad, sums, geometry, chunk, tile, layout, first, 1usize);
        }
        ComptimeOption::None => {}
    }
}

/// Adds up the lanes' sums of `channels` quantities from `first` on, and writes them to as many
/// channels per tap.
#[cube]
fn write_sums<F: Float, P: Float>(
    grad: &mut Tensor<F>,
    sums: &Shared<[P]>,
    geometry: &Geometry,
    chunk: &Chunk,
    tile: &Tile,
    #[comptime] layout: SumLayout,
    #[comptime] first: usize,
    #[comptime] channels: usize,
) {
    let rows = comptime!(layout.rows);
    let tap = (tile.group * geometry.taps + tile.tap) * channels;
    let count = comptime!(channels * rows);
    for sum in range_stepped(UNIT_POS as usize, count, CUBE_DIM as usize) {
        let row = sum % rows;
        if tile.start + row < chunk.count {
            let start = comptime!(layout.start(first)) + sum * comptime!(layout.pitch());
            let mut value = P::new(0.0);
            for lane in 0..comptime!(layout.lanes) {
                value += sums[start + lane];
            }
            let position = chunk.first + tile.start + row;
            let at = index::<F>(&*grad, position, tap + sum / rows, geometry);
            grad[at] = F::cast_from(value);
        }
    }
}

//! Gradients of the input, the offset and the mask.

use cubecl::prelude::*;
use cubecl::std::FastDivmod;

use super::place::{Corners, Tile, corners, index, locate, starts, tile};
use super::{Chunk, Geometry};

/// How a value is added to memory that other units add to.
#[cube]
pub(crate) trait AtomicAdd: Send + Sync + 'static {
    /// What the accumulator's memory is made of.
    type Cell<A: Float, N: Size>: CubePrimitive;

    fn add<A: Float, N: Size>(cell: &Atomic<Self::Cell<A, N>>, value: Vector<A, N>);
}

/// The device's own addition of a number, or of a whole vector.
pub(crate) struct NativeAdd;

/// A compare-and-swap loop on the bits, for devices without atomic addition of `f32`; N is 1.
pub(crate) struct ExchangeAdd;

#[cube]
impl AtomicAdd for NativeAdd {
    type Cell<A: Float, N: Size> = Vector<A, N>;

    fn add<A: Float, N: Size>(cell: &Atomic<Vector<A, N>>, value: Vector<A, N>) {
        cell.fetch_add(value);
    }
}

#[cube]
impl AtomicAdd for ExchangeAdd {
    type Cell<A: Float, N: Size> = u32;

    fn add<A: Float, N: Size>(cell: &Atomic<u32>, value: Vector<A, N>) {
        let value = f32::cast_from(value.extract(0usize));
        let mut found = cell.load();
        loop {
            let expected = found;
            let sum = (f32::from_bits(expected) + value).to_bits();
            found = cell.compare_exchange_weak(expected, sum);
            if found == expected {
                break;
            }
        }
    }
}

/// Memory that values are added to.
type Sums<Add, A, N> = Tensor<Atomic<<Add as AtomicAdd>::Cell<A, N>>>;

/// Value of a corner; 0 outside.
#[cube]
fn corner_value<F: Float, P: Float, N: Size>(
    x: &Tensor<Vector<F, N>>,
    at: usize,
    inside: bool,
) -> Vector<P, N> {
    let mut value = Vector::<P, N>::new(P::new(0.0));
    if inside {
        value = Vector::cast_from(x[at]);
    }
    value
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

/// What a lane adds up over its channels of a row: with respect to the vertical and the horizontal
/// position and to the mask.
#[derive(CubeType)]
struct LaneSums<P: Float, N: Size> {
    y: Vector<P, N>,
    x: Vector<P, N>,
    mask: Vector<P, N>,
}

/// Reads the corners of a row at one vector, adds to the sums, and gives the sampled value.
#[cube]
fn differentiate<F: Float, P: Float, N: Size>(
    map: &Tensor<Vector<F, N>>,
    corners: &Corners<P>,
    starts: &Sequence<usize>,
    step: usize,
    y: P,
    x: P,
    gradient: Vector<P, N>,
    sums: &mut LaneSums<P, N>,
) -> Vector<P, N> {
    let upper_left = corner_value::<F, P, N>(map, starts[0] + step, corners.inside[0]);
    let upper_right = corner_value::<F, P, N>(map, starts[1] + step, corners.inside[1]);
    let lower_left = corner_value::<F, P, N>(map, starts[2] + step, corners.inside[2]);
    let lower_right = corner_value::<F, P, N>(map, starts[3] + step, corners.inside[3]);
    let one = P::new(1.0);
    let (above, before) = (Vector::new(one - y), Vector::new(one - x));
    let (below, after) = (Vector::new(y), Vector::new(x));
    let upper = upper_left * before + upper_right * after;
    let lower = lower_left * before + lower_right * after;
    let left = upper_left * above + lower_left * below;
    let right = upper_right * above + lower_right * below;
    let value = upper * above + lower * below;
    sums.y += gradient * (lower - upper);
    sums.x += gradient * (right - left);
    sums.mask += gradient * value;
    value
}

/// What the backward pass of a chunk leaves in the columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ColumnsAfter {
    /// The gradient that it found there.
    Gradient,
    /// The sampled values, for the weight gradient.
    Samples,
}

/// One pass over the column gradients of a chunk: adds to the input gradient `[image][pixel]
/// [channel]`, writes the offset and mask gradients, and replaces the column gradients by the
/// columns themselves. Does only what it is given memory for.
///
/// Offset and mask gradients are sums over the channels of a row. Each lane leaves its share in
/// shared memory; after a barrier one unit per sum adds them up, always in the same order.
#[cube(launch_unchecked, address_type = "dynamic", create_dummy_kernel)]
pub(crate) fn backward<F: Float, P: Float, A: Float, N: Size, Add: AtomicAdd>(
    x: &Tensor<Vector<F, N>>,
    offset: &Tensor<F>,
    mask: ComptimeOption<&Tensor<F>>,
    columns: &mut Tensor<Vector<F, N>>,
    grad_x: ComptimeOption<&mut Sums<Add, A, N>>,
    grad_offset: ComptimeOption<&mut Tensor<F>>,
    grad_mask: ComptimeOption<&mut Tensor<F>>,
    weight_group: FastDivmod<usize>,
    weight_vectors: usize,
    geometry: &Geometry,
    chunk: &Chunk,
    #[comptime] after: ColumnsAfter,
    #[comptime] rows: usize,
    #[comptime] lanes: usize,
    #[define(F, P, A)] _types: [ElemType; 3],
) {
    let tile = tile(geometry, rows);
    if tile.start >= chunk.count {
        terminate!();
    }
    let samples = comptime!(after == ColumnsAfter::Samples);
    let along = grad_offset.is_some();
    let product = grad_mask.is_some();
    // Lanes' sums, one row per quantity and position; the odd length spreads shared memory's
    // banks over the units that add them up.
    let quantities = comptime!(2 * along as usize + product as usize);
    let pitch = comptime!(lanes + 1);
    let mut sums = Shared::<[P]>::new_slice(comptime!(quantities.max(1) * rows * pitch));

    let places = locate::<F, P>(offset, mask, geometry, chunk, &tile, rows);
    for row in range_stepped(UNIT_POS_Y as usize, rows, CUBE_DIM_Y as usize) {
        let position = tile.start + row;
        if position < chunk.count {
            let corners = corners::<P>(&places, row, geometry);
            let vectors = geometry.offset_groups * chunk.vectors;
            let image = (corners.image - chunk.first_image) * chunk.image_stride;
            let reads = starts::<P>(&corners, image, chunk.pixel_stride);
            let image = corners.image - chunk.first_gradient_image;
            let image = image * geometry.height * geometry.width * vectors;
            let writes = starts::<P>(&corners, image, vectors);
            let modulation = places.mask[row];
            let zero = Vector::<P, N>::new(P::new(0.0));
            let mut lane_sums = LaneSums::<P, N> {
                y: zero,
                x: zero,
                mask: zero,
            };

            for lane in range_stepped(UNIT_POS_X as usize, chunk.vectors, CUBE_DIM_X as usize) {
                let vector = tile.group * chunk.vectors + lane;
                let (group, within) = weight_group.div_mod(vector);
                let at = (group * chunk.count + position) * geometry.taps + tile.tap;
                let at = at * weight_vectors + within;
                let gradient = Vector::<P, N>::cast_from(columns[at]);
                if comptime!(samples || along || product) {
                    let value = differentiate::<F, P, N>(
                        x,
                        &corners,
                        &reads,
                        vector * chunk.vector_stride,
                        places.y[row],
                        places.x[row],
                        gradient,
                        &mut lane_sums,
                    );
                    if comptime!(samples) {
                        columns[at] = Vector::cast_from(value * Vector::new(modulation));
                    }
                }
                #[comptime]
                match &grad_x {
                    ComptimeOption::Some(grad) =>
                    {
                        #[unroll]
                        for corner in 0..4usize {
                            let weight = corners.weights[corner];
                            if weight != P::new(0.0) {
                                let share = Vector::cast_from(gradient * Vector::new(weight));
                                Add::add::<A, N>(&grad[writes[corner] + vector], share);
                            }
                        }
                    }
                    ComptimeOption::None => {}
                }
            }

            let at = row * pitch + UNIT_POS_X as usize;
            if comptime!(along) {
                sums[at] = modulation * total::<P, N>(lane_sums.y);
                sums[rows * pitch + at] = modulation * total::<P, N>(lane_sums.x);
            }
            if comptime!(product) {
                let first = comptime!((quantities - 1) * rows * pitch);
                sums[first + at] = total::<P, N>(lane_sums.mask);
            }
        }
    }

    sync_cube();
    #[comptime]
    match grad_offset {
        ComptimeOption::Some(grad) => {
            write_sums::<F, P>(
                grad, &sums, geometry, chunk, &tile, rows, lanes, 0usize, 2usize,
            );
        }
        ComptimeOption::None => {}
    }
    #[comptime]
    match grad_mask {
        ComptimeOption::Some(grad) => {
            let first = comptime!(quantities - 1);
            write_sums::<F, P>(
                grad, &sums, geometry, chunk, &tile, rows, lanes, first, 1usize,
            );
        }
        ComptimeOption::None => {}
    }
}

/// Adds up the lanes' sums of some quantities and writes them to as many channels per tap.
#[cube]
fn write_sums<F: Float, P: Float>(
    grad: &mut Tensor<F>,
    sums: &Shared<[P]>,
    geometry: &Geometry,
    chunk: &Chunk,
    tile: &Tile,
    #[comptime] rows: usize,
    #[comptime] lanes: usize,
    #[comptime] first: usize,
    #[comptime] channels: usize,
) {
    let tap = (tile.group * geometry.taps + tile.tap) * channels;
    for sum in range_stepped(
        UNIT_POS as usize,
        comptime!(channels * rows),
        CUBE_DIM as usize,
    ) {
        let row = sum % rows;
        if tile.start + row < chunk.count {
            let mut value = P::new(0.0);
            for lane in 0..lanes {
                value += sums[(first * rows + sum) * comptime!(lanes + 1) + lane];
            }
            let position = chunk.first + tile.start + row;
            let at = index::<F>(&*grad, position, tap + sum / rows, geometry);
            grad[at] = F::cast_from(value);
        }
    }
}

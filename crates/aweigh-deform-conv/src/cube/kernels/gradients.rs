//! Gradients of the input, the offset and the mask.

use cubecl::prelude::*;
use cubecl::std::FastDivmod;

use super::place::{Tile, corner_pixel, corner_weight, index, is_inside, locate, tile};
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

type Cell<Add, A, N> = <Add as AtomicAdd>::Cell<A, N>;

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
#[cube(launch_unchecked, address_type = "dynamic", create_dummy_kernel)]
pub(crate) fn backward<F: Float, P: Float, A: Float, N: Size, Add: AtomicAdd>(
    x: &Tensor<Vector<F, N>>,
    offset: &Tensor<F>,
    mask: ComptimeOption<&Tensor<F>>,
    columns: &mut Tensor<Vector<F, N>>,
    grad_x: ComptimeOption<&mut Tensor<Atomic<Cell<Add, A, N>>>>,
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
    // One row of partial sums per quantity and position; the odd length spreads shared memory's
    // banks over the units that add them up.
    let quantities = comptime!(2 * along as usize + product as usize);
    let pitch = comptime!(lanes + 1);
    let mut sums = Shared::<[P]>::new_slice(comptime!(quantities.max(1) * rows * pitch));

    let places = locate::<F, P>(offset, mask, geometry, chunk, &tile, rows);
    for row in range_stepped(UNIT_POS_Y as usize, rows, CUBE_DIM_Y as usize) {
        let position = tile.start + row;
        if position < chunk.count {
            let image = (places.image[row] - chunk.first_image) * chunk.image_stride;
            let gradient_image =
                (places.image[row] - chunk.first_gradient_image) * geometry.height * geometry.width;
            let vectors = geometry.offset_groups * chunk.vectors;
            let mut inside = Sequence::<bool>::new();
            let mut weights = Sequence::<P>::new();
            let mut starts = Sequence::<usize>::new();
            let mut gradient_starts = Sequence::<usize>::new();
            #[unroll]
            for corner in 0..4usize {
                let pixel = corner_pixel::<P>(&places, row, geometry.width, corner);
                inside.push(is_inside::<P>(&places, row, comptime!(corner as u32)));
                weights.push(corner_weight::<P>(&places, row, comptime!(corner as u32)));
                starts.push(image + pixel * chunk.pixel_stride);
                gradient_starts.push((gradient_image + pixel) * vectors);
            }
            let y = Vector::<P, N>::new(places.y[row]);
            let x_distance = Vector::<P, N>::new(places.x[row]);
            let modulation = Vector::<P, N>::new(places.mask[row]);
            let one = Vector::<P, N>::new(P::new(1.0));
            let mut sum_y = Vector::<P, N>::new(P::new(0.0));
            let mut sum_x = Vector::<P, N>::new(P::new(0.0));
            let mut sum_mask = Vector::<P, N>::new(P::new(0.0));

            for lane in range_stepped(UNIT_POS_X as usize, chunk.vectors, CUBE_DIM_X as usize) {
                let vector = tile.group * chunk.vectors + lane;
                let (group, within) = weight_group.div_mod(vector);
                let at = (group * chunk.count + position) * geometry.taps + tile.tap;
                let at = at * weight_vectors + within;
                let gradient = Vector::<P, N>::cast_from(columns[at]);

                if comptime!(samples || along || product) {
                    let step = vector * chunk.vector_stride;
                    let upper_left = corner_value::<F, P, N>(x, starts[0] + step, inside[0]);
                    let upper_right = corner_value::<F, P, N>(x, starts[1] + step, inside[1]);
                    let lower_left = corner_value::<F, P, N>(x, starts[2] + step, inside[2]);
                    let lower_right = corner_value::<F, P, N>(x, starts[3] + step, inside[3]);
                    let upper = upper_left * (one - x_distance) + upper_right * x_distance;
                    let lower = lower_left * (one - x_distance) + lower_right * x_distance;
                    if comptime!(along) {
                        let right = upper_right * (one - y) + lower_right * y;
                        let left = upper_left * (one - y) + lower_left * y;
                        sum_y += gradient * (lower - upper);
                        sum_x += gradient * (right - left);
                    }
                    let value = upper * (one - y) + lower * y;
                    if comptime!(product) {
                        sum_mask += gradient * value;
                    }
                    if comptime!(samples) {
                        columns[at] = Vector::cast_from(value * modulation);
                    }
                }

                #[comptime]
                match &grad_x {
                    ComptimeOption::Some(grad_x) =>
                    {
                        #[unroll]
                        for corner in 0..4usize {
                            if weights[corner] != P::new(0.0) {
                                let share = gradient * Vector::new(weights[corner]);
                                Add::add::<A, N>(
                                    &grad_x[gradient_starts[corner] + vector],
                                    Vector::cast_from(share),
                                );
                            }
                        }
                    }
                    ComptimeOption::None => {}
                }
            }

            let at = row * pitch + UNIT_POS_X as usize;
            if comptime!(along) {
                sums[at] = total::<P, N>(sum_y * modulation);
                sums[rows * pitch + at] = total::<P, N>(sum_x * modulation);
            }
            if comptime!(product) {
                let first = comptime!((quantities - 1) * rows * pitch);
                sums[first + at] = total::<P, N>(sum_mask);
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

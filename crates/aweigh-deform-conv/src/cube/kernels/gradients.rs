//! Gradients of the input, the offset and the mask.

use cubecl::prelude::*;
use cubecl::std::FastDivmod;

use super::arguments::{Chunk, Geometry};
use super::atomic::{AtomicAdd, Sums};
use super::location::{Corners, Locations, Tile, corners, locate, starts, tile};
use super::sums::{LaneSums, SumLayout, leave_sums, no_sums, write_gradients};

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

/// A row of a tile at work.
#[derive(CubeType)]
struct Row<P: Float> {
    corners: Corners<P>,
    /// Distance of the location from its upper left pixel.
    y: P,
    x: P,
    mask: P,
    /// Index of each corner's first vector in the input and in the input gradient.
    reads: Sequence<usize>,
    writes: Sequence<usize>,
}

#[cube]
fn row_at<P: Float>(
    locations: &Locations<P>,
    row: usize,
    geometry: &Geometry,
    chunk: &Chunk,
) -> Row<P> {
    let corners = corners::<P>(locations, row, geometry);
    let image = (corners.image - chunk.first_image) * chunk.image_stride;
    let reads = starts::<P>(&corners, image, chunk.pixel_stride);
    // The gradient has no gaps: every pixel has the vectors of all offset groups.
    let vectors = geometry.offset_groups * chunk.vectors;
    let image = corners.image - chunk.first_gradient_image;
    let image = image * geometry.height * geometry.width * vectors;
    let writes = starts::<P>(&corners, image, vectors);
    Row::<P> {
        corners,
        y: locations.y[row],
        x: locations.x[row],
        mask: locations.mask[row],
        reads,
        writes,
    }
}

/// Reads the corners of a row at one vector, adds to the sums, and gives the sampled value without
/// its modulation.
#[cube]
fn differentiate<F: Float, P: Float, N: Size>(
    map: &Tensor<Vector<F, N>>,
    row: &Row<P>,
    step: usize,
    gradient: Vector<P, N>,
    sums: &mut LaneSums<P, N>,
) -> Vector<P, N> {
    let inside = &row.corners.inside;
    let upper_left = corner_value::<F, P, N>(map, row.reads[0] + step, inside[0]);
    let upper_right = corner_value::<F, P, N>(map, row.reads[1] + step, inside[1]);
    let lower_left = corner_value::<F, P, N>(map, row.reads[2] + step, inside[2]);
    let lower_right = corner_value::<F, P, N>(map, row.reads[3] + step, inside[3]);
    let one = P::new(1.0);
    let (above, before) = (Vector::new(one - row.y), Vector::new(one - row.x));
    let (below, after) = (Vector::new(row.y), Vector::new(row.x));
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

/// Adds a vector's gradient to the corners that it was sampled from, if there is memory for it.
///
/// Atomically, because offsets may move any two positions and taps to the same pixel. Where a corner
/// has weight 0 there is nothing to add, and outside the map no memory to add it to.
#[cube]
fn scatter<P: Float, A: Float, N: Size, Add: AtomicAdd>(
    grad: &ComptimeOption<&mut Sums<Add, A, N>>,
    row: &Row<P>,
    vector: usize,
    gradient: Vector<P, N>,
) {
    #[comptime]
    match grad {
        ComptimeOption::Some(grad) =>
        {
            #[unroll]
            for corner in 0..4usize {
                let weight = row.corners.weights[corner];
                if weight != P::new(0.0) {
                    let share = Vector::cast_from(gradient * Vector::new(weight));
                    Add::add::<A, N>(&grad[row.writes[corner] + vector], share);
                }
            }
        }
        ComptimeOption::None => {}
    }
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
    let has_offset = grad_offset.is_some();
    let has_mask = grad_mask.is_some();
    let layout = comptime!(SumLayout {
        has_offset,
        has_mask,
        rows,
        lanes
    });
    let mut sums = Shared::<[P]>::new_slice(comptime!(layout.len()));
    let locations = locate::<F, P>(offset, mask, geometry, chunk, &tile, rows);
    differentiate_rows::<F, P, A, N, Add>(
        x,
        columns,
        grad_x,
        &locations,
        &mut sums,
        weight_group,
        weight_vectors,
        geometry,
        chunk,
        &tile,
        after,
        layout,
    );
    sync_cube();
    write_gradients::<F, P>(
        grad_offset,
        grad_mask,
        &sums,
        geometry,
        chunk,
        &tile,
        layout,
    );
}

/// A unit's lane of its rows of a tile: all of [`backward`] but what needs other lanes' sums.
#[cube]
fn differentiate_rows<F: Float, P: Float, A: Float, N: Size, Add: AtomicAdd>(
    x: &Tensor<Vector<F, N>>,
    columns: &mut Tensor<Vector<F, N>>,
    grad_x: ComptimeOption<&mut Sums<Add, A, N>>,
    locations: &Locations<P>,
    sums: &mut Shared<[P]>,
    weight_group: FastDivmod<usize>,
    weight_vectors: usize,
    geometry: &Geometry,
    chunk: &Chunk,
    tile: &Tile,
    #[comptime] after: ColumnsAfter,
    #[comptime] layout: SumLayout,
) {
    let samples = comptime!(after == ColumnsAfter::Samples);
    let rows = comptime!(layout.rows);
    for row_index in range_stepped(UNIT_POS_Y as usize, rows, CUBE_DIM_Y as usize) {
        let position = tile.start + row_index;
        if position < chunk.count {
            let row = row_at::<P>(locations, row_index, geometry, chunk);
            let mut lane_sums = no_sums::<P, N>();
            for lane in range_stepped(UNIT_POS_X as usize, chunk.vectors, CUBE_DIM_X as usize) {
                let vector = tile.group * chunk.vectors + lane;
                let (group, within) = weight_group.div_mod(vector);
                let at = (group * chunk.count + position) * geometry.taps + tile.tap;
                let at = at * weight_vectors + within;
                let gradient = Vector::<P, N>::cast_from(columns[at]);
                if comptime!(samples || layout.quantities() > 0) {
                    let step = vector * chunk.vector_stride;
                    let value = differentiate::<F, P, N>(x, &row, step, gradient, &mut lane_sums);
                    if comptime!(samples) {
                        // This unit alone reads and writes the element.
                        columns[at] = Vector::cast_from(value * Vector::new(row.mask));
                    }
                }
                scatter::<P, A, N, Add>(&grad_x, &row, vector, gradient);
            }
            leave_sums::<P, N>(sums, &lane_sums, row.mask, row_index, layout);
        }
    }
}

//! Gradients of the input, the offset and the mask.

use cubecl::prelude::*;
use cubecl::std::FastDivmod;

use super::arguments::{Chunk, Geometry};
use super::location::{Corners, Locations, Tile, corners, index, locate, starts, tile};

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
            // What is there now: not what was expected if another unit was faster, and then the
            // sum is of that. A weak exchange may fail for no reason, which the loop repeats.
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

/// What a lane adds up over its channels of a row: with respect to the vertical and the horizontal
/// position and to the mask.
#[derive(CubeType)]
struct LaneSums<P: Float, N: Size> {
    y: Vector<P, N>,
    x: Vector<P, N>,
    mask: Vector<P, N>,
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

/// How the lanes' sums lie in shared memory: `[quantity][row][lane]`. The quantities are the two
/// positions, if the offset has a gradient, and the mask, if that has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct SumLayout {
    has_offset: bool,
    has_mask: bool,
    rows: usize,
    lanes: usize,
}

impl SumLayout {
    fn quantities(self) -> usize {
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
    fn len(self) -> usize {
        self.start(self.quantities().max(1))
    }
}

/// Leaves a lane's share of a row in shared memory; lanes that had no channels leave zeros, since all
/// lanes are added up.
#[cube]
fn leave_sums<P: Float, N: Size>(
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
    for row_index in range_stepped(UNIT_POS_Y as usize, rows, CUBE_DIM_Y as usize) {
        let position = tile.start + row_index;
        if position < chunk.count {
            let row = row_at::<P>(&locations, row_index, geometry, chunk);
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
                if comptime!(samples || has_offset || has_mask) {
                    let step = vector * chunk.vector_stride;
                    let value = differentiate::<F, P, N>(x, &row, step, gradient, &mut lane_sums);
                    if comptime!(samples) {
                        // This unit alone reads and writes the element.
                        columns[at] = Vector::cast_from(value * Vector::new(row.mask));
                    }
                }
                scatter::<P, A, N, Add>(&grad_x, &row, vector, gradient);
            }
            leave_sums::<P, N>(&mut sums, &lane_sums, row.mask, row_index, layout);
        }
    }
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

/// Writes the gradients of offset and mask of a tile. Each belongs to one position, tap and offset
/// group, and so to one cube: nothing is added to what others write.
#[cube]
fn write_gradients<F: Float, P: Float>(
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

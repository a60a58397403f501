//! Changes of layout and type, and sums.

use cubecl::prelude::*;

/// Positions of a map `[B, C, H, W]` of any strides as rows of channels, `[group][position]
/// [channel of the group]`. Read along positions and written along channels, through a square in
/// shared memory.
#[cube(launch_unchecked, address_type = "dynamic", create_dummy_kernel)]
pub(crate) fn to_rows<F: Float>(
    map: &Tensor<F>,
    rows: &mut Tensor<F>,
    first: usize,
    count: usize,
    group_channels: usize,
    #[comptime] side: usize,
    #[define(F)] _type: ElemType,
) {
    // Written along its rows, read along its columns: the odd length spreads a column over the banks
    // of shared memory.
    let mut square = Shared::<[F]>::new_slice(comptime!(side * (side + 1)));
    let channels = map.shape(1);
    let width = map.shape(3);
    let pixels = map.shape(2) * width;
    let across = channels.div_ceil(side);
    // A cube takes one square; the squares of the same positions follow each other.
    let start = CUBE_POS / across * side;
    let start_channel = CUBE_POS % across * side;
    if start >= count {
        terminate!();
    }
    for i in range_stepped(UNIT_POS as usize, comptime!(side * side), CUBE_DIM as usize) {
        let channel = start_channel + i / side;
        let row = start + i % side;
        if row < count && channel < channels {
            let position = first + row;
            let pixel = position % pixels;
            let at = position / pixels * map.stride(0)
                + channel * map.stride(1)
                + pixel / width * map.stride(2)
                + pixel % width * map.stride(3);
            square[i / side * comptime!(side + 1) + i % side] = map[at];
        }
    }
    sync_cube();
    for i in range_stepped(UNIT_POS as usize, comptime!(side * side), CUBE_DIM as usize) {
        let row = start + i / side;
        let channel = start_channel + i % side;
        if row < count && channel < channels {
            let group = channel / group_channels;
            let at = (group * count + row) * group_channels + channel % group_channels;
            rows[at] = square[i % side * comptime!(side + 1) + i / side];
        }
    }
}

/// Writes numbers in the tensors' type, `out[first + i] = values[i]`.
#[cube(launch_unchecked, address_type = "dynamic", create_dummy_kernel)]
pub(crate) fn convert<A: Float, F: Float, N: Size>(
    values: &Tensor<Vector<A, N>>,
    out: &mut Tensor<Vector<F, N>>,
    first: usize,
    count: usize,
    #[define(A, F)] _types: [ElemType; 2],
) {
    if ABSOLUTE_POS < count {
        out[first + ABSOLUTE_POS] = Vector::cast_from(values[ABSOLUTE_POS]);
    }
}

/// Adds up partial products, `sum[i] += parts[0][i] + parts[1][i] + ..`, always in this order.
#[cube(launch_unchecked, address_type = "dynamic", create_dummy_kernel)]
pub(crate) fn add_parts<A: Float, N: Size>(
    parts: &Tensor<Vector<A, N>>,
    sum: &mut Tensor<Vector<A, N>>,
    count: usize,
    number: usize,
    #[define(A)] _type: ElemType,
) {
    if ABSOLUTE_POS < count {
        let mut value = sum[ABSOLUTE_POS];
        for part in 0..number {
            value += parts[part * count + ABSOLUTE_POS];
        }
        sum[ABSOLUTE_POS] = value;
    }
}

/// Rows of channels in groups, `[group][row][channel of the group]`, as rows of all channels from
/// `out[first]` on.
#[cube(launch_unchecked, address_type = "dynamic", create_dummy_kernel)]
pub(crate) fn join_groups<F: Float, N: Size>(
    grouped: &Tensor<Vector<F, N>>,
    out: &mut Tensor<Vector<F, N>>,
    first: usize,
    count: usize,
    groups: usize,
    vectors: usize,
    #[define(F)] _type: ElemType,
) {
    let row = ABSOLUTE_POS / (groups * vectors);
    if row < count {
        let group = ABSOLUTE_POS / vectors % groups;
        let read = (group * count + row) * vectors + ABSOLUTE_POS % vectors;
        out[first * groups * vectors + ABSOLUTE_POS] = grouped[read];
    }
}

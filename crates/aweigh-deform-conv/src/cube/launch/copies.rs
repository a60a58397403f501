//! Launches of the kernels that copy, convert and add up.

use std::ops::Range;

use burn::tensor::DType;
use burn_cubecl::tensor::CubeTensor;
use cubecl::{calculate_cube_count_elemwise, prelude::CubeDim};

use super::arguments::{address_type, cube_count, element};
use crate::cube::call::Call;
use crate::cube::kernels;
use crate::cube::layout::gcd;

/// Side of the square that rows are made through.
const SIDE: usize = 32;

/// Some positions of a map as rows of `group_channels` channels, one group after another.
pub(in crate::cube) fn to_rows(
    map: &CubeTensor,
    rows: &CubeTensor,
    positions: Range<usize>,
    group_channels: usize,
) {
    let dim = CubeDim::new(&map.client, SIDE * SIDE);
    let across = map.meta.shape()[1].div_ceil(SIDE);
    let cubes = positions.len().div_ceil(SIDE) * across;
    // SAFETY: `positions` are positions of the map, and `rows` holds all their channels.
    unsafe {
        kernels::to_rows::launch_unchecked(
            &map.client,
            cube_count(&map.client, cubes, dim),
            dim,
            address_type([map, rows]),
            map.clone().into_tensor_arg(),
            rows.clone().into_tensor_arg(),
            positions.start,
            positions.len(),
            group_channels,
            SIDE,
            element(map.dtype),
        );
    }
}

/// `out = lhs * rhs`, each `[batch, rows, columns]`.
pub(in crate::cube) fn small_product(
    call: &Call,
    lhs: &CubeTensor,
    rhs: &CubeTensor,
    out: &CubeTensor,
) {
    let len = out.meta.num_elements();
    let dim = CubeDim::new(&call.client, len);
    // SAFETY: indices follow from the shapes, which fit each other, and the strides.
    unsafe {
        kernels::small_product::launch_unchecked(
            &call.client,
            calculate_cube_count_elemwise(&call.client, len, dim),
            dim,
            address_type([lhs, rhs, out]),
            lhs.clone().into_tensor_arg(),
            rhs.clone().into_tensor_arg(),
            out.clone().into_tensor_arg(),
            [lhs.dtype, out.dtype, call.wide()].map(element),
        );
    }
}

/// Rows of `[group][position][channel of the group]` to `out[first..]`, `[position][channel]`.
pub(in crate::cube) fn join_groups(
    call: &Call,
    groups: &CubeTensor,
    out: &CubeTensor,
    rows: &Range<usize>,
) {
    let channels = call.group_outputs();
    let size = widest(call, channels, groups.dtype);
    let len = rows.len() * call.sizes.channels_out / size;
    let dim = CubeDim::new(&call.client, len);
    // SAFETY: both hold `rows.len()` rows of every group from where they are read and written.
    unsafe {
        kernels::join_groups::launch_unchecked(
            &call.client,
            calculate_cube_count_elemwise(&call.client, len, dim),
            dim,
            address_type([groups, out]),
            size,
            groups.clone().into_tensor_arg(),
            out.clone().into_tensor_arg(),
            rows.start,
            rows.len(),
            call.options.weight_groups,
            channels / size,
            element(groups.dtype),
        );
    }
}

/// Writes `values` in the type of `out` to `out[first..]`.
pub(in crate::cube) fn convert(call: &Call, values: &CubeTensor, out: &CubeTensor, first: usize) {
    let len = values.meta.num_elements();
    let size = widest(call, gcd(len, first), values.dtype);
    let len = len / size;
    let dim = CubeDim::new(&call.client, len);
    // SAFETY: `out` has room for `values` from `first` on, and the vector size divides both.
    unsafe {
        kernels::convert::launch_unchecked(
            &call.client,
            calculate_cube_count_elemwise(&call.client, len, dim),
            dim,
            address_type([values, out]),
            size,
            values.clone().into_tensor_arg(),
            out.clone().into_tensor_arg(),
            first / size,
            len,
            [element(values.dtype), element(out.dtype)],
        );
    }
}

/// Adds the products in `parts`, one after another, to `sum`.
pub(in crate::cube) fn add_parts(call: &Call, parts: &CubeTensor, sum: &CubeTensor, number: usize) {
    let len = sum.meta.num_elements();
    let size = widest(call, len, sum.dtype);
    let len = len / size;
    let dim = CubeDim::new(&call.client, len);
    // SAFETY: `parts` holds `number` times as many numbers as `sum`.
    unsafe {
        kernels::add_parts::launch_unchecked(
            &call.client,
            calculate_cube_count_elemwise(&call.client, len, dim),
            dim,
            address_type([parts, sum]),
            size,
            parts.clone().into_tensor_arg(),
            sum.clone().into_tensor_arg(),
            len,
            number,
            element(sum.dtype),
        );
    }
}

/// Widest vectors that a length divides into.
fn widest(call: &Call, len: usize, dtype: DType) -> usize {
    let mut sizes = call.client.io_optimized_vector_sizes(dtype.size());
    sizes.find(|size| len.is_multiple_of(*size)).unwrap_or(1)
}

//! The matrix products between columns and the weight, by Burn's autotuned product.

use std::ops::Range;

use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::kernel::matmul::{MatmulStrategy, matmul};
use burn_cubecl::ops::permute;
use burn_cubecl::tensor::CubeTensor;

use super::launch;
use super::layout::{Call, view};
use super::plan::{most_parts, parts};

/// Multiplications up to which a product is small. Choosing a kernel for one would take as long as
/// many thousands of them, and every other shape is chosen for anew.
const SMALL: usize = 1 << 20;

/// Terms of a sum up to which one unit adds them up.
const SHORT: usize = 1 << 12;

/// `out = lhs * rhs`, each `[batch, rows, columns]`.
fn multiply(call: &Call, lhs: CubeTensor, rhs: CubeTensor, out: CubeTensor) {
    let terms = lhs.meta.shape()[2];
    if terms <= SHORT && out.meta.num_elements() * terms <= SMALL {
        return launch::small_product(call, &lhs, &rhs, &out);
    }
    let dtype = out.dtype;
    if let Err(error) = matmul(lhs, rhs, Some(out), MatmulStrategy::default(), dtype) {
        panic!("deformable convolution: matrix product: {error:?}");
    }
}

/// The weight with its channels last, `[C_out, kh, kw, C / weight groups]`.
pub(super) fn channels_last(weight: CubeTensor) -> CubeTensor {
    into_contiguous(permute(weight, &[0, 2, 3, 1]))
}

/// Sizes of the products of a chunk: weight groups, output channels of a group, columns of a
/// group, positions.
fn sizes(call: &Call, chunk: &Range<usize>) -> [usize; 4] {
    let columns = call.sizes.taps() * call.group_channels();
    [
        call.options.weight_groups,
        call.group_outputs(),
        columns,
        chunk.len(),
    ]
}

/// Rows of the output gradient for a chunk, one weight group after another.
pub(super) struct GradientRows {
    pub(super) tensor: CubeTensor,
    /// First element, and distance between rows.
    pub(super) first: usize,
    pub(super) row: usize,
}

/// Writes the outputs of a chunk to `out`, `[B * H' * W', C_out]`, by way of a copy if they cannot
/// be written there.
pub(super) fn outputs(
    call: &Call,
    columns: &CubeTensor,
    weight: &CubeTensor,
    copy: Option<&CubeTensor>,
    out: &CubeTensor,
    chunk: &Range<usize>,
) {
    let [g, o, c, p] = sizes(call, chunk);
    let columns = view(columns, 0, [g, p, c], [p * c, c, 1]);
    let weight = view(weight, 0, [g, c, o], [o * c, 1, c]);
    match copy {
        None => {
            let rows = view(out, chunk.start * o, [1, p, o], [p * o, o, 1]);
            multiply(call, columns, weight, rows);
        }
        Some(copy) => {
            let rows = view(copy, 0, [g, p, o], [p * o, o, 1]);
            multiply(call, columns, weight, rows);
            launch::join_groups(call, copy, out, chunk);
        }
    }
}

/// Fills `columns` with the gradients of a chunk's columns.
pub(super) fn column_gradients(
    call: &Call,
    gradient: &GradientRows,
    weight: &CubeTensor,
    columns: &CubeTensor,
    chunk: &Range<usize>,
) {
    let [g, o, c, p] = sizes(call, chunk);
    let row = gradient.row;
    let rows = view(
        &gradient.tensor,
        gradient.first,
        [g, p, o],
        [p * row, row, 1],
    );
    let weight = view(weight, 0, [g, o, c], [o * c, c, 1]);
    multiply(
        call,
        rows,
        weight,
        view(columns, 0, [g, p, c], [p * c, c, 1]),
    );
}

/// Writes the weight gradient of a chunk, `[C_out, kh, kw, C / weight groups]`, in parts that
/// remain to be added up; returns how many.
pub(super) fn weight_gradient(
    call: &Call,
    gradient: &GradientRows,
    columns: &CubeTensor,
    out: &CubeTensor,
    chunk: &Range<usize>,
) -> usize {
    let [g, o, c, p] = sizes(call, chunk);
    let number = parts(most_parts(call), p);
    // Parts are a batch of products over fewer positions each.
    let [batch, p] = [g * number, p / number];
    let row = gradient.row;
    let rows = view(
        &gradient.tensor,
        gradient.first,
        [batch, o, p],
        [p * row, 1, row],
    );
    let columns = view(columns, 0, [batch, p, c], [p * c, c, 1]);
    multiply(
        call,
        rows,
        columns,
        view(out, 0, [batch, o, c], [o * c, c, 1]),
    );
    number
}

//! The matrix products between columns and the weight, by Burn's autotuned product.

use std::ops::Range;

use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::kernel::matmul::{MatmulStrategy, matmul};
use burn_cubecl::ops::permute;
use burn_cubecl::tensor::CubeTensor;

use super::call::Call;
use super::launch;
use super::layout::view;
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

/// Rows of the output gradient for a chunk, one weight group after another.
pub(super) struct GradientRows {
    pub(super) tensor: CubeTensor,
    /// First element, and distance between rows.
    pub(super) first: usize,
    pub(super) row: usize,
}

/// Memory of the output, `[B * H' * W', C_out]`.
#[derive(Clone, Copy)]
pub(super) struct OutputRows<'a> {
    pub(super) rows: &'a CubeTensor,
    /// Memory that a chunk passes through if a product cannot write it to its place.
    pub(super) copy: Option<&'a CubeTensor>,
}

/// The products of a chunk.
pub(super) struct Products<'a> {
    pub(super) call: &'a Call,
    pub(super) columns: &'a CubeTensor,
    /// Positions of the chunk.
    pub(super) chunk: &'a Range<usize>,
}

impl Products<'_> {
    /// Weight groups, output channels of a group, columns of a group, positions.
    fn sizes(&self) -> [usize; 4] {
        let call = self.call;
        [
            call.options.weight_groups,
            call.group_outputs(),
            call.sizes.taps() * call.group_channels(),
            self.chunk.len(),
        ]
    }

    /// Writes the outputs of the chunk.
    pub(super) fn outputs(&self, weight: &CubeTensor, out: OutputRows) {
        let [g, o, c, p] = self.sizes();
        let columns = view(self.columns, 0, [g, p, c], [p * c, c, 1]);
        let weight = view(weight, 0, [g, c, o], [o * c, 1, c]);
        match out.copy {
            None => {
                let rows = view(out.rows, self.chunk.start * o, [1, p, o], [p * o, o, 1]);
                multiply(self.call, columns, weight, rows);
            }
            Some(copy) => {
                let rows = view(copy, 0, [g, p, o], [p * o, o, 1]);
                multiply(self.call, columns, weight, rows);
                launch::join_groups(self.call, copy, out.rows, self.chunk);
            }
        }
    }

    /// Fills the columns with their gradients.
    pub(super) fn column_gradients(&self, gradient: &GradientRows, weight: &CubeTensor) {
        let [g, o, c, p] = self.sizes();
        let row = gradient.row;
        // With several groups the rows are a copy, one group after another, of `o` numbers each.
        let (shape, strides) = ([g, p, o], [p * row, row, 1]);
        let rows = view(&gradient.tensor, gradient.first, shape, strides);
        let weight = view(weight, 0, [g, o, c], [o * c, c, 1]);
        let columns = view(self.columns, 0, [g, p, c], [p * c, c, 1]);
        multiply(self.call, rows, weight, columns);
    }

    /// Writes the weight gradient of the chunk, `[C_out, kh, kw, C / weight groups]`, in parts that
    /// remain to be added up; returns how many.
    pub(super) fn weight_gradient(&self, gradient: &GradientRows, out: &CubeTensor) -> usize {
        let [g, o, c, p] = self.sizes();
        let number = parts(most_parts(self.call), p);
        // Parts are a batch of products over fewer positions each.
        let [batch, p] = [g * number, p / number];
        let row = gradient.row;
        let (shape, strides) = ([batch, o, p], [p * row, 1, row]);
        let rows = view(&gradient.tensor, gradient.first, shape, strides);
        let columns = view(self.columns, 0, [batch, p, c], [p * c, c, 1]);
        let out = view(out, 0, [batch, o, c], [o * c, c, 1]);
        multiply(self.call, rows, columns, out);
        number
    }
}

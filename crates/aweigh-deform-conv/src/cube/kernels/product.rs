//! Matrix products that are too small to choose a kernel for by measuring.

use cubecl::prelude::*;

/// `out[b, i, j] = sum over k of lhs[b, i, k] * rhs[b, k, j]`, one unit per element.
#[cube(launch_unchecked, address_type = "dynamic", create_dummy_kernel)]
pub(crate) fn small_product<F: Float, O: Float, P: Float>(
    lhs: &Tensor<F>,
    rhs: &Tensor<F>,
    out: &mut Tensor<O>,
    #[define(F, O, P)] _types: [ElemType; 3],
) {
    let columns = out.shape(2);
    let rows = out.shape(1);
    let column = ABSOLUTE_POS % columns;
    let row = ABSOLUTE_POS / columns % rows;
    let batch = ABSOLUTE_POS / (columns * rows);
    if batch < out.shape(0) {
        let mut left = batch * lhs.stride(0) + row * lhs.stride(1);
        let mut right = batch * rhs.stride(0) + column * rhs.stride(2);
        let mut sum = P::new(0.0);
        for _ in 0..lhs.shape(2) {
            sum += P::cast_from(lhs[left]) * P::cast_from(rhs[right]);
            left += lhs.stride(2);
            right += rhs.stride(1);
        }
        let at = batch * out.stride(0) + row * out.stride(1) + column * out.stride(2);
        out[at] = O::cast_from(sum);
    }
}

//! Losses whose derivative is known in closed form.

use burn::tensor::{Tensor, activation};

/// `value`, with `slope` as its derivative with respect to `input`.
///
/// The graph gets three elementwise nodes and saves one tensor, instead of one per intermediate of
/// the formula; `value` and `slope` are computed outside of it. A value of `input` that is not
/// finite makes the result not a number.
pub(crate) fn with_slope<const D: usize>(
    input: Tensor<D>,
    value: Tensor<D>,
    slope: impl FnOnce() -> Tensor<D>,
) -> Tensor<D> {
    if !input.is_tracked() {
        return value;
    }
    let zero = input.clone() - input.without_autodiff();
    zero * slope() + value
}

/// `sigmoid(x)` and `ln(1 + e^x)` from one exponential, accurate for every x.
pub(crate) fn sigmoid_and_softplus<const D: usize>(x: Tensor<D>) -> [Tensor<D>; 2] {
    let small = x.clone().abs().neg().exp(); // e^-|x|, at most 1
    let numerator = small
        .clone()
        .mask_fill(x.clone().greater_equal_scalar(0.0), 1.0);
    let sigmoid = numerator / (small.clone() + 1.0);
    let softplus = small.log1p() + activation::relu(x);
    [sigmoid, softplus]
}

//! Runs a loss and its gradient in a chosen precision.

use aweigh_testkit::device;
use burn::tensor::{DType, Tensor, TensorData};

/// A constant of `dtype`.
pub(crate) fn tensor<const D: usize>(values: &[f64], shape: [usize; D], dtype: DType) -> Tensor<D> {
    let data = TensorData::new(values.to_vec(), shape);
    Tensor::from_data(data, (&device(), dtype))
}

/// The elements of a tensor, as f64.
pub(crate) fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.into_data().iter::<f64>().collect()
}

/// What `loss` gives for `input`, and the gradient of the sum of that.
pub(crate) fn differentiate<const D: usize, const E: usize>(
    input: Tensor<D>,
    loss: impl Fn(Tensor<D>) -> Tensor<E>,
) -> (Vec<f64>, Vec<f64>) {
    let input = input.autodiff().require_grad();
    let output = loss(input.clone());
    assert_eq!(
        output.dtype(),
        input.dtype(),
        "the loss keeps the precision"
    );
    let gradients = output.clone().sum().backward();
    let slope = input.grad(&gradients).expect("a gradient");
    (values(output), values(slope))
}

//! What is computed and kept for the backward pass, and where Burn's operators stay.

use aweigh_conv::profile::{self, Pass};
use aweigh_conv::{Activation, Conv2dOptions, conv2d};
use aweigh_testkit::device;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{DType, Tensor};

use crate::support::tensor;

fn options(layer: u64) -> Conv2dOptions {
    Conv2dOptions {
        conv: ConvOptions::new([1; 2], [1; 2], [1; 2], 1),
        activation: Activation::Relu,
        layer: Some(layer),
    }
}

/// Passes that are recorded for a layer, when input or weight are tracked.
fn passes(layer: u64, x_tracked: bool, weight_tracked: bool) -> Vec<Pass> {
    let device = device().autodiff();
    let x = tensor([1, 8, 6, 6], 1, &device).set_require_grad(x_tracked);
    let weight = tensor([8, 8, 3, 3], 2, &device).set_require_grad(weight_tracked);
    let y = conv2d(x.clone(), weight.clone(), None, options(layer));
    let gradients = y.sum().backward();
    assert_eq!(x.grad(&gradients).is_some(), x_tracked);
    assert_eq!(weight.grad(&gradients).is_some(), weight_tracked);
    let calls = profile::take().into_keys();
    calls
        .filter(|call| call.layer == Some(layer))
        .map(|call| call.pass)
        .collect()
}

#[test]
fn only_needed_gradients_are_computed() {
    profile::start();
    use Pass::{Backward, Forward, InputGradient, WeightGradient};
    assert_eq!(passes(1, true, false), [Forward, Backward, InputGradient]);
    assert_eq!(passes(2, false, true), [Forward, Backward, WeightGradient]);
    profile::stop();
}

#[test]
fn double_precision_is_burns() {
    let double = |shape, seed| tensor(shape, seed, &device()).cast(DType::F64);
    let y: Tensor<4> = conv2d(
        double([1, 8, 6, 6], 1),
        double([8, 8, 3, 3], 2),
        None,
        options(3),
    );
    assert_eq!(y.dtype(), DType::F64);
}

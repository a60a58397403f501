//! The operators on Burn's CPU backend.

mod convolution;
mod layers;
mod norm;
mod tensors;

use burn::backend::{
    Flex,
    tensor::{FloatTensor, IntTensor},
};

use crate::MaxPool;
use crate::activation::Activation;
use crate::ops::{ConvCall, FocalCall, LayerGradients, LayerOps, NormCall, SavedNorm};
use crate::profile::Call;

impl LayerOps for Flex {
    fn conv(x: FloatTensor<Self>, weight: FloatTensor<Self>, call: ConvCall) -> FloatTensor<Self> {
        convolution::forward(x, weight, None, &call)
    }

    fn conv_bias(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        call: ConvCall,
    ) -> FloatTensor<Self> {
        convolution::forward(x, weight, Some(bias), &call)
    }

    fn norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        call: NormCall,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        norm::forward([x, weight, bias], &call)
    }

    fn add(
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        activation: Activation,
    ) -> FloatTensor<Self> {
        layers::add(a, b, activation)
    }

    fn max_pool(x: FloatTensor<Self>, pool: MaxPool) -> FloatTensor<Self> {
        layers::max_pool(x, &pool, None)
    }

    fn upsample_add(fine: FloatTensor<Self>, coarse: FloatTensor<Self>) -> FloatTensor<Self> {
        layers::upsample_add(fine, coarse)
    }

    fn focal_sum(
        logits: FloatTensor<Self>,
        labels: IntTensor<Self>,
        weights: FloatTensor<Self>,
        call: FocalCall,
    ) -> FloatTensor<Self> {
        let sum = layers::focal_sum(logits, labels, weights, call, None);
        tensors::tensor(vec![sum as f32], [1])
    }
}

impl LayerGradients for Flex {
    fn activation_gradient(
        grad: FloatTensor<Self>,
        y: FloatTensor<Self>,
        activation: Activation,
        call: Call,
    ) -> FloatTensor<Self> {
        layers::activation_gradient(grad, y, activation, call)
    }

    fn bias_gradients(
        grad: FloatTensor<Self>,
        y: Option<FloatTensor<Self>>,
        needs_sum: bool,
        call: &ConvCall,
    ) -> [FloatTensor<Self>; 2] {
        convolution::bias_gradients(grad, y, needs_sum, call)
    }

    fn conv_input_gradient(
        weight: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        call: &ConvCall,
    ) -> FloatTensor<Self> {
        convolution::input_gradient(weight, grad, call)
    }

    fn conv_weight_gradient(
        x: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        call: &ConvCall,
    ) -> FloatTensor<Self> {
        convolution::weight_gradient(x, grad, call)
    }

    fn norm_gradients(
        saved: SavedNorm<FloatTensor<Self>>,
        grad: FloatTensor<Self>,
        call: NormCall,
        needs_x: bool,
    ) -> [Option<FloatTensor<Self>>; 3] {
        norm::backward(saved, grad, &call, needs_x)
    }

    fn max_pool_taps(x: FloatTensor<Self>, pool: MaxPool) -> (FloatTensor<Self>, Vec<u8>) {
        let mut taps = Vec::new();
        let y = layers::max_pool(x, &pool, Some(&mut taps));
        (y, taps)
    }

    fn max_pool_gradient(
        taps: Vec<u8>,
        grad: FloatTensor<Self>,
        pool: MaxPool,
        size: [usize; 2],
    ) -> FloatTensor<Self> {
        layers::max_pool_gradient(&taps, grad, &pool, size)
    }

    fn upsample_gradient(grad: FloatTensor<Self>, size: [usize; 2]) -> FloatTensor<Self> {
        layers::upsample_gradient(grad, size)
    }

    fn focal_sum_slopes(
        logits: FloatTensor<Self>,
        labels: IntTensor<Self>,
        weights: FloatTensor<Self>,
        call: FocalCall,
    ) -> [FloatTensor<Self>; 2] {
        layers::focal_sum_slopes(logits, labels, weights, call)
    }
}

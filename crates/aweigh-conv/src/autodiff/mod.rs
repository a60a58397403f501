//! The hand-written backward passes. Each keeps what the needed gradients are made of, no more.

mod convolution;
mod layers;

use burn::backend::{
    Autodiff,
    autodiff::{NodeId, checkpoint::strategy::CheckpointStrategy, grads::Gradients, ops::Ops},
    tensor::{FloatTensor, IntTensor},
};

use crate::MaxPool;
use crate::activation::Activation;
use crate::ops::{ConvCall, FocalCall, LayerGradients, LayerOps, NormCall};

impl<B: LayerGradients, C: CheckpointStrategy> LayerOps for Autodiff<B, C> {
    fn conv(x: FloatTensor<Self>, weight: FloatTensor<Self>, call: ConvCall) -> FloatTensor<Self> {
        convolution::recorded::<B, C, 2>([x, weight], call, |[x, weight], call| {
            B::conv(x, weight, call)
        })
    }

    fn conv_bias(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        call: ConvCall,
    ) -> FloatTensor<Self> {
        convolution::recorded::<B, C, 3>([x, weight, bias], call, |[x, weight, bias], call| {
            B::conv_bias(x, weight, bias, call)
        })
    }

    fn norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        call: NormCall,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        layers::norm::<B, C>([x, weight, bias], call).into()
    }

    fn add(
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        activation: Activation,
    ) -> FloatTensor<Self> {
        layers::add::<B, C>([a, b], activation)
    }

    fn max_pool(x: FloatTensor<Self>, pool: MaxPool) -> FloatTensor<Self> {
        layers::max_pool::<B, C>(x, pool)
    }

    fn upsample_add(fine: FloatTensor<Self>, coarse: FloatTensor<Self>) -> FloatTensor<Self> {
        layers::upsample_add::<B, C>([fine, coarse])
    }

    fn focal_sum(
        logits: FloatTensor<Self>,
        labels: IntTensor<Self>,
        weights: FloatTensor<Self>,
        call: FocalCall,
    ) -> FloatTensor<Self> {
        assert!(
            !weights.is_tracked(),
            "weights of a focal loss are constants"
        );
        let weights = weights.into_primitive();
        layers::focal_sum::<B, C>(logits, labels, weights, call)
    }
}

/// The parents of an operator that are tracked.
fn tracked<S, const N: usize>(ops: &Ops<S, N>) -> [Option<NodeId>; N] {
    let id = |i: usize| ops.parents[i].as_ref().map(|node| node.id);
    std::array::from_fn(id)
}

/// Adds a gradient to that of a parent, if the parent is tracked and there is one.
fn register<B: LayerGradients>(
    grads: &mut Gradients,
    parent: Option<NodeId>,
    gradient: Option<FloatTensor<B>>,
) {
    if let (Some(parent), Some(gradient)) = (parent, gradient) {
        grads.register::<B>(parent, gradient);
    }
}

//! The backward passes of the layers around convolutions.

use burn::backend::{
    Autodiff, TensorMetadata,
    autodiff::{
        NodeId,
        checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
        grads::Gradients,
        ops::{Backward, Ops, OpsKind},
    },
    tensor::{FloatTensor, IntTensor},
};

use super::{register, tracked};
use crate::MaxPool;
use crate::activation::Activation;
use crate::ops::{FocalCall, LayerGradients, NormCall, SavedNorm};
use crate::profile::{Call, Kind, Pass};

/// Height and width of a map `[B, C, H, W]`.
fn size(map: &impl TensorMetadata) -> [usize; 2] {
    let shape = map.shape();
    [shape[2], shape[3]]
}

#[derive(Debug)]
struct NormBackward;

impl<B: LayerGradients> Backward<B, 3> for NormBackward {
    type State = (NodeId, SavedParameters<FloatTensor<B>>, NormCall);

    fn backward(
        self,
        ops: Ops<Self::State, 3>,
        grads: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let grad = grads.consume::<B>(&ops.node);
        let parents = tracked(&ops);
        let (x, parameters, call) = ops.state;
        let saved = SavedNorm {
            x: checkpointer.retrieve_node_output(x),
            weight: parameters.weight,
            bias: parameters.bias,
            statistics: parameters.statistics,
        };
        let found = B::norm_gradients(saved, grad, call, parents[0].is_some());
        for (parent, gradient) in parents.into_iter().zip(found) {
            register::<B>(grads, parent, gradient);
        }
    }
}

/// What a normalisation keeps besides its input.
#[derive(Debug, Clone)]
struct SavedParameters<F> {
    weight: F,
    bias: F,
    statistics: F,
}

pub(super) fn norm<B: LayerGradients, C: CheckpointStrategy>(
    parents: [FloatTensor<Autodiff<B, C>>; 3],
    call: NormCall,
) -> [FloatTensor<Autodiff<B, C>>; 2] {
    let nodes = parents.each_ref().map(|parent| parent.node());
    let prepared = Backward::<B, 3>::prepare::<C>(NormBackward, nodes);
    let (output, statistics) = match prepared.compute_bound().stateful() {
        OpsKind::Tracked(mut prepared) => {
            let input = prepared.checkpoint(&parents[0]);
            let [x, weight, bias] = parents.map(|parent| parent.into_primitive());
            let (y, statistics) = B::norm(x, weight.clone(), bias.clone(), call.clone());
            let parameters = SavedParameters {
                weight,
                bias,
                statistics: statistics.clone(),
            };
            (prepared.finish((input, parameters, call), y), statistics)
        }
        OpsKind::UnTracked(prepared) => {
            let [x, weight, bias] = parents.map(|parent| parent.into_primitive());
            let (y, statistics) = B::norm(x, weight, bias, call);
            (prepared.finish(y), statistics)
        }
    };
    [output, <FloatTensor<Autodiff<B, C>>>::new(statistics)]
}

#[derive(Debug)]
struct AddBackward;

impl<B: LayerGradients> Backward<B, 2> for AddBackward {
    /// The activation and the output, if there is an activation.
    type State = Option<(Activation, FloatTensor<B>)>;

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        let parents = tracked(&ops);
        let recorded = Call {
            kind: Kind::Activation,
            layer: None,
            pass: Pass::Backward,
        };
        let grad = match ops.state {
            Some((activation, output)) => {
                B::activation_gradient(grad, output, activation, recorded)
            }
            None => grad,
        };
        for parent in parents {
            register::<B>(grads, parent, Some(grad.clone()));
        }
    }
}

pub(super) fn add<B: LayerGradients, C: CheckpointStrategy>(
    parents: [FloatTensor<Autodiff<B, C>>; 2],
    activation: Activation,
) -> FloatTensor<Autodiff<B, C>> {
    let nodes = parents.each_ref().map(|parent| parent.node());
    let prepared = Backward::<B, 2>::prepare::<C>(AddBackward, nodes);
    let [a, b] = parents.map(|parent| parent.into_primitive());
    let output = B::add(a, b, activation);
    match prepared.compute_bound().stateful() {
        OpsKind::Tracked(prepared) => {
            let linear = activation == Activation::None;
            let kept = (!linear).then(|| (activation, output.clone()));
            prepared.finish(kept, output)
        }
        OpsKind::UnTracked(prepared) => prepared.finish(output),
    }
}

#[derive(Debug)]
struct MaxPoolBackward;

impl<B: LayerGradients> Backward<B, 1> for MaxPoolBackward {
    type State = (Vec<u8>, MaxPool, [usize; 2]);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        let [parent] = tracked(&ops);
        let (taps, pool, size) = ops.state;
        let gradient = B::max_pool_gradient(taps, grad, pool, size);
        register::<B>(grads, parent, Some(gradient));
    }
}

pub(super) fn max_pool<B: LayerGradients, C: CheckpointStrategy>(
    x: FloatTensor<Autodiff<B, C>>,
    pool: MaxPool,
) -> FloatTensor<Autodiff<B, C>> {
    let prepared = Backward::<B, 1>::prepare::<C>(MaxPoolBackward, [x.node()]);
    let x = x.into_primitive();
    match prepared.compute_bound().stateful() {
        OpsKind::Tracked(prepared) => {
            let size = size(&x);
            let (output, taps) = B::max_pool_taps(x, pool);
            prepared.finish((taps, pool, size), output)
        }
        OpsKind::UnTracked(prepared) => prepared.finish(B::max_pool(x, pool)),
    }
}

#[derive(Debug)]
struct UpsampleAddBackward;

impl<B: LayerGradients> Backward<B, 2> for UpsampleAddBackward {
    /// Height and width of the coarse map.
    type State = [usize; 2];

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        let [fine, coarse] = tracked(&ops);
        if coarse.is_some() {
            let gradient = B::upsample_gradient(grad.clone(), ops.state);
            register::<B>(grads, coarse, Some(gradient));
        }
        register::<B>(grads, fine, Some(grad));
    }
}

pub(super) fn upsample_add<B: LayerGradients, C: CheckpointStrategy>(
    parents: [FloatTensor<Autodiff<B, C>>; 2],
) -> FloatTensor<Autodiff<B, C>> {
    let nodes = parents.each_ref().map(|parent| parent.node());
    let prepared = Backward::<B, 2>::prepare::<C>(UpsampleAddBackward, nodes);
    let [fine, coarse] = parents.map(|parent| parent.into_primitive());
    let size = size(&coarse);
    let output = B::upsample_add(fine, coarse);
    match prepared.compute_bound().stateful() {
        OpsKind::Tracked(prepared) => prepared.finish(size, output),
        OpsKind::UnTracked(prepared) => prepared.finish(output),
    }
}

#[derive(Debug)]
struct FocalBackward;

impl<B: LayerGradients> Backward<B, 1> for FocalBackward {
    /// Derivative of the sum by each logit.
    type State = FloatTensor<B>;

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        let [parent] = tracked(&ops);
        let slopes = ops.state;
        let factor = B::float_reshape(grad, [1, 1, 1].into());
        register::<B>(grads, parent, Some(B::float_mul(slopes, factor)));
    }
}

pub(super) fn focal_sum<B: LayerGradients, C: CheckpointStrategy>(
    logits: FloatTensor<Autodiff<B, C>>,
    labels: IntTensor<B>,
    weights: FloatTensor<B>,
    call: FocalCall,
) -> FloatTensor<Autodiff<B, C>> {
    let prepared = Backward::<B, 1>::prepare::<C>(FocalBackward, [logits.node()]);
    let logits = logits.into_primitive();
    match prepared.compute_bound().stateful() {
        OpsKind::Tracked(prepared) => {
            let [sum, slopes] = B::focal_sum_slopes(logits, labels, weights, call);
            prepared.finish(slopes, sum)
        }
        OpsKind::UnTracked(prepared) => {
            prepared.finish(B::focal_sum(logits, labels, weights, call))
        }
    }
}

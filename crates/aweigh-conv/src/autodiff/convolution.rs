//! The backward pass of a convolution.

use burn::backend::{
    Autodiff,
    autodiff::{
        NodeId,
        checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
        grads::Gradients,
        ops::{Backward, Ops, OpsKind},
    },
    tensor::FloatTensor,
};

use super::{register, tracked};
use crate::activation::Activation;
use crate::ops::{ConvCall, LayerGradients};
use crate::profile::{Call, Kind, Pass};

/// Backward of a convolution with N parents: input, weight, and maybe bias.
#[derive(Debug)]
struct ConvBackward<const N: usize>;

/// What the backward pass needs of the forward pass.
#[derive(Debug, Clone)]
struct Saved<F> {
    /// The input, if the weight is tracked; the graph may compute it again.
    x: Option<NodeId>,
    /// The weight, if the input is tracked.
    weight: Option<NodeId>,
    /// The output, which the gradient of an activation needs.
    output: Option<F>,
    call: ConvCall,
}

impl<B: LayerGradients, const N: usize> Backward<B, N> for ConvBackward<N> {
    type State = Saved<FloatTensor<B>>;

    fn backward(
        self,
        ops: Ops<Self::State, N>,
        grads: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let grad = grads.consume::<B>(&ops.node);
        let mut parents = tracked(&ops).into_iter();
        let state = ops.state;
        let call = state.call;
        let mut next = || parents.next().flatten();
        let [of_x, of_weight, of_bias] = [next(), next(), next()];
        let mut saved = |id| checkpointer.retrieve_node_output::<FloatTensor<B>>(id);
        let x = state.x.map(&mut saved);
        let weight = state.weight.map(&mut saved);
        let mut grad = grad;
        if of_bias.is_some() {
            let needs_sum = of_x.is_some() || of_weight.is_some();
            let [sum, bias] = B::bias_gradients(grad, state.output, needs_sum, &call);
            grad = sum;
            register::<B>(grads, of_bias, Some(bias));
        } else if let Some(output) = state.output {
            let recorded = Call {
                kind: Kind::Convolution,
                layer: call.layer,
                pass: Pass::Backward,
            };
            grad = B::activation_gradient(grad, output, call.activation, recorded);
        }
        let of = |x| B::conv_weight_gradient(x, grad.clone(), &call);
        register::<B>(grads, of_weight, x.map(of));
        let of = |weight| B::conv_input_gradient(weight, grad, &call);
        register::<B>(grads, of_x, weight.map(of));
    }
}

/// `forward`, recorded if one of the parents is tracked.
pub(super) fn recorded<B: LayerGradients, C: CheckpointStrategy, const N: usize>(
    parents: [FloatTensor<Autodiff<B, C>>; N],
    call: ConvCall,
    forward: impl FnOnce([FloatTensor<B>; N], ConvCall) -> FloatTensor<B>,
) -> FloatTensor<Autodiff<B, C>> {
    let [x_tracked, weight_tracked] = [0, 1].map(|i: usize| parents[i].is_tracked());
    let prepared = Backward::<B, N>::prepare::<C>(
        ConvBackward::<N>,
        parents.each_ref().map(|parent| parent.node()),
    );
    match prepared.compute_bound().stateful() {
        OpsKind::Tracked(mut prepared) => {
            let x = weight_tracked.then(|| prepared.checkpoint(&parents[0]));
            let weight = x_tracked.then(|| prepared.checkpoint(&parents[1]));
            let output = forward(parents.map(|parent| parent.into_primitive()), call.clone());
            let saved = Saved {
                x,
                weight,
                output: (call.activation != Activation::None).then(|| output.clone()),
                call,
            };
            prepared.finish(saved, output)
        }
        OpsKind::UnTracked(prepared) => {
            let parents = parents.map(|parent| parent.into_primitive());
            prepared.finish(forward(parents, call))
        }
    }
}

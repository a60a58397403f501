//! The hand-written backward pass. Only the operator's inputs are kept for it.

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

use crate::call::CheckedCall;
use crate::ops::{DeformConvGradients, DeformConvOps, DeformConvTensors, NeedsGrad, Optional};

/// Backward of a call with N parents: input, offset, weight, and in v2 the mask.
#[derive(Debug)]
struct DeformConvBackward<const N: usize>;

/// What the backward pass needs of the forward pass.
#[derive(Debug, Clone)]
struct Saved<const N: usize> {
    /// The parents, which a checkpointing strategy may compute again.
    parents: [NodeId; N],
    call: CheckedCall,
}

impl<B: DeformConvOps, const N: usize> Backward<B, N> for DeformConvBackward<N> {
    type State = Saved<N>;

    fn backward(
        self,
        ops: Ops<Self::State, N>,
        grads: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let grad = grads.consume::<B>(&ops.node);
        let Saved { parents, call } = ops.state;
        let tracked = |i: usize| ops.parents.get(i).is_some_and(Option::is_some);
        let needs = NeedsGrad {
            x: tracked(0),
            offset: tracked(1),
            weight: tracked(2),
            mask: tracked(3),
        };
        let mut saved = parents
            .into_iter()
            .map(|parent| checkpointer.retrieve_node_output(parent));
        let mut next = || saved.next().expect("v1 has three parents, v2 four");
        let tensors = DeformConvTensors {
            x: next(),
            offset: next(),
            weight: next(),
            mask: Optional::from(saved.next()),
        };
        let found = B::deform_conv_backward(tensors, grad, call, needs);
        let gradients = [found.x, found.offset, found.weight, found.mask];
        for (parent, gradient) in ops.parents.into_iter().zip(gradients) {
            if let (Some(node), Some(gradient)) = (parent, gradient.into_option()) {
                grads.register::<B>(node.id, gradient);
            }
        }
    }
}

/// `forward`, recorded if one of the parents is tracked.
fn recorded<B: DeformConvOps, C: CheckpointStrategy, const N: usize>(
    parents: [FloatTensor<Autodiff<B, C>>; N],
    call: CheckedCall,
    forward: impl FnOnce([FloatTensor<B>; N]) -> FloatTensor<B>,
) -> FloatTensor<Autodiff<B, C>> {
    let prepared = Backward::<B, N>::prepare::<C>(
        DeformConvBackward::<N>,
        parents.each_ref().map(|parent| parent.node()),
    );
    match prepared.compute_bound().stateful() {
        OpsKind::Tracked(mut prepared) => {
            let saved = Saved {
                parents: parents.each_ref().map(|parent| prepared.checkpoint(parent)),
                call,
            };
            let output = forward(parents.map(|parent| parent.into_primitive()));
            prepared.finish(saved, output)
        }
        OpsKind::UnTracked(prepared) => {
            prepared.finish(forward(parents.map(|parent| parent.into_primitive())))
        }
    }
}

impl<B: DeformConvOps, C: CheckpointStrategy> DeformConvOps for Autodiff<B, C> {
    fn deform_conv_forward(
        tensors: DeformConvTensors<Self>,
        call: CheckedCall,
    ) -> FloatTensor<Self> {
        let DeformConvTensors {
            x,
            offset,
            weight,
            mask,
        } = tensors;
        match mask.into_option() {
            None => {
                recorded::<B, C, 3>([x, offset, weight], call.clone(), |[x, offset, weight]| {
                    let mask = Optional::Absent;
                    let tensors = DeformConvTensors {
                        x,
                        offset,
                        weight,
                        mask,
                    };
                    B::deform_conv_forward(tensors, call)
                })
            }
            Some(mask) => recorded::<B, C, 4>(
                [x, offset, weight, mask],
                call.clone(),
                |[x, offset, weight, mask]| {
                    let mask = Optional::Present(mask);
                    let tensors = DeformConvTensors {
                        x,
                        offset,
                        weight,
                        mask,
                    };
                    B::deform_conv_forward(tensors, call)
                },
            ),
        }
    }

    fn deform_conv_backward(
        _tensors: DeformConvTensors<Self>,
        _grad: FloatTensor<Self>,
        _call: CheckedCall,
        _needs: NeedsGrad,
    ) -> DeformConvGradients<Self> {
        panic!("second-order gradients of deformable convolution are not supported")
    }
}

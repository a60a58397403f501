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

use crate::ops::{DeformConvGradients, DeformConvOps, Optional, Wanted};
use crate::options::DeformConvOptions;

/// Backward of v1: parents are input, offset, weight.
#[derive(Debug)]
struct Plain;

/// Backward of v2: parents are input, offset, weight, mask.
#[derive(Debug)]
struct Modulated;

impl<B: DeformConvOps> Backward<B, 3> for Plain {
    type State = ([NodeId; 3], DeformConvOptions);

    fn backward(
        self,
        ops: Ops<Self::State, 3>,
        grads: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let grad = grads.consume::<B>(&ops.node);
        let ([x, offset, weight], options) = ops.state;
        let wanted = Wanted {
            x: ops.parents[0].is_some(),
            offset: ops.parents[1].is_some(),
            weight: ops.parents[2].is_some(),
            mask: false,
        };
        let found = B::deform_conv_backward(
            checkpointer.retrieve_node_output(x),
            checkpointer.retrieve_node_output(offset),
            checkpointer.retrieve_node_output(weight),
            Optional::Absent,
            grad,
            options,
            wanted,
        );
        let gradients = [found.x, found.offset, found.weight];
        for (parent, gradient) in ops.parents.into_iter().zip(gradients) {
            if let (Some(node), Optional::Present(gradient)) = (parent, gradient) {
                grads.register::<B>(node.id, gradient);
            }
        }
    }
}

impl<B: DeformConvOps> Backward<B, 4> for Modulated {
    type State = ([NodeId; 4], DeformConvOptions);

    fn backward(
        self,
        ops: Ops<Self::State, 4>,
        grads: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let grad = grads.consume::<B>(&ops.node);
        let ([x, offset, weight, mask], options) = ops.state;
        let wanted = Wanted {
            x: ops.parents[0].is_some(),
            offset: ops.parents[1].is_some(),
            weight: ops.parents[2].is_some(),
            mask: ops.parents[3].is_some(),
        };
        let found = B::deform_conv_backward(
            checkpointer.retrieve_node_output(x),
            checkpointer.retrieve_node_output(offset),
            checkpointer.retrieve_node_output(weight),
            Optional::Present(checkpointer.retrieve_node_output(mask)),
            grad,
            options,
            wanted,
        );
        let gradients = [found.x, found.offset, found.weight, found.mask];
        for (parent, gradient) in ops.parents.into_iter().zip(gradients) {
            if let (Some(node), Optional::Present(gradient)) = (parent, gradient) {
                grads.register::<B>(node.id, gradient);
            }
        }
    }
}

impl<B: DeformConvOps, C: CheckpointStrategy> DeformConvOps for Autodiff<B, C> {
    fn deform_conv_forward(
        x: FloatTensor<Self>,
        offset: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        mask: Optional<Self>,
        options: DeformConvOptions,
    ) -> FloatTensor<Self> {
        let Optional::Present(mask) = mask else {
            let prepared = Plain
                .prepare::<C>([x.node(), offset.node(), weight.node()])
                .compute_bound()
                .stateful();
            return match prepared {
                OpsKind::Tracked(mut prepared) => {
                    let nodes = [
                        prepared.checkpoint(&x),
                        prepared.checkpoint(&offset),
                        prepared.checkpoint(&weight),
                    ];
                    let out = plain_forward::<B, C>(x, offset, weight, options);
                    prepared.finish((nodes, options), out)
                }
                OpsKind::UnTracked(prepared) => {
                    prepared.finish(plain_forward::<B, C>(x, offset, weight, options))
                }
            };
        };
        let prepared = Modulated
            .prepare::<C>([x.node(), offset.node(), weight.node(), mask.node()])
            .compute_bound()
            .stateful();
        match prepared {
            OpsKind::Tracked(mut prepared) => {
                let nodes = [
                    prepared.checkpoint(&x),
                    prepared.checkpoint(&offset),
                    prepared.checkpoint(&weight),
                    prepared.checkpoint(&mask),
                ];
                let out = modulated_forward::<B, C>(x, offset, weight, mask, options);
                prepared.finish((nodes, options), out)
            }
            OpsKind::UnTracked(prepared) => {
                prepared.finish(modulated_forward::<B, C>(x, offset, weight, mask, options))
            }
        }
    }

    fn deform_conv_backward(
        _x: FloatTensor<Self>,
        _offset: FloatTensor<Self>,
        _weight: FloatTensor<Self>,
        _mask: Optional<Self>,
        _grad: FloatTensor<Self>,
        _options: DeformConvOptions,
        _wanted: Wanted,
    ) -> DeformConvGradients<Self> {
        panic!("second-order gradients of deformable convolution are not supported")
    }
}

fn plain_forward<B: DeformConvOps, C: CheckpointStrategy>(
    x: FloatTensor<Autodiff<B, C>>,
    offset: FloatTensor<Autodiff<B, C>>,
    weight: FloatTensor<Autodiff<B, C>>,
    options: DeformConvOptions,
) -> FloatTensor<B> {
    B::deform_conv_forward(
        x.into_primitive(),
        offset.into_primitive(),
        weight.into_primitive(),
        Optional::Absent,
        options,
    )
}

fn modulated_forward<B: DeformConvOps, C: CheckpointStrategy>(
    x: FloatTensor<Autodiff<B, C>>,
    offset: FloatTensor<Autodiff<B, C>>,
    weight: FloatTensor<Autodiff<B, C>>,
    mask: FloatTensor<Autodiff<B, C>>,
    options: DeformConvOptions,
) -> FloatTensor<B> {
    B::deform_conv_forward(
        x.into_primitive(),
        offset.into_primitive(),
        weight.into_primitive(),
        Optional::Present(mask.into_primitive()),
        options,
    )
}

//! Residual blocks.

use aweigh_conv::{Activation, add};
use burn::module::{Initializer, Module};
use burn::tensor::Tensor;

use super::plan::BlockPlan;
use crate::conv_norm::Start;
use crate::{Affine, Convolution, Norm, conv_norm};

/// A basic block (two 3x3 convolutions) or a bottleneck (1x1, 3x3, 1x1).
#[derive(Module, Debug)]
pub(super) struct Block {
    conv1: Convolution,
    bn1: Norm,
    conv2: Convolution,
    bn2: Norm,
    conv3: Option<Convolution>,
    bn3: Option<Norm>,
    downsample: Option<(Convolution, Norm)>,
}

impl BlockPlan {
    /// A scale that never trains must not be zero: the block would stay the identity for ever.
    fn starts_at_zero(&self, start: &Start) -> bool {
        self.zero_residual && !start.frozen && start.norm.affine() == Affine::Trainable
    }

    pub(super) fn init(&self, start: &Start) -> Block {
        let mut pairs: Vec<(Convolution, Norm)> =
            self.convs().iter().map(|conv| start.init(conv)).collect();
        if let Some((_, norm)) = pairs.last_mut().filter(|_| self.starts_at_zero(start)) {
            norm.weight = Initializer::Zeros.init(norm.weight.lazy_shape(), start.device);
        }
        let mut pairs = pairs.into_iter();
        let mut next = || pairs.next().expect("a block has two convolutions or more");
        let ((conv1, bn1), (conv2, bn2)) = (next(), next());
        let (conv3, bn3) = pairs.next().unzip();
        Block {
            conv1,
            bn1,
            conv2,
            bn2,
            conv3,
            bn3,
            downsample: self.downsample().map(|conv| start.init(&conv)),
        }
    }
}

impl Block {
    /// `relu(residual(x) + shortcut(x))`.
    pub(super) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let shortcut = match &self.downsample {
            Some((conv, norm)) => conv_norm(conv, norm, x.clone(), Activation::None),
            None => x.clone(),
        };
        let y = conv_norm(&self.conv1, &self.bn1, x, Activation::Relu);
        let y = match (&self.conv3, &self.bn3) {
            (Some(conv), Some(norm)) => {
                let y = conv_norm(&self.conv2, &self.bn2, y, Activation::Relu);
                conv_norm(conv, norm, y, Activation::None)
            }
            _ => conv_norm(&self.conv2, &self.bn2, y, Activation::None),
        };
        add(y, shortcut, Activation::Relu)
    }
}

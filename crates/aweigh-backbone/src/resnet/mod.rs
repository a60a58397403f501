//! ResNet and ResNeXt without their classifier.

mod block;
mod check;
mod config;
mod dcn;
mod plan;

use aweigh_conv::{Activation, MaxPool, max_pool2d};
use burn::module::Module;
use burn::tensor::{Device, Tensor};

use crate::conv_norm::Start;
use crate::{Convolution, Norm, conv_norm};
use block::Block;

pub use config::{Depth, ResNetConfig, Style};
pub use dcn::DcnConfig;
pub use plan::BlockPlan;

/// The pooling behind the stem's convolution.
pub const STEM_POOL: MaxPool = MaxPool {
    kernel: [3, 3],
    stride: [2, 2],
    padding: [1, 1],
};

/// A ResNet or ResNeXt that returns the maps of its stages, with torchvision's parameter names.
///
/// Should be created using [`ResNetConfig`].
#[derive(Module, Debug)]
pub struct ResNet {
    conv1: Convolution,
    bn1: Norm,
    layer1: Vec<Block>,
    layer2: Vec<Block>,
    layer3: Vec<Block>,
    layer4: Vec<Block>,
    #[module(skip)]
    out_indices: Vec<usize>,
}

impl ResNetConfig {
    /// Builds the network with fresh weights: normal with variance `2 / fan_out`.
    ///
    /// # Panics
    ///
    /// When [`check`](Self::check) fails.
    pub(crate) fn init(&self, device: &Device) -> ResNet {
        if let Err(error) = self.check() {
            panic!("{error}");
        }
        let start = |part: usize| Start {
            norm: &self.norm,
            frozen: self.is_frozen(part),
            device,
        };
        let stage = |i: usize| -> Vec<Block> {
            let plans = if i < self.num_stages {
                self.stage(i)
            } else {
                Vec::new()
            };
            let start = start(i + 1);
            plans.iter().map(|plan| plan.init(&start)).collect()
        };
        let (conv1, bn1) = start(0).init(&self.stem());
        ResNet {
            conv1,
            bn1,
            layer1: stage(0),
            layer2: stage(1),
            layer3: stage(2),
            layer4: stage(3),
            out_indices: self.out_indices.clone(),
        }
    }
}

impl ResNet {
    /// The maps of the chosen stages, finest first.
    ///
    /// Frozen stages record nothing for the backward pass unless `images` are tracked themselves.
    ///
    /// # Shapes
    ///
    /// - `images`: `[B, 3, H, W]`, normalised
    /// - output `i`: `[B, C_i, H / stride_i, W / stride_i]` rounded up, as
    ///   [`ResNetConfig::features`] says
    pub(crate) fn forward(&self, images: Tensor<4>) -> Vec<Tensor<4>> {
        let x = conv_norm(&self.conv1, &self.bn1, images, Activation::Relu);
        let mut x = max_pool2d(x, STEM_POOL);
        let mut maps = Vec::with_capacity(self.out_indices.len());
        let stages = [&self.layer1, &self.layer2, &self.layer3, &self.layer4];
        for (i, stage) in stages.into_iter().enumerate() {
            x = stage.iter().fold(x, |x, block| block.forward(x));
            if self.out_indices.contains(&i) {
                maps.push(x.clone());
            }
        }
        maps
    }
}

#[cfg(test)]
pub(crate) mod tests;

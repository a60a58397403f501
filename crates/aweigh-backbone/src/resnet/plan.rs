//! The convolutions of a ResNet, before any of them exists.

use burn::nn::PaddingConfig2d;
use burn::nn::conv::Conv2dConfig;

use super::config::{ResNetConfig, Style};
use crate::conv_module::kaiming_fan_out;
use crate::{Affine, LayerInfo};

/// One residual block.
#[derive(Debug, Clone, Copy)]
pub(super) struct BlockPlan {
    /// Output channels over `width`: 1 for a basic block, 4 for a bottleneck.
    pub(super) expansion: usize,
    pub(super) style: Style,
    pub(super) input: usize,
    pub(super) width: usize,
    pub(super) stride: usize,
    pub(super) dilation: usize,
}

impl BlockPlan {
    /// The convolutions of the residual branch, in order.
    pub(super) fn convs(&self) -> Vec<Conv2dConfig> {
        let Self { input, width, .. } = *self;
        if self.expansion == 1 {
            return vec![
                conv([input, width], 3, self.stride, self.dilation),
                conv([width, width], 3, 1, 1),
            ];
        }
        let (first, second) = match self.style {
            Style::Pytorch => (1, self.stride),
            Style::Caffe => (self.stride, 1),
        };
        vec![
            conv([input, width], 1, first, 1),
            conv([width, width], 3, second, self.dilation),
            conv([width, self.channels()], 1, 1, 1),
        ]
    }

    /// The projection of the shortcut, where shapes differ.
    pub(super) fn downsample(&self) -> Option<Conv2dConfig> {
        let differs = self.stride != 1 || self.input != self.channels();
        differs.then(|| conv([self.input, self.channels()], 1, self.stride, 1))
    }

    /// Height and width after the block.
    pub(super) fn output(&self, input: [usize; 2]) -> [usize; 2] {
        let through = |size, conv: &Conv2dConfig| LayerInfo::conv("", conv, size).size();
        self.convs().iter().fold(input, through)
    }

    /// Layers under the module path `name`, for a map of `[height, width]`.
    pub(super) fn layers(&self, name: &str, input: [usize; 2], affine: Affine) -> Vec<LayerInfo> {
        let mut layers = Vec::new();
        let mut size = input;
        for (i, conv) in (1..).zip(self.convs()) {
            let conv = LayerInfo::conv(format!("{name}.conv{i}"), &conv, size);
            size = conv.size();
            let norm = LayerInfo::norm(format!("{name}.bn{i}"), conv.output, affine);
            layers.extend([conv, norm]);
        }
        if let Some(conv) = self.downsample() {
            let conv = LayerInfo::conv(format!("{name}.downsample.0"), &conv, input);
            let norm = LayerInfo::norm(format!("{name}.downsample.1"), conv.output, affine);
            layers.extend([conv, norm]);
        }
        layers
    }

    fn channels(&self) -> usize {
        self.width * self.expansion
    }
}

impl ResNetConfig {
    /// The 7x7 convolution of stride 2 on the image.
    pub(super) fn stem(&self) -> Conv2dConfig {
        conv([3, self.base_channels], 7, 2, 1)
    }
}

/// A convolution without bias that keeps the size of its map at stride 1.
fn conv(channels: [usize; 2], kernel: usize, stride: usize, dilation: usize) -> Conv2dConfig {
    let pad = dilation * (kernel / 2);
    Conv2dConfig::new(channels, [kernel; 2])
        .with_stride([stride; 2])
        .with_dilation([dilation; 2])
        .with_padding(PaddingConfig2d::Explicit(pad, pad, pad, pad))
        .with_bias(false)
        .with_initializer(kaiming_fan_out())
}

//! The convolutions of a ResNet, before any of them exists.

use super::config::{ResNetConfig, Style};
use crate::conv_module::kaiming_fan_out;
use crate::convolution::ConvolutionConfig;
use crate::{Affine, Deformation, LayerInfo};

/// One residual block.
#[derive(Debug, Clone, Copy)]
pub(super) struct BlockPlan {
    /// Output channels over `width`: 1 for a basic block, 4 for a bottleneck.
    pub(super) expansion: usize,
    pub(super) style: Style,
    pub(super) input: usize,
    pub(super) width: usize,
    /// Channels of the 3x3 convolution of a bottleneck.
    pub(super) inner: usize,
    /// Groups of the 3x3 convolution of a bottleneck.
    pub(super) groups: usize,
    pub(super) stride: usize,
    pub(super) dilation: usize,
    /// How the taps of the 3x3 convolution of a bottleneck move.
    pub(super) deformation: Option<Deformation>,
}

impl BlockPlan {
    /// The convolutions of the residual branch, in order.
    pub(super) fn convs(&self) -> Vec<ConvolutionConfig> {
        let Self {
            input,
            width,
            inner,
            ..
        } = *self;
        if self.expansion == 1 {
            return vec![
                conv([input, width], 3)
                    .with_stride(self.stride)
                    .with_dilation(self.dilation),
                conv([width, width], 3),
            ];
        }
        let (first, second) = match self.style {
            Style::Pytorch => (1, self.stride),
            Style::Caffe => (self.stride, 1),
        };
        vec![
            conv([input, inner], 1).with_stride(first),
            conv([inner, inner], 3)
                .with_stride(second)
                .with_dilation(self.dilation)
                .with_groups(self.groups)
                .with_deformation(self.deformation),
            conv([inner, self.channels()], 1),
        ]
    }

    /// The projection of the shortcut, where shapes differ.
    pub(super) fn downsample(&self) -> Option<ConvolutionConfig> {
        let differs = self.stride != 1 || self.input != self.channels();
        differs.then(|| conv([self.input, self.channels()], 1).with_stride(self.stride))
    }

    /// Height and width after the block.
    pub(super) fn output(&self, input: [usize; 2]) -> [usize; 2] {
        let convs = self.convs();
        convs.iter().fold(input, |size, conv| conv.output(size))
    }

    /// Layers under the module path `name`, for a map of `[height, width]`.
    pub(super) fn layers(&self, name: &str, input: [usize; 2], affine: Affine) -> Vec<LayerInfo> {
        let mut layers = Vec::new();
        let mut size = input;
        for (i, conv) in (1..).zip(self.convs()) {
            let convs = conv.layers(&format!("{name}.conv{i}"), size);
            let map = convs[0].output;
            let norm = LayerInfo::norm(format!("{name}.bn{i}"), map, affine);
            size = conv.output(size);
            layers.extend(convs);
            layers.push(norm);
        }
        if let Some(conv) = self.downsample() {
            let convs = conv.layers(&format!("{name}.downsample.0"), input);
            let map = convs[0].output;
            layers.extend(convs);
            layers.push(LayerInfo::norm(format!("{name}.downsample.1"), map, affine));
        }
        layers
    }

    fn channels(&self) -> usize {
        self.width * self.expansion
    }
}

impl ResNetConfig {
    /// The 7x7 convolution of stride 2 on the image.
    pub(super) fn stem(&self) -> ConvolutionConfig {
        conv([3, self.base_channels], 7).with_stride(2)
    }
}

fn conv(channels: [usize; 2], kernel: usize) -> ConvolutionConfig {
    ConvolutionConfig::new(channels, [kernel; 2], kaiming_fan_out())
}

//! What follows from the options of a ResNet before it exists: its convolutions, the sizes and
//! channels of its maps, its table of layers.

use super::config::{ResNetConfig, Style};
use crate::conv_module::kaiming_fan_out;
use crate::convolution::{ConvolutionConfig, Deformation};
use crate::{Affine, FeatureSpec, LayerInfo};

/// One residual block of a ResNet, before it exists.
#[derive(Debug, Clone, Copy)]
pub struct BlockPlan {
    /// Output channels over `width`: 1 for a basic block, 4 for a bottleneck.
    pub(super) expansion: usize,
    pub(super) style: Style,
    pub(super) input: usize,
    pub(super) width: usize,
    /// Channels of the 3x3 convolution of a bottleneck.
    pub(super) mid_channels: usize,
    /// Groups of the 3x3 convolution of a bottleneck.
    pub(super) groups: usize,
    pub(super) stride: usize,
    pub(super) dilation: usize,
    /// How the taps of the 3x3 convolution of a bottleneck move.
    pub(super) deformation: Option<Deformation>,
    /// Whether a new block is the identity.
    pub(super) zero_residual: bool,
}

impl BlockPlan {
    /// The convolutions of the residual branch, in order.
    pub fn convs(&self) -> Vec<ConvolutionConfig> {
        let Self {
            input,
            width,
            mid_channels,
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
            conv([input, mid_channels], 1).with_stride(first),
            conv([mid_channels, mid_channels], 3)
                .with_stride(second)
                .with_dilation(self.dilation)
                .with_groups(self.groups)
                .with_deformation(self.deformation),
            conv([mid_channels, self.channels()], 1),
        ]
    }

    /// The projection of the shortcut, where shapes differ.
    pub fn downsample(&self) -> Option<ConvolutionConfig> {
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
    pub fn stem(&self) -> ConvolutionConfig {
        conv([3, self.base_channels], 7).with_stride(2)
    }

    /// The blocks of a stage, counted from 0.
    ///
    /// # Panics
    ///
    /// When [`check`](crate::BackboneConfig::check) fails or there is no such stage.
    pub fn stage(&self, stage: usize) -> Vec<BlockPlan> {
        let width = self.width(stage);
        let channels = width * self.depth.expansion();
        let before = match stage {
            0 => self.base_channels,
            _ => channels / 2,
        };
        let block = |i: usize| BlockPlan {
            expansion: self.depth.expansion(),
            style: self.style,
            input: if i == 0 { before } else { channels },
            width,
            mid_channels: self.mid_channels(stage),
            groups: self.groups,
            stride: if i == 0 { self.strides[stage] } else { 1 },
            dilation: self.dilations[stage],
            deformation: self.deformation(stage, i),
            zero_residual: self.zero_init_residual,
        };
        (0..self.depth.blocks()[stage]).map(block).collect()
    }

    /// How the taps of block `i` of a stage move, both counted from 0.
    fn deformation(&self, stage: usize, i: usize) -> Option<Deformation> {
        let dcn = self.dcn.filter(|_| self.stage_with_dcn[stage])?;
        let first = i == 0 && !self.stage_with_dcn[..stage].contains(&true);
        let plain = first && dcn.fallback_on_stride && self.groups == 1;
        (!plain).then_some(Deformation {
            kind: dcn.kind,
            groups: dcn.deform_groups,
        })
    }

    /// Channels and stride of each returned map.
    ///
    /// # Panics
    ///
    /// When [`check`](Self::check) fails.
    pub(crate) fn features(&self) -> Vec<FeatureSpec> {
        let spec = |&stage: &usize| FeatureSpec {
            channels: self.width(stage) * self.depth.expansion(),
            // The stem's convolution and pooling halve the image twice.
            stride: 4 * self.strides[..=stage].iter().product::<usize>(),
        };
        self.out_indices.iter().map(spec).collect()
    }

    /// Height and width of each returned map for an image of `[height, width]` pixels.
    ///
    /// # Panics
    ///
    /// When [`check`](Self::check) fails or the image is too small.
    pub(crate) fn sizes(&self, image: [usize; 2]) -> Vec<[usize; 2]> {
        let mut size = self.stem().output(image).map(pooled);
        let mut sizes = Vec::new();
        for stage in 0..self.num_stages {
            for block in self.stage(stage) {
                size = block.output(size);
            }
            sizes.push(size);
        }
        self.out_indices.iter().map(|stage| sizes[*stage]).collect()
    }

    /// Every layer with its cost for an image of `[height, width]` pixels.
    ///
    /// # Panics
    ///
    /// When [`check`](Self::check) fails or the image is too small.
    pub(crate) fn layers(&self, image: [usize; 2]) -> Vec<LayerInfo> {
        let affine = self.norm.affine();
        let mut layers = self.stem().layers("conv1", image);
        let map @ [channels, height, width] = layers[0].output;
        layers.push(LayerInfo::norm("bn1", map, affine));
        let mut layers: Vec<_> = layers.into_iter().map(|l| self.trained(l, 0)).collect();
        let mut size = [height, width].map(pooled);
        layers.push(LayerInfo::pool("maxpool", [channels, size[0], size[1]]));
        for stage in 0..self.num_stages {
            for (i, block) in self.stage(stage).into_iter().enumerate() {
                let own = block.layers(&format!("layer{}.{i}", stage + 1), size, affine);
                layers.extend(own.into_iter().map(|l| self.trained(l, stage + 1)));
                size = block.output(size);
            }
        }
        layers
    }

    fn trained(&self, layer: LayerInfo, part: usize) -> LayerInfo {
        LayerInfo {
            trainable: layer.trainable && !self.is_frozen(part),
            ..layer
        }
    }
}

fn conv(channels: [usize; 2], kernel: usize) -> ConvolutionConfig {
    ConvolutionConfig::new(channels, [kernel; 2], kaiming_fan_out())
}

/// Size after the stem's 3x3 max pooling of stride 2.
fn pooled(size: usize) -> usize {
    (size - 1) / 2 + 1
}

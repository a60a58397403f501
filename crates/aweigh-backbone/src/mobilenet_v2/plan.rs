//! What follows from the options of a MobileNetV2 before it exists: its convolutions, the sizes and
//! channels of its maps, its table of layers.

use super::config::{MobileNetV2Config, STAGES};
use crate::conv_module::kaiming_fan_out;
use crate::convolution::ConvolutionConfig;
use crate::{FeatureSpec, LayerInfo};

/// A stage of the network (Sandler et al., 2018, Table 2).
struct Stage {
    /// Channels of the depthwise convolution over those of the input.
    expansion: usize,
    channels: usize,
    blocks: usize,
    /// Stride of the first block.
    stride: usize,
}

const fn stage(expansion: usize, channels: usize, blocks: usize, stride: usize) -> Stage {
    Stage {
        expansion,
        channels,
        blocks,
        stride,
    }
}

const TABLE: [Stage; STAGES] = [
    stage(1, 16, 1, 1),
    stage(6, 24, 2, 2),
    stage(6, 32, 3, 2),
    stage(6, 64, 4, 2),
    stage(6, 96, 3, 1),
    stage(6, 160, 3, 2),
    stage(6, 320, 1, 1),
];

/// Place of the last convolution in `features`.
pub(super) const LAST: usize = {
    let (mut place, mut stage) = (1, 0);
    while stage < STAGES {
        place += TABLE[stage].blocks;
        stage += 1;
    }
    place
};

/// An inverted residual block of a MobileNetV2, before it exists.
#[derive(Debug, Clone, Copy)]
pub struct InvertedResidualPlan {
    pub(super) input: usize,
    pub(super) expansion: usize,
    pub(super) output: usize,
    pub(super) stride: usize,
}

impl InvertedResidualPlan {
    /// Whether the input is added to the output.
    pub fn has_shortcut(&self) -> bool {
        self.stride == 1 && self.input == self.output
    }

    /// The convolution that expands the input, if one does.
    pub(super) fn expand(&self) -> Option<ConvolutionConfig> {
        (self.expansion != 1).then(|| conv([self.input, self.hidden()], 1))
    }

    pub(super) fn depthwise(&self) -> ConvolutionConfig {
        let hidden = self.hidden();
        conv([hidden, hidden], 3)
            .with_groups(hidden)
            .with_stride(self.stride)
    }

    /// The linear bottleneck.
    pub(super) fn project(&self) -> ConvolutionConfig {
        conv([self.hidden(), self.output], 1)
    }

    fn hidden(&self) -> usize {
        self.input * self.expansion
    }

    /// The convolutions in order, each with the module paths of itself and its normalisation. An
    /// activation follows all but the last.
    pub fn convs(&self) -> Vec<([String; 2], ConvolutionConfig)> {
        let activated = self.expand().into_iter().chain([self.depthwise()]);
        let mut convs: Vec<_> = activated
            .enumerate()
            .map(|(i, conv)| ([format!("conv.{i}.0"), format!("conv.{i}.1")], conv))
            .collect();
        let next = convs.len();
        let names = [format!("conv.{next}"), format!("conv.{}", next + 1)];
        convs.push((names, self.project()));
        convs
    }
}

/// What an element of a MobileNetV2's `features` is.
#[derive(Debug, Clone)]
pub enum ElementKind {
    /// A convolution (`0`) with normalisation (`1`) and activation.
    Conv(ConvolutionConfig),
    /// An inverted residual block.
    Block(InvertedResidualPlan),
}

/// An element of a MobileNetV2's `features`, before it exists.
#[derive(Debug, Clone)]
pub struct ElementPlan {
    /// 0 for the stem, 1 to 7 for the stages of blocks, 8 for the last convolution.
    pub part: usize,
    /// What it is.
    pub kind: ElementKind,
}

impl ElementPlan {
    /// Its convolutions in order, each with the module paths of itself and its normalisation.
    fn convs(&self) -> Vec<([String; 2], ConvolutionConfig)> {
        match &self.kind {
            ElementKind::Conv(conv) => vec![(["0", "1"].map(str::to_owned), conv.clone())],
            ElementKind::Block(block) => block.convs(),
        }
    }

    /// Channels of every convolution's output.
    pub(super) fn channels(&self) -> Vec<usize> {
        let convs = self.convs().into_iter();
        convs.map(|(_, conv)| conv.outputs()).collect()
    }

    /// Input pixels per step of the map, over those of its own input.
    fn stride(&self) -> usize {
        self.convs().iter().map(|(_, conv)| conv.stride).product()
    }

    /// Height and width after it.
    fn output(&self, input: [usize; 2]) -> [usize; 2] {
        let convs = self.convs().into_iter();
        convs.fold(input, |size, (_, conv)| conv.output(size))
    }

    /// Channels after it.
    fn outputs(&self) -> usize {
        match &self.kind {
            ElementKind::Conv(conv) => conv.outputs(),
            ElementKind::Block(block) => block.output,
        }
    }
}

impl MobileNetV2Config {
    /// The elements of `features`, up to the last one that is returned.
    ///
    /// # Panics
    ///
    /// When [`check`](crate::BackboneConfig::check) fails.
    pub fn elements(&self) -> Vec<ElementPlan> {
        let stem = self.width(32);
        let stem_conv = conv([3, stem], 3).with_stride(2);
        let mut layers = vec![ElementPlan {
            part: 0,
            kind: ElementKind::Conv(stem_conv),
        }];
        let mut input = stem;
        for (part, stage) in (1..).zip(&TABLE) {
            for i in 0..stage.blocks {
                let block = InvertedResidualPlan {
                    input,
                    expansion: stage.expansion,
                    output: self.width(stage.channels),
                    stride: if i == 0 { stage.stride } else { 1 },
                };
                input = block.output;
                let kind = ElementKind::Block(block);
                layers.push(ElementPlan { part, kind });
            }
        }
        layers.push(ElementPlan {
            part: STAGES + 1,
            kind: ElementKind::Conv(conv([input, self.last_width()], 1)),
        });
        let last = self.out_indices.last().map_or(0, |last| last + 1);
        layers.retain(|layer| layer.part <= last);
        layers
    }

    /// Places in `features` of the elements whose outputs are returned: the last of each stage.
    ///
    /// # Panics
    ///
    /// When [`check`](crate::BackboneConfig::check) fails.
    pub fn outputs(&self) -> Vec<usize> {
        let layers = self.elements();
        let last = |&stage: &usize| {
            let place = layers.iter().rposition(|layer| layer.part == stage + 1);
            place.expect("a stage has layers")
        };
        self.out_indices.iter().map(last).collect()
    }

    /// Channels and stride of each returned map.
    ///
    /// # Panics
    ///
    /// When [`check`](Self::check) fails.
    pub(crate) fn features(&self) -> Vec<FeatureSpec> {
        let layers = self.elements();
        let spec = |last: usize| FeatureSpec {
            channels: layers[last].outputs(),
            stride: layers[..=last].iter().map(ElementPlan::stride).product(),
        };
        self.outputs().into_iter().map(spec).collect()
    }

    /// Height and width of each returned map for an image of `[height, width]` pixels.
    ///
    /// # Panics
    ///
    /// When [`check`](Self::check) fails or the image is too small.
    pub(crate) fn sizes(&self, image: [usize; 2]) -> Vec<[usize; 2]> {
        let mut size = image;
        let mut sizes = Vec::new();
        for layer in self.elements() {
            size = layer.output(size);
            sizes.push(size);
        }
        self.outputs()
            .into_iter()
            .map(|place| sizes[place])
            .collect()
    }

    /// Every layer with its cost for an image of `[height, width]` pixels.
    ///
    /// # Panics
    ///
    /// When [`check`](Self::check) fails or the image is too small.
    pub(crate) fn layers(&self, image: [usize; 2]) -> Vec<LayerInfo> {
        let mut size = image;
        let mut layers = Vec::new();
        for (i, layer) in self.elements().into_iter().enumerate() {
            let frozen = self.is_frozen(layer.part);
            for ([name, norm], conv) in layer.convs() {
                let own = conv.layers(&format!("features.{i}.{name}"), size);
                let map @ [_, height, width] = own[0].output;
                size = [height, width];
                let norm = format!("features.{i}.{norm}");
                let norm = LayerInfo::norm(norm, map, self.norm.affine());
                layers.extend(own.into_iter().chain([norm]).map(|layer| LayerInfo {
                    trainable: layer.trainable && !frozen,
                    ..layer
                }));
            }
        }
        layers
    }
}

fn conv(channels: [usize; 2], kernel: usize) -> ConvolutionConfig {
    ConvolutionConfig::new(channels, [kernel; 2], kaiming_fan_out())
}

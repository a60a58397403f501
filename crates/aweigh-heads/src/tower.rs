//! The stack of convolutions before a prediction.

use aweigh_backbone::{ConvBias, ConvModule, ConvModuleConfig, LayerInfo, NormConfig};
use burn::nn::Initializer;
use burn::tensor::{Device, Tensor};

use crate::init::WEIGHT_STD;

/// A tower of 3x3 convolutions with normalisation and ReLU, all of one width.
#[derive(Debug, Clone, PartialEq)]
pub struct TowerConfig {
    /// Channels of the pyramid.
    pub in_channels: usize,
    /// Channels of every convolution of the tower.
    pub feat_channels: usize,
    /// Number of convolutions; zero makes the tower the identity.
    pub stacked_convs: usize,
    /// Normalisation after each convolution.
    pub norm: Option<NormConfig>,
    /// Whether the convolutions have a bias.
    pub conv_bias: ConvBias,
}

/// The convolutions of a tower, `cls_convs` or `reg_convs` in the reference state dicts.
pub type Tower = Vec<ConvModule>;

impl TowerConfig {
    /// Channels after the tower.
    pub fn out_channels(&self) -> usize {
        match self.stacked_convs {
            0 => self.in_channels,
            _ => self.feat_channels,
        }
    }

    /// Weights from N(0, 0.01), zero bias.
    pub fn init(&self, device: &Device) -> Tower {
        self.convs().map(|conv| conv.init(device)).collect()
    }

    /// The layers of the tower for a map of `[height, width]`, under the module path `name`.
    pub(crate) fn layers(&self, name: &str, size: [usize; 2]) -> Vec<LayerInfo> {
        self.convs()
            .enumerate()
            .flat_map(|(i, conv)| conv.layers(&format!("{name}.{i}"), size))
            .collect()
    }

    fn convs(&self) -> impl Iterator<Item = ConvModuleConfig> {
        (0..self.stacked_convs).map(|i| {
            let input = match i {
                0 => self.in_channels,
                _ => self.feat_channels,
            };
            ConvModuleConfig::new([input, self.feat_channels], [3, 3])
                .with_norm(self.norm.clone())
                .with_conv_bias(self.conv_bias)
                .with_initializer(Initializer::Normal {
                    mean: 0.0,
                    std: WEIGHT_STD,
                })
        })
    }
}

/// Runs `x` through the tower.
pub(crate) fn forward(tower: &[ConvModule], x: Tensor<4>) -> Tensor<4> {
    tower.iter().fold(x, |x, conv| conv.forward(x))
}

/// Adds up the same layers run on several levels: parameters count once, multiply-adds for every
/// level; the output shown is that of the first level.
pub(crate) fn shared(levels: impl Iterator<Item = Vec<LayerInfo>>) -> Vec<LayerInfo> {
    levels
        .reduce(|mut sum, level| {
            for (layer, other) in sum.iter_mut().zip(level) {
                layer.macs += other.macs;
            }
            sum
        })
        .unwrap_or_default()
}

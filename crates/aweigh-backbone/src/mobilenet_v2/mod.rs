//! MobileNetV2 without its classifier.

mod block;
mod config;
mod plan;

use aweigh_conv::Activation;
use burn::module::Module;
use burn::tensor::{Device, Tensor};

use crate::conv_norm::Start;
use crate::{Convolution, Norm, conv_norm};
use block::InvertedResidual;
use plan::LAST;

pub use config::MobileNetV2Config;
pub use plan::{ElementKind, ElementPlan, InvertedResidualPlan};

/// A MobileNetV2 that returns the maps of its stages, with torchvision's parameter names.
///
/// Should be created using [`MobileNetV2Config`].
#[derive(Module, Debug)]
pub struct MobileNetV2 {
    features: Vec<Layer>,
    /// Places in `features` of the layers whose outputs are returned.
    #[module(skip)]
    outputs: Vec<usize>,
}

/// An element of `features`.
// A network has at most two convolutions among its blocks.
#[allow(clippy::large_enum_variant)]
#[derive(Module, Debug)]
enum Layer {
    /// A convolution with normalisation and activation.
    Conv((Convolution, Norm)),
    /// An inverted residual block.
    Block(InvertedResidual),
}

impl MobileNetV2Config {
    /// Builds the network with fresh weights: normal with variance `2 / fan_out`.
    ///
    /// # Panics
    ///
    /// When [`check`](Self::check) fails.
    pub(crate) fn init(&self, device: &Device) -> MobileNetV2 {
        if let Err(error) = self.check() {
            panic!("{error}");
        }
        let layer = |layer: &ElementPlan| {
            let start = Start {
                norm: &self.norm,
                frozen: self.is_frozen(layer.part),
                device,
            };
            match &layer.kind {
                ElementKind::Conv(conv) => Layer::Conv(start.init(conv)),
                ElementKind::Block(block) => Layer::Block(block.init(&start)),
            }
        };
        MobileNetV2 {
            features: self.elements().iter().map(layer).collect(),
            outputs: self.outputs(),
        }
    }
}

impl MobileNetV2 {
    /// The maps of the chosen stages, finest first.
    ///
    /// Frozen stages record nothing for the backward pass unless `images` are tracked themselves.
    ///
    /// # Shapes
    ///
    /// - `images`: `[B, 3, H, W]`, normalised
    /// - output `i`: `[B, C_i, H / stride_i, W / stride_i]` rounded up, as
    ///   [`MobileNetV2Config::features`] says
    pub(crate) fn forward(&self, images: Tensor<4>) -> Vec<Tensor<4>> {
        let mut x = images;
        let mut maps = Vec::with_capacity(self.outputs.len());
        for (i, layer) in self.features.iter().enumerate() {
            x = match layer {
                Layer::Conv((conv, norm)) => conv_norm(conv, norm, x, Activation::Relu6),
                Layer::Block(block) => block.forward(x),
            };
            if self.outputs.contains(&i) {
                maps.push(x.clone());
            }
        }
        maps
    }

    /// Whether a tensor of torchvision's network lies behind the last map that is returned.
    pub(crate) fn leaves_out(&self, name: &str) -> bool {
        let rest = name.strip_prefix("features.");
        let place = rest.and_then(|rest| rest.split_once('.')?.0.parse().ok());
        place.is_some_and(|place: usize| (self.features.len()..=LAST).contains(&place))
    }
}

#[cfg(test)]
mod tests;

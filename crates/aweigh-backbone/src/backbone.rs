//! The backbone of a detector: a network of this crate behind one type.
//!
//! [`BackboneConfig`] and [`Backbone`] are all that a detector knows of its feature extractor. Each
//! method matches on the network and asks it, so that one more network is one more variant here and
//! nothing elsewhere.

mod options;

use std::path::Path;

use aweigh_weights::{Wanted, WeightsFile, recognise};
use burn::module::Module;
use burn::tensor::{Device, Tensor};

use crate::config::ConfigError;
use crate::features::FeatureSpec;
use crate::layer_info::LayerInfo;
use crate::mobilenet_v2::{MobileNetV2, MobileNetV2Config};
use crate::norm::NormConfig;
use crate::resnet::{ResNet, ResNetConfig};
use crate::weights::{StateDict, WeightsError};

/// A network that turns images into maps of falling resolution.
///
/// Should be created using [`BackboneConfig`]. Module paths leave the variant out, as those of
/// reference state dicts do: `layer1.0.conv1.weight`.
// A detector has one.
#[allow(clippy::large_enum_variant)]
#[derive(Module, Debug)]
pub enum Backbone {
    /// ResNet or ResNeXt.
    ResNet(ResNet),
    /// MobileNetV2.
    MobileNetV2(MobileNetV2),
}

/// Options of a [`Backbone`].
///
/// In a file they are the options of the network beside its name, `type = "mobilenet_v2"`; without
/// a name they are those of a ResNet.
#[derive(Debug, Clone, PartialEq)]
pub enum BackboneConfig {
    /// ResNet or ResNeXt, `type = "resnet"`.
    ResNet(ResNetConfig),
    /// MobileNetV2, `type = "mobilenet_v2"`.
    MobileNetV2(MobileNetV2Config),
}

impl Default for BackboneConfig {
    /// ResNet-50.
    fn default() -> Self {
        Self::ResNet(ResNetConfig::default())
    }
}

impl BackboneConfig {
    /// Checks every value.
    ///
    /// # Errors
    ///
    /// Names the first key whose value no network can be built from.
    pub fn check(&self) -> Result<(), ConfigError> {
        match self {
            Self::ResNet(config) => config.check(),
            Self::MobileNetV2(config) => config.check(),
        }
    }

    /// Channels and stride of each returned map, finest first.
    ///
    /// # Panics
    ///
    /// When [`check`](Self::check) fails.
    pub fn features(&self) -> Vec<FeatureSpec> {
        match self {
            Self::ResNet(config) => config.features(),
            Self::MobileNetV2(config) => config.features(),
        }
    }

    /// Height and width of each returned map for an image of `[height, width]` pixels.
    ///
    /// # Panics
    ///
    /// When [`check`](Self::check) fails or the image is too small.
    pub fn sizes(&self, image: [usize; 2]) -> Vec<[usize; 2]> {
        match self {
            Self::ResNet(config) => config.sizes(image),
            Self::MobileNetV2(config) => config.sizes(image),
        }
    }

    /// Every layer with its cost for an image of `[height, width]` pixels.
    ///
    /// # Panics
    ///
    /// When [`check`](Self::check) fails or the image is too small.
    pub fn layers(&self, image: [usize; 2]) -> Vec<LayerInfo> {
        match self {
            Self::ResNet(config) => config.layers(image),
            Self::MobileNetV2(config) => config.layers(image),
        }
    }

    /// How the network is normalised.
    pub fn norm(&self) -> &NormConfig {
        match self {
            Self::ResNet(config) => &config.norm,
            Self::MobileNetV2(config) => &config.norm,
        }
    }

    /// Stages that are not trained, beside the stem; none if everything is trained.
    pub fn frozen_stages(&self) -> Option<usize> {
        let frozen = match self {
            Self::ResNet(config) => config.frozen_stages,
            Self::MobileNetV2(config) => config.frozen_stages,
        };
        usize::try_from(frozen).ok()
    }

    /// Builds the network with fresh weights.
    ///
    /// # Panics
    ///
    /// When [`check`](Self::check) fails.
    pub fn init(&self, device: &Device) -> Backbone {
        match self {
            Self::ResNet(config) => Backbone::ResNet(config.init(device)),
            Self::MobileNetV2(config) => Backbone::MobileNetV2(config.init(device)),
        }
    }
}

impl Backbone {
    /// The maps of the chosen stages, finest first.
    ///
    /// Frozen stages record nothing for the backward pass unless `images` are tracked themselves.
    ///
    /// # Shapes
    ///
    /// - `images`: `[B, 3, H, W]`, normalised
    /// - output `i`: `[B, C_i, H / stride_i, W / stride_i]` rounded up, as
    ///   [`BackboneConfig::features`] says
    pub fn forward(&self, images: Tensor<4>) -> Vec<Tensor<4>> {
        match self {
            Self::ResNet(net) => net.forward(images),
            Self::MobileNetV2(net) => net.forward(images),
        }
    }

    /// Loads weights from a file of PyTorch or safetensors, of a classifier, a backbone or a whole
    /// detector in any known layout. The classifier is not used, and neither is what
    /// [`left_out`](Self::left_out) names. A file of a network without deformable convolutions fits
    /// one with them: their offset convolutions then start at 0.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, or its tensors are not exactly those of this network.
    pub fn load_weights(self, path: &Path) -> Result<Self, WeightsError> {
        let import = recognise(WeightsFile::open(path)?, Wanted::Backbone)?;
        self.load(StateDict::of_backbone(import))
    }

    /// Like [`load_weights`](Self::load_weights), from tensors under our names.
    ///
    /// # Errors
    ///
    /// When the tensors are not exactly those of this network.
    pub fn load(self, state_dict: StateDict) -> Result<Self, WeightsError> {
        let used = state_dict.without(|name| self.leaves_out(name));
        used.or_fresh_offsets(&self).load_into(self)
    }

    /// Names of the tensors that this network [leaves out](Self::leaves_out).
    pub fn left_out<'a>(&self, state_dict: &'a StateDict) -> Vec<&'a str> {
        state_dict
            .names()
            .filter(|name| self.leaves_out(name))
            .collect()
    }

    /// Whether this network has no use for a tensor that its reference has: of a MobileNetV2, one
    /// behind the last map that is returned.
    pub fn leaves_out(&self, name: &str) -> bool {
        match self {
            Self::ResNet(_) => false,
            Self::MobileNetV2(net) => net.leaves_out(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aweigh_testkit::device;
    use burn::store::ModuleSnapshot;

    #[test]
    fn the_variant_is_in_no_name() {
        let text = r#"{"depth": 18, "base_channels": 1}"#;
        let config: BackboneConfig = serde_json::from_str(text).expect("options of a ResNet");
        let tensors = config.init(&device()).collect(None, None, true);
        let first = tensors.first().map(|tensor| tensor.name.as_str());
        assert_eq!(first, Some("conv1.weight"));
    }

    #[test]
    fn frozen_stages_are_counted_after_the_stem() {
        let check = |frozen_stages: i32, stages: Option<usize>| {
            let config = BackboneConfig::ResNet(ResNetConfig {
                frozen_stages,
                ..ResNetConfig::default()
            });
            assert_eq!(config.frozen_stages(), stages);
        };
        check(-1, None);
        check(0, Some(0));
        check(2, Some(2));
    }
}

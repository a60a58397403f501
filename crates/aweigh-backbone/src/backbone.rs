//! The backbone of a detector: a network of this crate behind one type.
//!
//! [`BackboneConfig`] and [`Backbone`] are all that a detector knows of its feature extractor. Each
//! method matches on the network and asks it, so that one more network is one more variant here and
//! nothing elsewhere.

use std::path::Path;

use aweigh_weights::{Wanted, WeightsFile, recognise};
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::config::ConfigError;
use crate::features::FeatureSpec;
use crate::layer_info::LayerInfo;
use crate::resnet::{ResNet, ResNetConfig};
use crate::weights::{StateDict, WeightsError};

/// A network that turns images into maps of falling resolution.
///
/// Should be created using [`BackboneConfig`]. Module paths leave the variant out, as those of
/// reference state dicts do: `layer1.0.conv1.weight`.
#[derive(Module, Debug)]
pub enum Backbone {
    /// ResNet or ResNeXt.
    ResNet(ResNet),
}

/// Options of a [`Backbone`].
///
/// In a file they are the options of the network, `depth = 50`, without the name of the variant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum BackboneConfig {
    /// ResNet or ResNeXt.
    ResNet(ResNetConfig),
}

/// A table that names no network is a ResNet's.
///
/// The network's own options are read from the source itself: serde's enums (`untagged`, `tag`)
/// read a copy, and errors in a copy have lost the line and column of the key.
impl<'de> Deserialize<'de> for BackboneConfig {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        ResNetConfig::deserialize(source).map(Self::ResNet)
    }
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
        }
    }

    /// Stages that are not trained, beside the stem; none if everything is trained.
    pub fn frozen_stages(&self) -> Option<usize> {
        match self {
            Self::ResNet(config) => usize::try_from(config.frozen_stages).ok(),
        }
    }

    /// Builds the network with fresh weights.
    ///
    /// # Panics
    ///
    /// When [`check`](Self::check) fails.
    pub fn init(&self, device: &Device) -> Backbone {
        match self {
            Self::ResNet(config) => Backbone::ResNet(config.init(device)),
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
        }
    }

    /// Loads weights from a file of PyTorch or safetensors, of a classifier, a backbone or a whole
    /// detector in any known layout. The classifier is not used. A file of a network without
    /// deformable convolutions fits one with them: their offset convolutions then start at 0.
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
        state_dict.or_fresh_offsets(&self).load_into(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aweigh_testkit::device;
    use burn::store::ModuleSnapshot;

    #[test]
    fn a_table_without_a_name_is_a_resnet_and_stays_one() {
        let text = r#"{"depth":18,"out_indices":[1,2]}"#;
        let config: BackboneConfig = serde_json::from_str(text).expect("options of a ResNet");
        let resnet: ResNetConfig = serde_json::from_str(text).expect("options of a ResNet");
        let written = serde_json::to_string(&config).expect("plain options");
        assert_eq!(written, serde_json::to_string(&resnet).expect("options"));
        assert_eq!(config, BackboneConfig::ResNet(resnet));
    }

    #[test]
    fn what_no_network_knows_is_refused_at_its_place() {
        let read = |text: &str| serde_json::from_str::<BackboneConfig>(text).unwrap_err();
        let unknown = read(r#"{"type": "vgg"}"#).to_string();
        assert!(unknown.contains("unknown field `type`"), "{unknown}");
        let depth = read("{\"depth\": 18,\n \"frozen_stages\": \"all\"}");
        assert_eq!(depth.line(), 2, "{depth}");
    }

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

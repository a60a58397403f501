//! Backbones and necks: ResNet, ResNeXt, MobileNetV2, feature pyramid network, normalisation,
//! pretrained weights.
//!
//! A [`Backbone`] turns images `[B, 3, H, W]` into maps of falling resolution, a [`Fpn`] turns those
//! into a pyramid of equal width, and [`FeatureSpec`] says what each map looks like. Parameter
//! names are those of the reference state dicts (`layer1.0.conv1.weight`, `bn1.running_mean`,
//! `lateral_convs.0.conv.bias`), so that [`weights`] needs no table of names.

mod backbone;
mod config;
mod conv_module;
mod conv_norm;
mod convolution;
mod features;
mod fpn;
mod layer_info;
mod mobilenet_v2;
mod norm;
mod resnet;
pub mod weights;

pub use aweigh_conv::Activation;
pub use backbone::{Backbone, BackboneConfig};
pub use config::ConfigError;
pub use conv_module::{ConvBias, ConvModule, ConvModuleConfig};
pub use conv_norm::conv_norm;
pub use convolution::{Convolution, ConvolutionConfig, DcnKind, Deformation};
pub use features::FeatureSpec;
pub use fpn::{ExtraLevels, Fpn, FpnConfig, FpnPlan, Upsampling};
pub use layer_info::{LayerInfo, LayerKind};
pub use mobilenet_v2::{ElementKind, ElementPlan, InvertedResidualPlan, MobileNetV2Config};
pub use norm::{Affine, EPSILON, Norm, NormConfig, RunningStatistic};
pub use resnet::{BlockPlan, DcnConfig, Depth, ResNetConfig, STEM_POOL, Style};

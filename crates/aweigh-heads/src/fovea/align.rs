//! Features that move to where the predicted box is (Kong et al., section III-E).

use aweigh_backbone::LayerInfo;
use aweigh_conv::{Activation, convolve, relu};
use aweigh_deform_conv::{DeformConv2d, DeformConv2dConfig};
use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{Initializer, PaddingConfig2d};
use burn::tensor::{Device, Tensor};

use crate::init::WEIGHT_STD;

/// Standard deviation of the weights that make offsets.
const OFFSET_STD: f64 = 0.1;

/// Values of an offset field per offset group: two for each tap of a 3x3 kernel.
const OFFSETS: usize = 2 * 3 * 3;

/// Largest logarithm of a distance. `exp` of an unbounded prediction overflows to infinity, whose
/// gradient is not a number; e^18 base edges is beyond every image.
pub const MAX_LOG_DISTANCE: f32 = 18.0;

/// Shape of a [`FeatureAlign`].
#[derive(Debug, Clone, Copy)]
pub(super) struct FeatureAlignConfig {
    /// Channels in and out.
    pub(super) channels: usize,
    /// Groups of channels that share one field of offsets.
    pub(super) deform_groups: usize,
}

/// `relu(deform_conv(x, conv_offset(exp(bbox_pred))))`: a deformable 3x3 convolution whose taps
/// follow the predicted distances.
#[derive(Module, Debug)]
pub(super) struct FeatureAlign {
    conv_offset: Conv2d,
    conv_adaption: DeformConv2d,
}

impl FeatureAlignConfig {
    /// Weights of the offsets from N(0, 0.1), of the features from N(0, 0.01).
    pub(super) fn init(&self, device: &Device) -> FeatureAlign {
        let adaption = DeformConv2dConfig::new([self.channels; 2], [3, 3])
            .with_padding([1, 1])
            .with_offset_groups(self.deform_groups)
            .with_bias(false)
            .with_initializer(normal(WEIGHT_STD));
        FeatureAlign {
            conv_offset: self.offset().init(device),
            conv_adaption: adaption.init(device),
        }
    }

    /// Its layers for a map of `[height, width]`, under the module path `name`.
    pub(super) fn layers(&self, name: &str, size: [usize; 2]) -> Vec<LayerInfo> {
        // The deformable convolution has the weights and the products of a plain one.
        let adaption = Conv2dConfig::new([self.channels; 2], [3, 3])
            .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
            .with_bias(false);
        vec![
            LayerInfo::conv(format!("{name}.conv_offset"), &self.offset(), size),
            LayerInfo::conv(format!("{name}.conv_adaption"), &adaption, size),
        ]
    }

    fn offset(&self) -> Conv2dConfig {
        Conv2dConfig::new([4, self.deform_groups * OFFSETS], [1, 1])
            .with_bias(false)
            .with_initializer(normal(OFFSET_STD))
    }
}

fn normal(std: f64) -> Initializer {
    Initializer::Normal { mean: 0.0, std }
}

impl FeatureAlign {
    /// Aligns the features `x` `[B, C, H, W]` with the boxes of `bbox_pred` `[B, 4, H, W]`,
    /// logarithms of distances. The gradient reaches both.
    pub(super) fn forward(&self, x: Tensor<4>, bbox_pred: Tensor<4>) -> Tensor<4> {
        let distances = bbox_pred.clamp_max(MAX_LOG_DISTANCE).exp();
        let offset = convolve(&self.conv_offset, distances, Activation::None); // [B, 18 G, H, W]
        relu(self.conv_adaption.forward(x, offset, None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aweigh_testkit::device;

    const CONFIG: FeatureAlignConfig = FeatureAlignConfig {
        channels: 128,
        deform_groups: 64,
    };

    #[test]
    fn offsets_start_ten_times_as_wide_as_other_weights() {
        let align = CONFIG.init(&device());
        let deviation = |weight: Tensor<4>| -> f32 {
            let square: f32 = (weight.clone() * weight).mean().into_scalar();
            square.sqrt()
        };
        // Five thousand samples: four percent is four standard errors.
        let offset = deviation(align.conv_offset.weight.val());
        assert!((offset - 0.1).abs() < 4e-3, "{offset}");
        // A hundred and fifty thousand: one percent is five.
        let adaption = deviation(align.conv_adaption.weight.val());
        assert!((adaption - 0.01).abs() < 1e-4, "{adaption}");
    }

    #[test]
    fn a_distance_without_bound_keeps_the_gradient_finite() {
        let device = device().autodiff();
        let align = FeatureAlignConfig {
            channels: 4,
            deform_groups: 2,
        };
        let x = Tensor::<4>::ones([1, 4, 2, 2], &device).require_grad();
        let pred = Tensor::<4>::full([1, 4, 2, 2], 1e4, &device).require_grad();
        let out = align.init(&device).forward(x, pred.clone());
        let slope = pred.grad(&out.sum().backward()).expect("a gradient");
        assert!(slope.sum().into_scalar::<f32>().is_finite());
    }
}

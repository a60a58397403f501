//! Initial values that heads share.

use burn::module::Param;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{Initializer, PaddingConfig2d};
use burn::tensor::{Device, Tensor};

/// Standard deviation of every convolution weight of a head (RetinaNet, section 4.1).
pub(crate) const WEIGHT_STD: f64 = 0.01;

/// Probability that a location is an object at the start of training (RetinaNet, section 3.3).
const PRIOR_PROBABILITY: f64 = 0.01;

/// Bias whose sigmoid is the prior probability: `-ln((1 - p) / p)`, about -4.595.
pub(crate) fn prior_bias() -> f64 {
    -((1.0 - PRIOR_PROBABILITY) / PRIOR_PROBABILITY).ln()
}

/// A 3x3 convolution that makes predictions: weights from N(0, 0.01).
pub(crate) fn prediction(channels: [usize; 2]) -> Conv2dConfig {
    Conv2dConfig::new(channels, [3, 3])
        .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
        .with_initializer(Initializer::Normal {
            mean: 0.0,
            std: WEIGHT_STD,
        })
}

/// Builds a [`prediction`] convolution with a constant bias.
pub(crate) fn with_bias(config: &Conv2dConfig, bias: f64, device: &Device) -> Conv2d {
    let mut conv = config.init(device);
    // The initializer fills the bias too.
    let value = Tensor::full([config.channels[1]], bias, device);
    conv.bias = Some(Param::from_tensor(value));
    conv
}

//! The operators by Burn's own, on any device: what other devices run, and what tests compare with.
//!
//! Each takes and returns what the function of the same name at the top of this crate does.

use burn::tensor::ops::{InterpolateMode, InterpolateOptions, MaxPoolOptions};
use burn::tensor::{Tensor, module};

use crate::activation::activate;
use crate::precision::widen;
use crate::{BatchNorm, BatchNormalised, Conv2dOptions, GroupNorm, MaxPool};

/// [`conv2d`](crate::conv2d).
pub fn conv2d(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    options: Conv2dOptions,
) -> Tensor<4> {
    let y = module::conv2d(x, weight, bias, options.conv);
    activate(y, options.activation)
}

/// [`group_norm`](crate::group_norm).
///
/// The centred map is the only one kept for the backward pass: scale and shift are folded into one
/// factor per image and channel before they meet it.
pub fn group_norm(x: Tensor<4>, weight: Tensor<1>, bias: Tensor<1>, norm: GroupNorm) -> Tensor<4> {
    let [batch, channels, height, width] = x.dims();
    let dtype = x.dtype();
    let groups = norm.groups;
    let wide = channels / groups;
    let x = widen(x).reshape([batch, groups, wide * height * width]);
    let centred = x.clone() - x.mean_dim(2); // [B, G, C/G * H * W]
    let variance = (centred.clone() * centred.clone()).mean_dim(2); // [B, G, 1]
    let weight = weight.reshape([1, groups, wide]);
    let scale = (variance + norm.epsilon).sqrt().recip() * weight; // [B, G, C/G]
    let y = centred.reshape([batch, channels, height * width])
        * scale.reshape([batch, channels, 1])
        + bias.reshape([1, channels, 1]); // [B, C, H * W]
    let y = y.reshape([batch, channels, height, width]).cast(dtype);
    activate(y, norm.activation)
}

/// [`batch_norm`](crate::batch_norm).
pub fn batch_norm(
    x: Tensor<4>,
    weight: Tensor<1>,
    bias: Tensor<1>,
    norm: BatchNorm,
) -> BatchNormalised {
    let dtype = x.dtype();
    let result = module::batch_norm_train(widen(x), weight, bias, norm.epsilon);
    BatchNormalised {
        output: activate(result.output.cast(dtype), norm.activation),
        mean: result.mean.without_autodiff(),
        variance: result.variance.without_autodiff(),
    }
}

/// [`max_pool2d`](crate::max_pool2d).
pub fn max_pool2d(x: Tensor<4>, pool: MaxPool) -> Tensor<4> {
    let options = MaxPoolOptions::new(pool.kernel)
        .with_stride(pool.stride)
        .with_padding(pool.padding);
    module::max_pool2d(x, options)
}

/// [`upsample_add`](crate::upsample_add).
pub fn upsample_add(fine: Tensor<4>, coarse: Tensor<4>) -> Tensor<4> {
    let [_, _, height, width] = fine.dims();
    let options = InterpolateOptions::new(InterpolateMode::Nearest)
        .with_align_corners(false)
        .with_output_size([height, width]);
    fine + module::interpolate(coarse, options)
}

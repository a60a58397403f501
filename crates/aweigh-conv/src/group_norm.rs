//! Group normalisation.

use burn::backend::Dispatch;
use burn::tensor::Tensor;

use crate::activation::Activation;
use crate::choice::is_ours;
use crate::ops::{GroupNormCall, LayerOps};
use crate::plain;

/// Options of a group normalisation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GroupNorm {
    /// Groups of neighbouring channels, each normalised on its own.
    pub groups: usize,
    /// Added to a variance before its square root.
    pub epsilon: f64,
    /// What follows.
    pub activation: Activation,
    /// The layer in the [profile](crate::profile), the number of its weight's id.
    pub layer: Option<u64>,
}

/// `activation((x - mean) / sqrt(variance + epsilon) * weight + bias)`, with the mean and the biased
/// variance of every image and group of channels (Wu and He, 2018).
///
/// # Shapes
///
/// `x` and the result are `[B, C, H, W]`, `weight` and `bias` are `[C]`.
///
/// # Panics
///
/// When the groups do not divide the channels.
pub fn group_norm(x: Tensor<4>, weight: Tensor<1>, bias: Tensor<1>, norm: GroupNorm) -> Tensor<4> {
    if !is_ours(&x) {
        return plain::group_norm(x, weight, bias, norm);
    }
    let call = GroupNormCall {
        options: norm,
        maps: vec![x.dims()],
    };
    let (weight, bias) = (weight.into_dispatch(), bias.into_dispatch());
    let y = Dispatch::group_norm(x.into_dispatch(), weight, bias, call);
    Tensor::from_dispatch(y)
}

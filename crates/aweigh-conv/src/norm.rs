//! Group and batch normalisation.

use burn::backend::Dispatch;
use burn::tensor::Tensor;

use crate::activation::Activation;
use crate::choice::is_ours;
use crate::kernels::Over;
use crate::ops::{LayerOps, NormCall};
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

impl GroupNorm {
    /// The call of the operator for maps of these shapes, `[B, C, H, W]`.
    pub(crate) fn call(&self, maps: Vec<[usize; 4]>) -> NormCall {
        NormCall {
            over: Over::Groups(self.groups),
            epsilon: self.epsilon,
            activation: self.activation,
            layer: self.layer,
            maps,
        }
    }
}

/// `activation((x - mean) / sqrt(variance + epsilon) * weight + bias)`, with the mean and the biased
/// variance of every image and group of channels (Wu and He, 2018). Maps narrower than `f32` are
/// normalised in `f32`.
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
    let call = norm.call(vec![x.dims()]);
    let (y, _) = dispatch(x, weight, bias, call);
    y
}

/// Options of a batch normalisation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BatchNorm {
    /// Added to a variance before its square root.
    pub epsilon: f64,
    /// What follows.
    pub activation: Activation,
    /// The layer in the [profile](crate::profile), the number of its weight's id.
    pub layer: Option<u64>,
}

/// What a batch normalisation gives.
#[derive(Debug, Clone)]
pub struct BatchNormalised {
    /// The normalised map, `[B, C, H, W]`.
    pub output: Tensor<4>,
    /// Mean of each channel, `[C]`, without autodiff.
    pub mean: Tensor<1>,
    /// Biased variance of each channel, `[C]`, without autodiff.
    pub variance: Tensor<1>,
}

/// `activation((x - mean) / sqrt(variance + epsilon) * weight + bias)`, with the mean and the biased
/// variance of every channel over all images (Ioffe and Szegedy, 2015). Maps narrower than `f32` are
/// normalised in `f32`.
///
/// # Shapes
///
/// `x` is `[B, C, H, W]`, `weight` and `bias` are `[C]`.
///
/// # Panics
///
/// When the shapes do not fit each other.
pub fn batch_norm(
    x: Tensor<4>,
    weight: Tensor<1>,
    bias: Tensor<1>,
    norm: BatchNorm,
) -> BatchNormalised {
    if !is_ours(&x) {
        return plain::batch_norm(x, weight, bias, norm);
    }
    let channels = x.dims()[1];
    let call = NormCall {
        over: Over::Batch,
        epsilon: norm.epsilon,
        activation: norm.activation,
        layer: norm.layer,
        maps: vec![x.dims()],
    };
    let (output, statistics) = dispatch(x, weight, bias, call);
    let statistics = statistics.without_autodiff();
    let statistic = |i: usize| statistics.clone().narrow(1, i, 1).reshape([channels]);
    BatchNormalised {
        output,
        mean: statistic(0),
        variance: statistic(1),
    }
}

/// Runs the operator: the normalised maps, and the mean and variance of every set, `[sets, 2]`.
pub(crate) fn dispatch<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<1>,
    bias: Tensor<1>,
    call: NormCall,
) -> (Tensor<D>, Tensor<2>) {
    let (weight, bias) = (weight.into_dispatch(), bias.into_dispatch());
    let (y, statistics) = Dispatch::norm(x.into_dispatch(), weight, bias, call);
    (Tensor::from_dispatch(y), Tensor::from_dispatch(statistics))
}

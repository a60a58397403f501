//! Convolution of tensors.

use burn::backend::Dispatch;
use burn::nn::PaddingConfig2d;
use burn::nn::conv::Conv2d;
use burn::tensor::Tensor;
use burn::tensor::ops::ConvOptions;

use crate::ConvSizes;
use crate::activation::Activation;
use crate::choice::{algorithm, is_ours};
use crate::ops::{ConvCall, LayerOps};
use crate::plain;
use crate::precision::cast_like;

/// How a map is convolved.
#[derive(Debug, Clone)]
pub struct Conv2dOptions {
    /// Stride, padding, dilation and groups.
    pub conv: ConvOptions<2>,
    /// What follows the sum and the bias.
    pub activation: Activation,
    /// The layer in the [profile](crate::profile), the number of its weight's id.
    pub layer: Option<u64>,
}

impl Conv2dOptions {
    /// The options of a module.
    ///
    /// # Panics
    ///
    /// When its padding depends on the map (`Same`).
    pub fn of(conv: &Conv2d, activation: Activation) -> Self {
        let padding = match conv.padding {
            PaddingConfig2d::Valid => [(0, 0); 2],
            PaddingConfig2d::Explicit(top, left, bottom, right) => [(top, bottom), (left, right)],
            PaddingConfig2d::Same => panic!("a convolution needs explicit padding"),
        };
        let conv_options =
            ConvOptions::new_with_padding(conv.stride, padding, conv.dilation, conv.groups);
        Self {
            conv: conv_options,
            activation,
            layer: Some(conv.weight.id.val()),
        }
    }

    /// The call of the operator for maps of these sizes.
    pub(crate) fn call(&self, sizes: Vec<ConvSizes>) -> ConvCall {
        ConvCall {
            sizes,
            activation: self.activation,
            algorithm: algorithm(),
            layer: self.layer,
        }
    }
}

/// `activation(conv(x, weight) + bias)`; on the CPU one operator, with the activation in its
/// write-back. Weight and bias are cast to the type of `x`.
///
/// # Shapes
///
/// `x` is `[B, C, H, W]`, `weight` is `[K, C / groups, kh, kw]`, `bias` is `[K]`, the result is
/// `[B, K, H', W']` with `H' = (H + padding - dilation * (kh - 1) - 1) / stride + 1`.
///
/// # Panics
///
/// When the shapes do not fit each other.
pub fn conv2d(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    options: Conv2dOptions,
) -> Tensor<4> {
    let ours = is_ours(&x);
    let sizes = ours
        .then(|| sizes_of(x.dims(), &weight, &options.conv))
        .flatten();
    let Some(sizes) = sizes else {
        let weight = cast_like(weight, &x);
        let bias = bias.map(|bias| cast_like(bias, &x));
        return plain::conv2d(x, weight, bias, options);
    };
    dispatch(x, weight, bias, options.call(vec![sizes]))
}

/// Runs the operator.
pub(crate) fn dispatch<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    call: ConvCall,
) -> Tensor<D> {
    let (x, weight) = (x.into_dispatch(), weight.into_dispatch());
    let out = match bias {
        Some(bias) => {
            let channels = [call.sizes[0].channels_out];
            assert_eq!(bias.dims(), channels, "bias of a convolution");
            Dispatch::conv_bias(x, weight, bias.into_dispatch(), call)
        }
        None => Dispatch::conv(x, weight, call),
    };
    Tensor::from_dispatch(out)
}

/// The sizes for a map of shape `x`, if the padding is as wide on both sides.
pub(crate) fn sizes_of(
    x: [usize; 4],
    weight: &Tensor<4>,
    options: &ConvOptions<2>,
) -> Option<ConvSizes> {
    let [batch, channels_in, height, width] = x;
    let [channels_out, seen, kernel_height, kernel_width] = weight.dims();
    let groups = options.groups;
    assert!(
        groups > 0 && channels_in == seen * groups && channels_out.is_multiple_of(groups),
        "convolution of {x:?} with {:?} in {groups} groups",
        weight.dims()
    );
    let [(top, bottom), (left, right)] = options.padding;
    let sizes = ConvSizes {
        batch,
        channels_in,
        channels_out,
        input: [height, width],
        kernel: [kernel_height, kernel_width],
        stride: options.stride,
        padding: [top, left],
        dilation: options.dilation,
        groups,
    };
    if top != bottom || left != right {
        return None;
    }
    sizes.check();
    Some(sizes)
}

//! Deformable convolutions that predict their own offsets, as in DCN backbones.

use aweigh_conv::{Activation, cast_like, convolve};
use burn::module::{Initializer, Module, Param};
use burn::nn::PaddingConfig2d;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::tensor::{Device, Tensor, activation::sigmoid};

use crate::module::{DeformConv2dConfig, Parameters};
use crate::{DeformConvInput, DeformConvOptions, deform_conv2d};

/// Deformable convolution v1 whose offsets are a convolution of its input.
///
/// `conv_offset` starts at zero, so that a new layer equals the plain convolution. Parameter names
/// and layout are those of mmcv 2.x `DeformConv2dPack` (Dai et al., 2017).
#[derive(Module, Debug)]
pub struct DeformConv2dPack {
    /// Kernel, `[C_out, C_in / groups, kh, kw]`.
    pub weight: Param<Tensor<4>>,
    /// Bias, `[C_out]`.
    pub bias: Option<Param<Tensor<1>>>,
    /// Predicts the offsets, `2 * G * kh * kw` channels for G offset groups.
    pub conv_offset: Conv2d,
    /// Options of the operator.
    #[module(skip)]
    pub options: DeformConvOptions,
}

/// Deformable convolution v2 whose offsets and masks are a convolution of its input.
///
/// `conv_offset` starts at zero: no displacement, and every mask is `sigmoid(0) = 0.5`, so that a
/// new layer gives half of the plain convolution (before the bias). Parameter names and layout
/// are those of mmcv 2.x `ModulatedDeformConv2dPack` (Zhu et al., 2019).
#[derive(Module, Debug)]
pub struct ModulatedDeformConv2dPack {
    /// Kernel, `[C_out, C_in / groups, kh, kw]`.
    pub weight: Param<Tensor<4>>,
    /// Bias, `[C_out]`.
    pub bias: Option<Param<Tensor<1>>>,
    /// Predicts offsets and masks, `3 * G * kh * kw` channels for G offset groups: the first two
    /// thirds are the offsets, the last third the masks before their sigmoid.
    pub conv_offset: Conv2d,
    /// Options of the operator.
    #[module(skip)]
    pub options: DeformConvOptions,
}

impl DeformConv2dConfig {
    /// Builds the layer of v1 that predicts its own offsets.
    ///
    /// # Panics
    ///
    /// When the groups do not divide the channels.
    pub fn init_pack(&self, device: &Device) -> DeformConv2dPack {
        let Parameters { weight, bias } = self.parameters(device);
        DeformConv2dPack {
            weight,
            bias,
            conv_offset: self.offset_conv().init(device),
            options: self.options(),
        }
    }

    /// Builds the layer of v2 that predicts its own offsets and masks.
    ///
    /// # Panics
    ///
    /// When the groups do not divide the channels.
    pub fn init_modulated_pack(&self, device: &Device) -> ModulatedDeformConv2dPack {
        let Parameters { weight, bias } = self.parameters(device);
        ModulatedDeformConv2dPack {
            weight,
            bias,
            conv_offset: self.offset_and_mask_conv().init(device),
            options: self.options(),
        }
    }

    /// The convolution that predicts the offsets of v1.
    pub fn offset_conv(&self) -> Conv2dConfig {
        self.predictor(2 * self.taps())
    }

    /// The convolution that predicts offsets and masks of v2.
    pub fn offset_and_mask_conv(&self) -> Conv2dConfig {
        self.predictor(3 * self.taps())
    }

    /// A convolution of the same windows, which starts at zero.
    fn predictor(&self, channels: usize) -> Conv2dConfig {
        let [vertical, horizontal] = self.padding;
        let padding = PaddingConfig2d::Explicit(vertical, horizontal, vertical, horizontal);
        Conv2dConfig::new([self.channels[0], channels], self.kernel_size)
            .with_stride(self.stride)
            .with_padding(padding)
            .with_dilation(self.dilation)
            .with_initializer(Initializer::Zeros)
    }
}

impl DeformConv2dPack {
    /// Predicts the offsets and applies the convolution.
    ///
    /// # Shapes
    ///
    /// `[B, C_in, H, W]` to `[B, C_out, H', W']`.
    ///
    /// # Panics
    ///
    /// When the input's channels are not `C_in` or the padded input is smaller than the kernel.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let weight = cast_like(self.weight.val(), &x);
        let bias = self.bias.as_ref().map(|bias| cast_like(bias.val(), &x));
        deform_conv2d(self.input(x), weight, bias, self.options)
    }

    /// The operator's input for a map `[B, C_in, H, W]`: the map and its predicted offsets.
    pub fn input(&self, x: Tensor<4>) -> DeformConvInput {
        let offset = convolve(&self.conv_offset, x.clone(), Activation::None); // [B, 2 * G * kh * kw, H', W']
        DeformConvInput {
            x,
            offset,
            mask: None,
        }
    }
}

impl ModulatedDeformConv2dPack {
    /// Predicts offsets and masks and applies the convolution.
    ///
    /// # Shapes
    ///
    /// `[B, C_in, H, W]` to `[B, C_out, H', W']`.
    ///
    /// # Panics
    ///
    /// When the input's channels are not `C_in` or the padded input is smaller than the kernel.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let weight = cast_like(self.weight.val(), &x);
        let bias = self.bias.as_ref().map(|bias| cast_like(bias.val(), &x));
        deform_conv2d(self.input(x), weight, bias, self.options)
    }

    /// The operator's input for a map `[B, C_in, H, W]`: the map, its predicted offsets and masks.
    pub fn input(&self, x: Tensor<4>) -> DeformConvInput {
        let predicted = convolve(&self.conv_offset, x.clone(), Activation::None); // [B, 3 * G * kh * kw, H', W']
        let taps = predicted.dims()[1] / 3;
        let mask = sigmoid(predicted.clone().narrow(1, 2 * taps, taps));
        DeformConvInput {
            x,
            offset: predicted.narrow(1, 0, 2 * taps),
            mask: Some(mask),
        }
    }
}

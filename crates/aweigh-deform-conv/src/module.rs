//! Deformable convolution as a layer.

use aweigh_conv::cast_like;
use burn::config::Config;
use burn::module::{Initializer, Module, Param};
use burn::tensor::{Device, Tensor};

use crate::{DeformConvInput, DeformConvOptions, deform_conv2d};

/// Options of a [`DeformConv2d`], and of the layers that predict their own offsets:
/// [`DeformConv2dPack`](crate::DeformConv2dPack) and
/// [`ModulatedDeformConv2dPack`](crate::ModulatedDeformConv2dPack).
///
/// Pairs are (vertical, horizontal).
#[derive(Config, Debug)]
pub struct DeformConv2dConfig {
    /// Channels in and out.
    pub channels: [usize; 2],
    /// Height and width of the kernel.
    pub kernel_size: [usize; 2],
    /// Step between sampling windows, in input pixels.
    #[config(default = "[1, 1]")]
    pub stride: [usize; 2],
    /// Zeros around the input on each side, in pixels.
    #[config(default = "[0, 0]")]
    pub padding: [usize; 2],
    /// Distance between neighbouring taps before displacement, in pixels.
    #[config(default = "[1, 1]")]
    pub dilation: [usize; 2],
    /// Groups of input and output channels that only see each other.
    #[config(default = "1")]
    pub groups: usize,
    /// Groups of input channels that share one field of offsets (mmcv's `deform_groups`).
    #[config(default = "1")]
    pub offset_groups: usize,
    /// Whether a bias is added to the output. On by default, as in Burn's convolutions; a layer
    /// followed by a normalisation needs none.
    #[config(default = true)]
    pub bias: bool,
    /// Start of weight and bias; the default is that of Burn's convolutions.
    #[config(
        default = "Initializer::KaimingUniform { gain: 1.0 / 3.0_f64.sqrt(), fan_out_only: false }"
    )]
    pub initializer: Initializer,
    /// Largest scratch memory of one call in bytes, 64 MiB by default; see
    /// [`DeformConvOptions::column_budget`].
    #[config(default = "crate::DEFAULT_COLUMN_BUDGET")]
    pub column_budget: usize,
}

/// Deformable convolution whose offsets, and masks if it is modulated, the caller provides.
#[derive(Module, Debug)]
pub struct DeformConv2d {
    /// Kernel, `[C_out, C_in / groups, kh, kw]`.
    pub weight: Param<Tensor<4>>,
    /// Bias, `[C_out]`.
    pub bias: Option<Param<Tensor<1>>>,
    /// Options of the operator.
    #[module(skip)]
    pub options: DeformConvOptions,
}

/// Trained parameters of a deformable convolution.
pub(crate) struct Parameters {
    pub(crate) weight: Param<Tensor<4>>,
    pub(crate) bias: Option<Param<Tensor<1>>>,
}

impl DeformConv2dConfig {
    /// Builds the module.
    ///
    /// # Panics
    ///
    /// When the groups do not divide the channels.
    pub fn init(&self, device: &Device) -> DeformConv2d {
        let Parameters { weight, bias } = self.parameters(device);
        DeformConv2d {
            weight,
            bias,
            options: self.options(),
        }
    }

    /// The options of the operator.
    pub fn options(&self) -> DeformConvOptions {
        DeformConvOptions {
            stride: self.stride,
            padding: self.padding,
            dilation: self.dilation,
            weight_groups: self.groups,
            offset_groups: self.offset_groups,
            column_budget: self.column_budget,
        }
    }

    /// Taps of the kernel, over all offset groups.
    pub(crate) fn taps(&self) -> usize {
        self.offset_groups * self.kernel_size.iter().product::<usize>()
    }

    pub(crate) fn parameters(&self, device: &Device) -> Parameters {
        self.check();
        let [channels_in, channels_out] = self.channels;
        let [height, width] = self.kernel_size;
        let channels_seen = channels_in / self.groups;
        let fan_in = channels_seen * height * width;
        let fan_out = channels_out / self.groups * height * width;
        let shape = [channels_out, channels_seen, height, width];
        let weight = self
            .initializer
            .init_with(shape, Some(fan_in), Some(fan_out), device);
        let bias = || {
            let shape = [channels_out];
            self.initializer
                .init_with(shape, Some(fan_in), Some(fan_out), device)
        };
        Parameters {
            weight,
            bias: self.bias.then(bias),
        }
    }

    fn check(&self) {
        let divided =
            |count: usize, groups: usize| groups > 0 && count.is_multiple_of(groups) && count > 0;
        let Self {
            channels,
            groups,
            offset_groups,
            ..
        } = self;
        assert!(
            channels.iter().all(|count| divided(*count, *groups)),
            "deformable convolution: {groups} groups do not divide the channels {channels:?}"
        );
        assert!(
            divided(channels[0], *offset_groups),
            "deformable convolution: {offset_groups} offset groups do not divide the {} input channels",
            channels[0]
        );
    }
}

impl DeformConv2d {
    /// Applies the convolution; see [`deform_conv2d`]. Everything is cast to the type of `x`;
    /// positions are computed in `f32` nevertheless.
    ///
    /// # Shapes
    ///
    /// With G offset groups: `x` is `[B, C_in, H, W]`, `offset` `[B, 2 * G * kh * kw, H', W']`,
    /// `mask` `[B, G * kh * kw, H', W']`, the result `[B, C_out, H', W']`.
    ///
    /// # Panics
    ///
    /// When shapes break a rule; the message gives all of them.
    pub fn forward(&self, x: Tensor<4>, offset: Tensor<4>, mask: Option<Tensor<4>>) -> Tensor<4> {
        let offset = cast_like(offset, &x);
        let mask = mask.map(|mask| cast_like(mask, &x));
        let weight = cast_like(self.weight.val(), &x);
        let bias = self.bias.as_ref().map(|bias| cast_like(bias.val(), &x));
        let input = DeformConvInput { x, offset, mask };
        deform_conv2d(input, weight, bias, self.options)
    }
}

//! A convolution, plain or deformable.

use aweigh_conv::{Activation, Conv2dOptions, Maps, activate, cast_like, convolve};
use aweigh_deform_conv::{
    DeformConv2dConfig, DeformConv2dPack, DeformConvInput, ModulatedDeformConv2dPack, deform_conv2d,
};
use burn::module::{Initializer, Module, Param};
use burn::nn::PaddingConfig2d;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::LayerInfo;

/// Version of deformable convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DcnKind {
    /// Taps are displaced (Dai et al., 2017).
    V1,
    /// Taps are displaced and weighted (Zhu et al., 2019).
    V2,
}

/// How the taps of a convolution move; it predicts the offsets from its own input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deformation {
    /// Version.
    pub kind: DcnKind,
    /// Groups of input channels that share one field of offsets.
    pub groups: usize,
}

/// A convolution, plain or deformable, with the parameter names of the reference state dicts:
/// `weight`, `bias`, and `conv_offset.weight`, `conv_offset.bias` where taps move.
#[derive(Module, Debug)]
pub enum Convolution {
    /// Taps on the grid.
    Plain(Conv2d),
    /// Deformable convolution v1.
    Deformable(DeformConv2dPack),
    /// Deformable convolution v2.
    Modulated(ModulatedDeformConv2dPack),
}

/// A convolution before it exists: what a plan of a network is made of.
#[derive(Debug, Clone)]
pub struct ConvolutionConfig {
    /// Channels in and out.
    pub channels: [usize; 2],
    /// Height and width of the kernel.
    pub kernel: [usize; 2],
    /// Step of the kernel.
    pub stride: usize,
    /// Distance between neighbouring taps, in steps of the map.
    pub dilation: usize,
    /// Groups of input and output channels that only see each other.
    pub groups: usize,
    /// Whether there is a bias.
    pub bias: bool,
    /// How its taps move, if they do.
    pub deformation: Option<Deformation>,
    /// Start of the weight.
    initializer: Initializer,
}

impl ConvolutionConfig {
    /// A plain convolution without bias that keeps the size of its map at stride 1, for odd sides
    /// of the kernel.
    pub(crate) fn new(channels: [usize; 2], kernel: [usize; 2], initializer: Initializer) -> Self {
        Self {
            channels,
            kernel,
            stride: 1,
            dilation: 1,
            groups: 1,
            bias: false,
            deformation: None,
            initializer,
        }
    }

    pub(crate) fn with_stride(self, stride: usize) -> Self {
        Self { stride, ..self }
    }

    pub(crate) fn with_dilation(self, dilation: usize) -> Self {
        Self { dilation, ..self }
    }

    pub(crate) fn with_groups(self, groups: usize) -> Self {
        Self { groups, ..self }
    }

    pub(crate) fn with_bias(self, bias: bool) -> Self {
        Self { bias, ..self }
    }

    pub(crate) fn with_deformation(self, deformation: Option<Deformation>) -> Self {
        Self {
            deformation,
            ..self
        }
    }

    /// Channels of the output.
    pub(crate) fn outputs(&self) -> usize {
        self.channels[1]
    }

    /// Builds the module: weight from the initializer, bias 0, no displacement.
    ///
    /// # Panics
    ///
    /// When groups do not divide the channels.
    pub(crate) fn init(&self, device: &Device) -> Convolution {
        let bias = || Initializer::Zeros.init([self.outputs()], device);
        let bias = self.bias.then(bias);
        let Some(Deformation { kind, groups }) = self.deformation else {
            let conv = self.plain().with_bias(false).init(device);
            return Convolution::Plain(Conv2d { bias, ..conv });
        };
        let config = self.deformable(groups).with_bias(false);
        match kind {
            DcnKind::V1 => Convolution::Deformable(DeformConv2dPack {
                bias,
                ..config.init_pack(device)
            }),
            DcnKind::V2 => Convolution::Modulated(ModulatedDeformConv2dPack {
                bias,
                ..config.init_modulated_pack(device)
            }),
        }
    }

    /// Height and width of the output for a map of `[height, width]`.
    pub(crate) fn output(&self, input: [usize; 2]) -> [usize; 2] {
        LayerInfo::conv("", &self.plain(), input).size()
    }

    /// Its layers for a map of `[height, width]`, under the module path `name`; the convolution
    /// itself is the first.
    pub(crate) fn layers(&self, name: &str, input: [usize; 2]) -> Vec<LayerInfo> {
        let mut layers = vec![LayerInfo::conv(name, &self.plain(), input)];
        if let Some(Deformation { kind, groups }) = self.deformation {
            let config = self.deformable(groups);
            let offset = match kind {
                DcnKind::V1 => config.offset_conv(),
                DcnKind::V2 => config.offset_and_mask_conv(),
            };
            let name = format!("{name}.conv_offset");
            layers.push(LayerInfo::conv(name, &offset, input));
        }
        layers
    }

    fn plain(&self) -> Conv2dConfig {
        let [vertical, horizontal] = self.padding();
        let padding = PaddingConfig2d::Explicit(vertical, horizontal, vertical, horizontal);
        Conv2dConfig::new(self.channels, self.kernel)
            .with_stride([self.stride; 2])
            .with_padding(padding)
            .with_dilation([self.dilation; 2])
            .with_groups(self.groups)
            .with_bias(self.bias)
            .with_initializer(self.initializer.clone())
    }

    fn deformable(&self, offset_groups: usize) -> DeformConv2dConfig {
        DeformConv2dConfig::new(self.channels, self.kernel)
            .with_stride([self.stride; 2])
            .with_padding(self.padding())
            .with_dilation([self.dilation; 2])
            .with_groups(self.groups)
            .with_offset_groups(offset_groups)
            .with_bias(self.bias)
            .with_initializer(self.initializer.clone())
    }

    /// Zeros above and below, and left and right of the map: `dilation * floor(side / 2)`.
    pub fn padding(&self) -> [usize; 2] {
        self.kernel.map(|side| self.dilation * (side / 2))
    }
}

impl Convolution {
    /// Kernel, `[C_out, C_in / groups, kh, kw]`.
    pub fn weight(&self) -> &Param<Tensor<4>> {
        match self {
            Self::Plain(conv) => &conv.weight,
            Self::Deformable(conv) => &conv.weight,
            Self::Modulated(conv) => &conv.weight,
        }
    }

    /// Bias, `[C_out]`.
    pub fn bias(&self) -> Option<&Param<Tensor<1>>> {
        match self {
            Self::Plain(conv) => conv.bias.as_ref(),
            Self::Deformable(conv) => conv.bias.as_ref(),
            Self::Modulated(conv) => conv.bias.as_ref(),
        }
    }

    /// Applies the convolution and an activation.
    ///
    /// # Shapes
    ///
    /// Every map is `[B, C_in, H, W]`, its result `[B, C_out, H', W']`.
    pub fn forward<M: Maps>(&self, x: M, activation: Activation) -> M {
        match self {
            Self::Plain(conv) => convolve(conv, x, activation),
            Self::Deformable(conv) => x.each(|x| activate(conv.forward(x), activation)),
            Self::Modulated(conv) => x.each(|x| activate(conv.forward(x), activation)),
        }
    }

    /// Applies the convolution with another weight and bias; taps move as by its own parameters.
    pub(crate) fn forward_with<M: Maps>(
        &self,
        x: M,
        weight: Tensor<4>,
        bias: Tensor<1>,
        activation: Activation,
    ) -> M {
        let deformed = |input: DeformConvInput, options| {
            let weight = cast_like(weight.clone(), &input.x);
            let bias = cast_like(bias.clone(), &input.x);
            let y = deform_conv2d(input, weight, Some(bias), options);
            activate(y, activation)
        };
        match self {
            Self::Plain(conv) => {
                let options = Conv2dOptions::of(conv, activation);
                x.conv2d(weight, Some(bias), options)
            }
            Self::Deformable(conv) => x.each(|x| deformed(conv.input(x), conv.options)),
            Self::Modulated(conv) => x.each(|x| deformed(conv.input(x), conv.options)),
        }
    }
}

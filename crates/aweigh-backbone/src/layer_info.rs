//! Parameters and multiply-adds of a network, layer by layer.

use std::fmt;

use burn::nn::PaddingConfig2d::{Explicit, Same, Valid};
use burn::nn::conv::Conv2dConfig;

use crate::norm::Affine;

/// What a layer computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerKind {
    /// Convolution.
    Conv,
    /// Batch or group normalisation.
    Norm,
    /// Max pooling.
    Pool,
    /// Learnable scalars.
    Scale,
}

impl fmt::Display for LayerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Conv => "conv",
            Self::Norm => "norm",
            Self::Pool => "pool",
            Self::Scale => "scale",
        })
    }
}

/// Size and cost of one layer, for one image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerInfo {
    /// Module path, such as `layer1.0.conv1`.
    pub name: String,
    /// What it computes.
    pub kind: LayerKind,
    /// Number of weights and biases; running statistics are not parameters.
    pub params: usize,
    /// Whether training changes them.
    pub trainable: bool,
    /// Multiply-adds of convolutions; elementwise work counts as 0.
    pub macs: u64,
    /// Shape of the output, `[C, H, W]`.
    pub output: [usize; 3],
}

impl LayerInfo {
    /// A trained convolution applied to a map of `[height, width]`.
    pub fn conv(name: impl Into<String>, conv: &Conv2dConfig, input: [usize; 2]) -> Self {
        let [channels_in, channels] = conv.channels;
        let [height, width] = conv_output(conv, input);
        let kernel: usize = conv.kernel_size.iter().product();
        let weights = channels_in / conv.groups * kernel * channels;
        Self {
            name: name.into(),
            kind: LayerKind::Conv,
            params: weights + if conv.bias { channels } else { 0 },
            trainable: true,
            macs: weights as u64 * (height * width) as u64,
            output: [channels, height, width],
        }
    }

    /// A normalisation of a map of `[C, H, W]`, with scale and shift per channel. Frozen ones are
    /// constants, not parameters, as the buffers of torchvision's `FrozenBatchNorm2d`.
    pub fn norm(name: impl Into<String>, map: [usize; 3], affine: Affine) -> Self {
        let trainable = affine == Affine::Trainable;
        Self {
            params: if trainable { 2 * map[0] } else { 0 },
            trainable,
            ..Self::without_params(name, LayerKind::Norm, map)
        }
    }

    /// A pooling whose output is `[C, H, W]`.
    pub fn pool(name: impl Into<String>, output: [usize; 3]) -> Self {
        Self::without_params(name, LayerKind::Pool, output)
    }

    /// Height and width of the output.
    pub fn size(&self) -> [usize; 2] {
        [self.output[1], self.output[2]]
    }

    fn without_params(name: impl Into<String>, kind: LayerKind, output: [usize; 3]) -> Self {
        Self {
            name: name.into(),
            kind,
            params: 0,
            trainable: false,
            macs: 0,
            output,
        }
    }
}

/// Height and width of a convolution's output, in steps of its map.
///
/// # Panics
///
/// When the kernel is larger than the padded input.
fn conv_output(conv: &Conv2dConfig, input: [usize; 2]) -> [usize; 2] {
    let reach = [0, 1].map(|axis| conv.dilation[axis] * (conv.kernel_size[axis] - 1) + 1);
    let padding = match conv.padding {
        Valid => [0, 0],
        Same => reach.map(|reach| reach - 1),
        Explicit(top, left, bottom, right) => [top + bottom, left + right],
    };
    [0, 1].map(|axis| {
        let padded = input[axis] + padding[axis];
        assert!(
            padded >= reach[axis],
            "a kernel that reaches over {reach:?} does not fit a map of {input:?}"
        );
        (padded - reach[axis]) / conv.stride[axis] + 1
    })
}

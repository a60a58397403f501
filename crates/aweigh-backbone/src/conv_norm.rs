//! A convolution and the normalisation behind it, as one.

use aweigh_conv::{Activation, Maps};
use burn::module::Module;
use burn::tensor::Device;

use crate::convolution::{Convolution, ConvolutionConfig};
use crate::norm::{Folded, Norm, NormConfig};

/// How the convolutions of a part of a network start, and their normalisations.
pub(crate) struct Start<'a> {
    pub(crate) norm: &'a NormConfig,
    /// Whether the part is not trained.
    pub(crate) frozen: bool,
    pub(crate) device: &'a Device,
}

impl Start<'_> {
    /// A convolution and its normalisation.
    pub(crate) fn init(&self, conv: &ConvolutionConfig) -> (Convolution, Norm) {
        let channels = conv.outputs();
        let module = conv.init(self.device);
        if self.frozen {
            let norm = self.norm.init_frozen(channels, self.device);
            (module.no_grad(), norm)
        } else {
            (module, self.norm.init(channels, self.device))
        }
    }
}

/// `activation(norm(conv(x)))`, with running statistics folded into the convolution.
///
/// `scale * (w * x + b) + shift = (scale w) * x + (scale b + shift)`, so that frozen batch norm
/// costs no pass over activations and keeps nothing for the backward pass. A deformable convolution
/// is as linear in its weight; what moves its taps stays as it is.
///
/// # Shapes
///
/// Every map is `[B, C_in, H, W]`, its result `[B, C, H', W']`.
pub fn conv_norm<M: Maps>(conv: &Convolution, norm: &Norm, x: M, activation: Activation) -> M {
    let Some(Folded { scale, shift }) = norm.folded() else {
        return norm.forward(conv.forward(x, Activation::None), activation);
    };
    let bias = match conv.bias() {
        Some(bias) => bias.val() * scale.clone() + shift,
        None => shift,
    };
    let channels = scale.dims()[0];
    let weight = conv.weight().val() * scale.reshape([channels, 1, 1, 1]);
    conv.forward_with(x, weight, bias, activation)
}

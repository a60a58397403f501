//! A convolution and the normalisation behind it, as one.

use aweigh_conv::{Activation, Maps};

use crate::convolution::Convolution;
use crate::norm::{Folded, Norm};

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

//! The operator as a Burn backend extension: what a backend has to provide.

#[cfg(feature = "cube")]
use burn::backend::fusion::custom::TensorSpec;
use burn::backend::{Backend, ExtensionType, backend_extension, tensor::FloatTensor};

use crate::options::DeformConvOptions;

/// A tensor argument or result that may be absent.
#[derive(Debug, ExtensionType)]
#[extension_type(fusion: cfg(feature = "cube"))]
pub enum Optional<B: Backend> {
    /// The tensor.
    Present(FloatTensor<B>),
    /// No tensor.
    Absent,
}

/// Gradients of one call, each present if it was asked for.
#[derive(Debug, ExtensionType)]
#[extension_type(fusion: cfg(feature = "cube"))]
pub struct DeformConvGradients<B: Backend> {
    /// With respect to the input, `[B, C, H, W]`.
    #[extension_type]
    pub x: Optional<B>,
    /// With respect to the offset, `[B, 2 * G * kh * kw, H', W']`.
    #[extension_type]
    pub offset: Optional<B>,
    /// With respect to the weight, `[C_out, C / groups, kh, kw]`.
    #[extension_type]
    pub weight: Optional<B>,
    /// With respect to the mask, `[B, G * kh * kw, H', W']`.
    #[extension_type]
    pub mask: Optional<B>,
}

/// Which gradients a backward pass computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// Of the input.
    pub x: bool,
    /// Of the offset.
    pub offset: bool,
    /// Of the weight.
    pub weight: bool,
    /// Of the mask; never without a mask.
    pub mask: bool,
}

/// Deformable convolution on a backend. Users call [`deform_conv2d`](crate::deform_conv2d).
#[backend_extension(
    Flex: cfg(feature = "flex"),
    Cube: cfg(feature = "cube"),
    Fusion: cfg(feature = "cube"),
    Autodiff
)]
pub trait DeformConvOps: Backend {
    /// Convolves without bias. Shapes obey the rules of [`deform_conv2d`](crate::deform_conv2d).
    #[fusion(meta = forward_metadata)]
    fn deform_conv_forward(
        x: FloatTensor<Self>,
        offset: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        #[extension_type] mask: Optional<Self>,
        options: DeformConvOptions,
    ) -> FloatTensor<Self>;

    /// The wanted gradients, given the gradient of the output `[B, C_out, H', W']`.
    #[fusion(meta = backward_metadata)]
    fn deform_conv_backward(
        x: FloatTensor<Self>,
        offset: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        #[extension_type] mask: Optional<Self>,
        grad: FloatTensor<Self>,
        options: DeformConvOptions,
        wanted: Wanted,
    ) -> DeformConvGradients<Self>;
}

#[cfg(feature = "cube")]
fn forward_metadata(
    x: &TensorSpec,
    offset: &TensorSpec,
    weight: &TensorSpec,
    mask: &OptionalMetadata,
    options: &DeformConvOptions,
) -> TensorSpec {
    let mask = match mask {
        OptionalMetadata::Present(mask) => Some(&mask.shape),
        OptionalMetadata::Absent => None,
    };
    let sizes = crate::options::Sizes::new(&x.shape, &offset.shape, &weight.shape, mask, options);
    TensorSpec::new(sizes.output_shape(), x.dtype)
}

#[cfg(feature = "cube")]
fn backward_metadata(
    x: &TensorSpec,
    offset: &TensorSpec,
    weight: &TensorSpec,
    mask: &OptionalMetadata,
    _grad: &TensorSpec,
    _options: &DeformConvOptions,
    wanted: &Wanted,
) -> DeformConvGradientsMetadata {
    let like = |spec: &TensorSpec, wanted: bool| match wanted {
        true => OptionalMetadata::Present(spec.clone()),
        false => OptionalMetadata::Absent,
    };
    DeformConvGradientsMetadata {
        x: like(x, wanted.x),
        offset: like(offset, wanted.offset),
        weight: like(weight, wanted.weight),
        mask: match mask {
            OptionalMetadata::Present(mask) => like(mask, wanted.mask),
            OptionalMetadata::Absent => OptionalMetadata::Absent,
        },
    }
}

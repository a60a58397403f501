//! The operator as a Burn backend extension: what a backend has to provide.

#[cfg(feature = "cube")]
use burn::backend::fusion::custom::TensorSpec;
use burn::backend::{
    Backend, ExtensionType, TensorMetadata, backend_extension, tensor::FloatTensor,
};
use burn::tensor::DType;

use crate::call::{CallShapes, CheckedCall};

/// A tensor argument or result that may be absent.
///
/// Backend extensions take no `Option` of a tensor.
#[derive(Debug, ExtensionType)]
#[extension_type(fusion: cfg(feature = "cube"))]
pub enum Optional<B: Backend> {
    /// The tensor.
    Present(FloatTensor<B>),
    /// No tensor.
    Absent,
}

impl<B: Backend> Optional<B> {
    /// The tensor, or none.
    pub fn as_option(&self) -> Option<&FloatTensor<B>> {
        match self {
            Self::Present(tensor) => Some(tensor),
            Self::Absent => None,
        }
    }

    /// The tensor, or none.
    pub fn into_option(self) -> Option<FloatTensor<B>> {
        match self {
            Self::Present(tensor) => Some(tensor),
            Self::Absent => None,
        }
    }
}

impl<B: Backend> From<Option<FloatTensor<B>>> for Optional<B> {
    fn from(tensor: Option<FloatTensor<B>>) -> Self {
        tensor.map_or(Self::Absent, Self::Present)
    }
}

/// The tensors of one call.
#[derive(Debug, ExtensionType)]
#[extension_type(fusion: cfg(feature = "cube"))]
pub struct DeformConvTensors<B: Backend> {
    /// Feature map, `[B, C, H, W]`.
    pub x: FloatTensor<B>,
    /// Displacement of every tap, `[B, 2 * G * kh * kw, H', W']`.
    pub offset: FloatTensor<B>,
    /// Kernel, `[C_out, C / groups, kh, kw]`.
    pub weight: FloatTensor<B>,
    /// Modulation of every tap (v2), `[B, G * kh * kw, H', W']`.
    #[extension_type]
    pub mask: Optional<B>,
}

impl<B: Backend> DeformConvTensors<B> {
    /// Compares the tensors with those that were checked: backends take sizes from the call, and
    /// kernels read without bounds checks.
    ///
    /// # Panics
    ///
    /// When shapes differ, or the tensors have several types.
    pub(crate) fn expect(&self, call: &CheckedCall) {
        let mask = self.mask.as_option();
        let found = CallShapes {
            x: self.x.shape(),
            offset: self.offset.shape(),
            weight: self.weight.shape(),
            mask: mask.map(TensorMetadata::shape),
        };
        let tensors = [&self.x, &self.offset, &self.weight];
        let dtypes = tensors.into_iter().chain(mask).map(TensorMetadata::dtype);
        let dtypes: Vec<DType> = dtypes.collect();
        assert!(
            found == call.shapes && dtypes.iter().all(|dtype| *dtype == dtypes[0]),
            "deformable convolution: checked were {:?} of one type, got {found:?} of types \
             {dtypes:?}",
            call.shapes
        );
    }

    /// Compares a gradient with the call's output.
    ///
    /// # Panics
    ///
    /// When it has another shape, or another type than the tensors.
    pub(crate) fn expect_gradient(&self, grad: &FloatTensor<B>, call: &CheckedCall) {
        let found = (grad.shape(), grad.dtype());
        let output = (call.sizes.output_shape(), self.x.dtype());
        assert_eq!(
            found, output,
            "deformable convolution: the gradient of the output"
        );
    }
}

/// Gradients of one call, each present if it is needed.
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
pub struct NeedsGrad {
    /// Of the input.
    pub x: bool,
    /// Of the offset.
    pub offset: bool,
    /// Of the weight.
    pub weight: bool,
    /// Of the mask; without a mask it says nothing.
    pub mask: bool,
}

impl NeedsGrad {
    /// What is left to compute where there is a mask, or none.
    pub(crate) fn with_mask(self, present: bool) -> Self {
        Self {
            mask: self.mask && present,
            ..self
        }
    }
}

/// Deformable convolution on a backend. Users call [`deform_conv2d`](crate::deform_conv2d).
#[backend_extension(
    Flex: cfg(feature = "flex"),
    Cube: cfg(feature = "cube"),
    Fusion: cfg(feature = "cube"),
    Autodiff
)]
pub trait DeformConvOps: Backend {
    /// Convolves without bias: `[B, C_out, H', W']`. The tensors have the shapes of `call`.
    #[fusion(meta = forward_metadata)]
    fn deform_conv_forward(
        #[extension_type] tensors: DeformConvTensors<Self>,
        call: CheckedCall,
    ) -> FloatTensor<Self>;

    /// The needed gradients, given the gradient of the output `[B, C_out, H', W']`.
    #[fusion(meta = backward_metadata)]
    fn deform_conv_backward(
        #[extension_type] tensors: DeformConvTensors<Self>,
        grad: FloatTensor<Self>,
        call: CheckedCall,
        needs: NeedsGrad,
    ) -> DeformConvGradients<Self>;
}

#[cfg(feature = "cube")]
fn forward_metadata(tensors: &DeformConvTensorsMetadata, call: &CheckedCall) -> TensorSpec {
    TensorSpec::new(call.sizes.output_shape(), tensors.x.dtype)
}

#[cfg(feature = "cube")]
fn backward_metadata(
    tensors: &DeformConvTensorsMetadata,
    _grad: &TensorSpec,
    _call: &CheckedCall,
    needs: &NeedsGrad,
) -> DeformConvGradientsMetadata {
    let like = |spec: &TensorSpec, needed: bool| {
        if needed {
            OptionalMetadata::Present(spec.clone())
        } else {
            OptionalMetadata::Absent
        }
    };
    DeformConvGradientsMetadata {
        x: like(&tensors.x, needs.x),
        offset: like(&tensors.offset, needs.offset),
        weight: like(&tensors.weight, needs.weight),
        mask: match &tensors.mask {
            OptionalMetadata::Present(mask) => like(mask, needs.mask),
            OptionalMetadata::Absent => OptionalMetadata::Absent,
        },
    }
}

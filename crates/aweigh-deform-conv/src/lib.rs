//! Deformable convolution v1 (Dai et al., ICCV 2017) and v2 (Zhu et al., CVPR 2019) as a Burn
//! operator: one call for every backend, with a backward pass written by hand.
//!
//! Values and gradients are those of `torchvision.ops.deform_conv2d`, the layout of offsets and
//! masks too. Where a sample lies exactly on a pixel, the gradient of its offset is torchvision's
//! one-sided derivative.
//!
//! # Layers
//!
//! ```text
//! DeformConv2dPack, ModulatedDeformConv2dPack  pack.rs      predict the offsets (and masks) of their input
//! DeformConv2d                                 module.rs    weight, bias and options
//!   deform_conv2d                              lib.rs       checks the call (call.rs), adds the bias
//!     Dispatch: DeformConvOps                  ops.rs       generated: finds the backend of the tensors
//!       Autodiff<B>                            autodiff.rs  keeps the inputs; asks B for the gradients of
//!                                                           those that are tracked
//!         Fusion<CubeBackend>                  ops.rs       generated: queues the call with its shapes
//!           CubeBackend                        cube/        GPU: kernels in cube/kernels, launches in
//!                                                           cube/launch, products by Burn
//!         Flex                                 flex/        CPU: loops in flex/kernels.rs, products by `gemm`
//! ```
//!
//! Both implementations do the same: they compute once where each tap of each output position
//! samples, gather the samples of a chunk of positions as rows of columns with the channels side by
//! side, and multiply. Chunks keep the scratch memory within
//! [`column_budget`](DeformConvOptions::column_budget). Positions and sums are `f32` for narrower
//! tensors and `f64` for `f64` tensors.
//!
//! # Unsafe code
//!
//! In two places. `flex/gemm.rs` hands raw pointers to the `gemm` crate, after checking that the
//! three matrices lie inside of their slices and that no two elements of the result share a place.
//! `cube/launch` launches kernels without bounds checks; each launch says why every index of
//! its kernel is in range, whatever the offsets hold.
//!
//! # Features
//!
//! `flex` and `cube` compile the implementations for Burn's CPU backend and for every CubeCL
//! runtime; the application that picks the backends switches them on.

// Without an implementation nobody reads the options and sizes of a call.
#![cfg_attr(
    not(any(feature = "cube", feature = "flex")),
    allow(dead_code, unused_variables)
)]

mod autodiff;
mod call;
#[cfg(feature = "cube")]
mod cube;
#[cfg(feature = "flex")]
mod flex;
mod module;
mod ops;
mod options;
mod pack;

use burn::backend::Dispatch;
use burn::tensor::Tensor;

pub use call::{CallShapes, CheckedCall};
pub use module::{DeformConv2d, DeformConv2dConfig};
pub use ops::{DeformConvGradients, DeformConvOps, DeformConvTensors, NeedsGrad, Optional};
pub use options::{DEFAULT_COLUMN_BUDGET, DeformConvOptions};
pub use pack::{DeformConv2dPack, ModulatedDeformConv2dPack};

/// Inputs of [`deform_conv2d`].
#[derive(Debug, Clone)]
pub struct DeformConvInput {
    /// Feature map, `[B, C, H, W]`.
    pub x: Tensor<4>,
    /// Displacement of every tap in pixels, `[B, 2 * G * kh * kw, H', W']` for G offset groups;
    /// channels are ordered (group, kernel row, kernel column, (dy, dx)).
    pub offset: Tensor<4>,
    /// Modulation of every tap (v2), `[B, G * kh * kw, H', W']`; absent in v1.
    pub mask: Option<Tensor<4>>,
}

/// Deformable convolution: `out(p) = bias + sum_k w_k * m_k(p) * x(p * stride - padding +
/// k * dilation + offset_k(p))`, where `x` is sampled bilinearly and is 0 outside the map.
///
/// # Shapes
///
/// `weight` is `[C_out, C / weight_groups, kh, kw]`, `bias` is `[C_out]`, the result is
/// `[B, C_out, H', W']` with `H' = (H + 2 * padding - dilation * (kh - 1) - 1) / stride + 1`.
///
/// # Panics
///
/// When shapes or types break a rule; the message gives all of them.
pub fn deform_conv2d(
    input: DeformConvInput,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    options: DeformConvOptions,
) -> Tensor<4> {
    let call = check(&input, &weight, bias.as_ref(), options);
    let DeformConvInput { x, offset, mask } = input;
    let tensors = DeformConvTensors {
        x: x.into_dispatch(),
        offset: offset.into_dispatch(),
        weight: weight.into_dispatch(),
        mask: mask.map(Tensor::into_dispatch).into(),
    };
    let channels_out = call.sizes.channels_out;
    let out = <Dispatch as DeformConvOps>::deform_conv_forward(tensors, call);
    let out = Tensor::from_dispatch(out);
    match bias {
        Some(bias) => out + bias.reshape([1, channels_out, 1, 1]),
        None => out,
    }
}

/// The call, if its shapes and types obey the rules.
fn check(
    input: &DeformConvInput,
    weight: &Tensor<4>,
    bias: Option<&Tensor<1>>,
    options: DeformConvOptions,
) -> CheckedCall {
    let DeformConvInput { x, offset, mask } = input;
    let shapes = CallShapes {
        x: x.shape(),
        offset: offset.shape(),
        weight: weight.shape(),
        mask: mask.as_ref().map(Tensor::shape),
    };
    let call = CheckedCall::new(shapes, options);
    let dtypes = [x.dtype(), offset.dtype(), weight.dtype()];
    let dtypes = dtypes.into_iter().chain(mask.as_ref().map(Tensor::dtype));
    let dtypes: Vec<_> = dtypes.chain(bias.map(Tensor::dtype)).collect();
    let bias_fits = bias.is_none_or(|bias| bias.dims() == [call.sizes.channels_out]);
    let one_type = dtypes.iter().all(|dtype| *dtype == dtypes[0]);
    for (holds, rule) in [
        (bias_fits, "the bias has one value per output channel"),
        (one_type, "all tensors have one type"),
    ] {
        assert!(
            holds,
            "deformable convolution: {rule}; got types {dtypes:?}, input {:?}, offset {:?}, \
             weight {:?}, mask {:?}, bias {:?}, {options:?}",
            call.shapes.x,
            call.shapes.offset,
            call.shapes.weight,
            call.shapes.mask,
            bias.map(Tensor::shape)
        );
    }
    call
}

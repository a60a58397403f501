//! Convolution on the CPU, and the layers around it, as Burn operators with backward passes written
//! by hand.
//!
//! A function of this crate takes tensors of any device. On Burn's CPU backend, in single precision,
//! it runs the kernels of this crate; everywhere else, or where the user asks for it
//! ([`CONV_VARIABLE`]), its twin of Burn's own operators in [`plain`]. [`is_ours`] is that choice.
//! Parameters may be wider than the maps, which a layer computes in the type of ([`cast_like`]).
//!
//! # Layers
//!
//! ```text
//! conv2d, group_norm, add, ..        one file each   tensors in, tensors out; chooses
//! Levels                             levels.rs       the maps of a pyramid through one operator
//!   Dispatch: LayerOps               ops.rs          generated: finds the backend of the tensors
//!     Autodiff<B>                    autodiff/       what is kept for the backward pass, and that pass
//!       Flex                         flex/           tensors as slices, outputs as new tensors
//!         Convolution, ..            kernels/        the computations, on slices; nothing knows Burn
//!           Product                  kernels/product.rs   a tile of a matrix product in registers
//!             Simd                   simd/           vectors of 16 values on four instruction sets
//! ```
//!
//! # Which kernels convolve
//!
//! | convolution | kernels | error |
//! |---|---|---|
//! | 3x3 of stride 1, with enough channels and tiles | Winograd F(4x4, 3x3), a quarter of the products | 0.5e-6 to 1.4e-6 |
//! | 1x1 | products straight from the map | 0.1e-6 to 0.6e-6 |
//! | depthwise | a strip of rows at a time | 0.1e-6 to 0.5e-6 |
//! | all others | columns in tiles of the cache | 0.1e-6 to 0.6e-6 |
//!
//! Errors are root mean squares relative to that of the result; a plain sum in `f32` has 0.6e-6 to
//! 0.8e-6. Winograd's points 0, 3/4, -3/4, 3/2, -3/2 and infinity halve the error of the usual ones
//! (1, -1, 2, -2). [`Algorithm::Exact`] keeps to direct sums.
//!
//! # Same bits
//!
//! What is summed in which order depends on the shapes and the instruction set alone, never on the
//! number of threads: kernels run on Rayon's pool, which is Burn's, as jobs of fixed size.
//!
//! # Unsafe code
//!
//! Vectors, and pointers into slices that several threads write to. Every function that takes
//! slices checks their lengths; what lies behind it says why its pointers stay inside.
//! [`allocator`] is an allocator.
//!
//! # Features
//!
//! `tensor` (default) has the operators; without it the crate knows no Burn. `flex` compiles them
//! for Burn's CPU backend.

#![allow(unsafe_code)]
// Without the implementation nobody calls the kernels.
#![cfg_attr(
    not(feature = "flex"),
    allow(dead_code, unused_imports, unused_variables)
)]

#[cfg(feature = "tensor")]
mod activation;
pub mod allocator;
#[cfg(feature = "tensor")]
mod autodiff;
mod choice;
#[cfg(feature = "tensor")]
mod convolution;
#[cfg(feature = "flex")]
mod flex;
#[cfg(feature = "tensor")]
mod focal;
mod kernels;
#[cfg(feature = "tensor")]
mod levels;
#[cfg(feature = "tensor")]
mod norm;
#[cfg(feature = "tensor")]
mod ops;
#[cfg(feature = "tensor")]
pub mod plain;
#[cfg(feature = "tensor")]
mod pooling;
#[cfg(feature = "tensor")]
mod precision;
pub mod profile;
mod simd;

#[cfg(feature = "tensor")]
pub use activation::{activate, add, relu};
#[cfg(feature = "tensor")]
pub use choice::is_ours;
pub use choice::{Algorithm, CONV_VARIABLE, UnknownAlgorithm, algorithm, set_algorithm};
#[cfg(feature = "tensor")]
pub use convolution::{Conv2dOptions, conv2d};
#[cfg(feature = "tensor")]
pub use focal::focal_sum;
pub use kernels::{Activation, ConvSizes, Convolution, Over};
#[cfg(feature = "tensor")]
pub use levels::{Levels, Maps, convolve};
#[cfg(feature = "tensor")]
pub use norm::{BatchNorm, BatchNormalised, GroupNorm, batch_norm, group_norm};
#[cfg(feature = "tensor")]
pub use ops::{ConvCall, FocalCall, LayerGradients, LayerOps, NormCall, SavedNorm};
#[cfg(feature = "tensor")]
pub use pooling::{MaxPool, max_pool2d, upsample_add};
#[cfg(feature = "tensor")]
pub use precision::{cast_like, widen};
pub use simd::{InstructionSet, SIMD_VARIABLE, UnknownInstructionSet};

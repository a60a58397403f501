//! The computations, on slices of `f32`. Nothing here knows Burn.
//!
//! # Unsafe functions
//!
//! Functions that take slices are safe and check lengths. Behind them, a private `unsafe fn` that is
//! generic over [`Simd`](crate::simd::Simd) requires, where it has no `# Safety` of its own, what
//! the `run` of its [`Kernel`](crate::simd::Kernel) does: the machine has the instructions of `S`,
//! and the kernel's pointers are valid for the sizes in its fields, and written to by nobody else
//! meanwhile. The call of `InstructionSet::run` says why that holds; `as run's` in a comment refers
//! to it.

pub(crate) mod activation;
pub(crate) mod columns;
mod convolution;
pub(crate) mod depthwise;
pub(crate) mod focal;
mod gemm;
pub(crate) mod math;
pub(crate) mod norm;
pub(crate) mod planes;
pub(crate) mod pointwise;
pub(crate) mod pooling;
pub(crate) mod prefetch;
pub(crate) mod product;
#[cfg(test)]
mod reference;
mod scratch;
mod share;
mod sizes;
pub(crate) mod threads;
pub(crate) mod upsample_add;
pub(crate) mod winograd;

pub use activation::Activation;
pub use convolution::Convolution;
pub use norm::Over;
pub use sizes::ConvSizes;

//! Launches of the kernels.
//!
//! Kernels run without bounds checks, so a launch is an `unsafe` block; each says why every index
//! of its kernel lies inside the memory that it binds. What all of them rest on: sizes come from
//! shapes that a [`CheckedCall`](crate::CheckedCall) has checked and that
//! [`Call`](super::call::Call) has found again in the tensors, strides from the tensors' own
//! metadata, and a kernel leaves cubes and rows beyond the chunk alone.

mod adds;
mod arguments;
mod copies;
mod cubes;
mod sampling;

pub(super) use adds::{Adds, accumulator};
pub(super) use copies::{add_parts, convert, join_groups, small_product, to_rows};
pub(super) use sampling::{Gradients, InputGradient, SampledChunk, Sampling, backward, sample};

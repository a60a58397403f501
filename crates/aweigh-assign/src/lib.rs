//! Target assignment: points and ground truth in, targets out.
//!
//! One file per method. An assigner is a tensor program on padded, masked ground truth: it never
//! reads a tensor back to the host, so a training step does not wait. Shape letters: B images,
//! P points of all levels, M ground-truth slots, I ignore-region slots.
//!
//! Assigners know no learnable state: they work on tensors without autodiff, and their targets are
//! constants of the loss.

mod ignore;
mod matches;
mod order;

pub mod fcos;
pub mod fovea;
pub mod fsaf;
pub mod max_iou;
pub mod reppoints;
pub mod retina;

pub use ignore::inside_any;
pub use matches::Matches;

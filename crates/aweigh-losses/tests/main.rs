//! Losses against the reference implementation and against finite differences.

mod gradients;
mod parity;
mod support;

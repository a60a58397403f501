//! Deformable convolution against its definition, the reference implementation and its limits.

mod gpu;
mod gradients;
mod memory;
mod module;
mod naive;
mod parity;
mod precision;
mod shapes;
mod support;
mod sweep;
mod threads;
mod tracking;

//! The operators against their twins of plain tensors, and against differences in `f64`.

mod differences;
mod support;
mod tracking;
mod twins;

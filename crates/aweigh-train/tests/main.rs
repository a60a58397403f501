//! Tests of the training crate as a whole.

mod parity;
mod run;

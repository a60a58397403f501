//! Tests of whole detectors.

mod behaviour;
mod parity;

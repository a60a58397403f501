//! Tests of whole detectors.

mod backends;
mod behaviour;
mod parity;

//! Tests of whole detectors.

mod backends;
mod behaviour;
mod options;
mod parity;

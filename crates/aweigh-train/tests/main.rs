//! Tests of the training crate as a whole.

#[path = "../../aweigh-detectors/tests/options/mod.rs"]
mod options;
mod parity;
mod run;

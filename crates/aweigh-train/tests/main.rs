//! Tests of the training crate as a whole.

mod parity;
mod run;
#[path = "../../aweigh-detectors/tests/options/truth.rs"]
mod truth;

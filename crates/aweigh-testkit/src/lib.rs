//! Goldens, finite differences and tolerances, for tests only.
//!
//! A golden is one case of the reference implementation: `NAME.safetensors` with every tensor and
//! `NAME.json` saying how they were made. Parity tests are driven by these files: a test takes every
//! case of its group from a folder and builds the model from the options in the case's JSON, so
//! that it runs unchanged on cases it has never seen. Set `AWEIGH_GOLDENS` to a folder of such
//! files to run the parity tests on it.

// A parity test prints the cases it ran with their largest error.
#![allow(clippy::print_stdout)]

mod case;
mod gradient;
pub mod module;
pub mod options;
mod processes;
mod report;

use burn::tensor::Device;

pub use case::{Case, cases, understand};
pub use gradient::finite_difference;
pub use processes::{ThreadGroup, processes};
pub use report::{Report, Tolerance};

/// The device of CPU tests: Flex, without autodiff.
pub fn device() -> Device {
    Device::flex()
}

//! Which images an epoch of training has, and how often.

mod config;
mod factors;
mod report;
mod samples;

pub use config::{SamplingConfig, SamplingKind};
pub(crate) use samples::{Sample, Samples};

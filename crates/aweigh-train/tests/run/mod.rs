//! Whole runs on a tiny dataset.

mod configs;
mod determinism;
mod errors;
mod learnable;
mod nothing_lost;
mod overfit;
mod support;
mod tuning;
mod wgpu;

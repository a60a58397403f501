//! Whole runs on a tiny dataset.

mod configs;
mod determinism;
mod distributed;
mod errors;
mod importing;
mod learnable;
mod mmdet_configs;
mod mmdet_sets;
mod nothing_lost;
mod optimisation;
mod overfit;
mod precision;
mod support;
mod tuning;
mod wgpu;

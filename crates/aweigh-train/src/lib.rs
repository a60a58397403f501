//! Experiment configuration, devices, the training loop, checkpoints and evaluation.
//!
//! An [`Experiment`] is read from strict TOML; [`device::select`] opens what
//! it names; a [`Trainer`](trainer::Trainer) runs it in a [`RunFolder`](run_folder::RunFolder) and
//! reports to a [`Progress`](progress::Progress). [`evaluate`], [`predict`], [`explain`],
//! [`mod@bench`] and [`inspect`] are the other uses of a detector; [`agreement`] compares devices;
//! [`mod@import`] and [`model_file`] take weights in and hand models on.
//!
//! Everything random derives from the seed of the experiment and the position in the run, so that
//! a run repeats and a resumed run equals an uninterrupted one, bit for bit on the CPU.

pub mod agreement;
pub mod batch;
pub mod bench;
pub mod checkpoint;
pub mod clip;
pub mod config;
pub mod device;
pub mod error;
pub mod evaluate;
pub mod evaluation;
pub mod explain;
pub mod files;
pub mod import;
pub mod inspect;
pub mod learnable;
pub mod model;
pub mod model_file;
pub mod normalization;
pub mod optimizer;
pub mod placement;
pub mod predict;
pub mod progress;
pub mod propose;
pub mod run_folder;
pub mod schedule;
pub mod show;
pub mod statistics;
pub mod trainer;

mod batches;
mod data_record;
mod distributed;
mod ema;
mod freeze;
mod gradients;
mod look;
mod loss_scale;
mod made_up;
mod network;
mod parameters;
mod pictures;
mod precision;
mod step;
mod synthetic;
mod weights;
mod window;

pub use config::{ConfigError, Experiment};
pub use data_record::{AnnotationsRecord, DataRecord};
pub use error::TrainError;
pub use loss_scale::LossScale;
pub use parameters::{Layer, named_tensors};
pub use precision::PrecisionError;
pub use window::WindowState;

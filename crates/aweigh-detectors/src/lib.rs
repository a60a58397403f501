//! Detectors: backbone, neck, head, assigner, losses and decoding wired together.
//!
//! A detector is four objects with one-way data flow: the model turns images into raw predictions
//! and knows no ground truth; the assigner turns points and ground truth into targets; the losses
//! compare the two; decoding turns raw predictions into boxes. A method is one variant of
//! [`Method`]: the compiler is the registry.

mod checks;
mod config;
mod decode;
mod detector;
mod error;
mod losses;
mod maps;
mod options;

pub mod explain;
pub mod fcos;
pub mod fovea;
pub mod fsaf;
pub mod learnable;
pub mod reppoints;
pub mod retina;

pub use config::{DetectorConfig, Method};
pub use decode::{ImageFrame, InferenceConfig, Score};
pub use detector::{Detector, Head, Predictions, Targets};
pub use error::DetectorConfigError;
pub use losses::{FocalLoss, Losses};
pub use options::TowerNorm;

//! Detectors: backbone, neck, head, assigner, losses and decoding wired together.
//!
//! A detector is four objects with one-way data flow: the model turns images into raw predictions
//! and knows no ground truth; the assigner turns points and ground truth into targets; the losses
//! compare the two; decoding turns raw predictions into boxes. A method is one implementation of
//! [`Method`] and one line in the list of methods: what it lacks does not compile, and predictions
//! know their method, so that they meet no other's targets.

mod checks;
mod config;
mod decode;
mod detector;
mod error;
mod head;
mod losses;
mod method;
mod options;
mod pyramid;
mod registry;

pub mod explain;
pub mod fcos;
pub mod fovea;
pub mod fsaf;
pub mod learnable;
pub mod reppoints;
pub mod retina;

pub use aweigh_losses::FocalLoss;
pub use decode::{Branch, Candidate, DecodeBox, InferenceConfig, RankBy, Score};
pub use detector::Detector;
pub use error::DetectorConfigError;
pub use head::{Assigned, MethodHead, Predictions};
pub use losses::Losses;
pub use method::{Cause, Method, MethodConfig, SizeLimits};
pub use options::TowerNorm;
pub use pyramid::Pyramid;
pub use registry::{BBoxHead, DetectorConfig};

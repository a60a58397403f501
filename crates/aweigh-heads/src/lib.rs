//! Detection heads: pyramid in, raw predictions out, nothing else.
//!
//! One file per method. A head knows neither images nor ground truth; the same head runs on every
//! level of the pyramid. Parameter names follow the reference state dicts. Shape letters:
//! B images, C classes, `H_l` x `W_l` the size of level l.

mod dense;
mod init;
mod scale;
mod tower;

pub mod fcos;
pub mod fovea;
pub mod fsaf;
pub mod reppoints;
pub mod retina;

pub use dense::{DenseHead, DenseHeadConfig, RawPredictions};
pub use scale::Scale;
pub use tower::{Tower, TowerConfig};

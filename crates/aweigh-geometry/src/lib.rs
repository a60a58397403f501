//! Boxes, points, codecs and non-maximum suppression: the home of every coordinate convention.
//!
//! - A box is `[x1, y1, x2, y2]` in absolute pixels of the network input, with continuous
//!   coordinates: its width is `x2 - x1`, without "+1".
//! - Classes are `0..C`; background is the absence of a class.
//! - A point is `(x, y)`; the points of a level are in row-major order, those of a pyramid level
//!   after level.
//!
//! Everything in host memory needs no Burn; what works on tensors is behind the feature `tensor`,
//! which is on by default.
//!
//! Shape letters: B images, P points of all levels, M ground-truth boxes, I ignore regions,
//! N boxes in general.

pub mod anchors;
pub mod boxes;
pub mod codec;
mod detection;
mod frame;
#[cfg(feature = "tensor")]
mod ground_truth;
pub mod nms;
pub mod points;
mod truth;

pub use boxes::ImageSize;
pub use detection::Detection;
pub use frame::ImageFrame;
#[cfg(feature = "tensor")]
pub use ground_truth::GroundTruth;
pub use points::{LevelShape, PointOrigin, PointSpacing};
pub use truth::HostTruth;

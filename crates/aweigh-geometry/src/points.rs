//! Points and square anchors of pyramid levels.

mod host;
#[cfg(feature = "tensor")]
mod tensor;

pub use host::{LevelShape, PointOrigin, PointSpacing, point_count};
#[cfg(feature = "tensor")]
pub(crate) use tensor::rows;
#[cfg(feature = "tensor")]
pub use tensor::{pyramid_points, pyramid_strides, square_anchors};

//! Boxes `[x1, y1, x2, y2]`: conversions and clipping on the host, areas and overlaps of tensors.

mod host;
#[cfg(feature = "tensor")]
mod tensor;

pub use host::{ImageSize, centered_at, clip_host, xywh_to_xyxy, xyxy_to_xywh};
#[cfg(feature = "tensor")]
pub use tensor::{AREA_EPSILON, Corners, area, clip, giou_of, iou_of, pairwise_iof, pairwise_iou};
#[cfg(feature = "tensor")]
pub(crate) use tensor::{assert_last, coordinates};

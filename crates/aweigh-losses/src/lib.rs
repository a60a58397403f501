//! Detection losses, each with an explicit normaliser.
//!
//! Every loss returns one value per element (or per box); [`reduce::weighted_mean`] turns them into
//! a scalar. Targets are constants. All losses work in the dtype of the predictions, and their
//! values and gradients are finite for boxes without area, equal boxes and boxes that are apart.

pub mod bce;
pub mod boxes;
pub mod focal;
mod gradient;
pub mod reduce;

pub use bce::bce_with_logits;
pub use boxes::{IouMode, diou_loss, giou_loss, iou_loss, l1, smooth_l1};
pub use focal::{FocalLoss, sigmoid_focal_loss};
pub use reduce::weighted_mean;

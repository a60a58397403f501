//! The images of a dataset.

use aweigh_geometry::HostTruth;

/// One image with its ground truth in original pixels.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageRecord {
    /// The `id` in the annotation file.
    pub id: i64,
    /// The `file_name` in the annotation file.
    pub file_name: String,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Boxes, labels and ignore regions in original pixels.
    pub truth: HostTruth,
}

impl ImageRecord {
    /// Whether it has neither a box nor an ignore region.
    pub fn is_empty(&self) -> bool {
        self.truth.boxes.is_empty() && self.truth.ignore.is_empty()
    }
}

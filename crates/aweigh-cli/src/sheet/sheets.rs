//! What sheets show.

use aweigh_train::explain::ExplainedImage;
use image::RgbImage;

use super::layout::Layout;
use crate::text::{Fonts, Letters};

/// What the sheets of an image have in common.
#[derive(Debug)]
pub(crate) struct Sheets<'a> {
    /// Which points the boxes train.
    pub(crate) explained: &'a ExplainedImage,
    /// The picture as it is in its file.
    pub(crate) picture: &'a RgbImage,
    /// Indices of the levels to show.
    pub(crate) levels: &'a [usize],
    /// Names of the classes that the fonts have.
    pub(crate) names: &'a [String],
    pub(crate) fonts: &'a Fonts,
}

impl<'a> Sheets<'a> {
    /// Letters of all text.
    pub(super) fn letters(&self, layout: &Layout) -> Letters<'a> {
        Letters::new(self.fonts, 20 * layout.unit)
    }

    /// Letters of the numbers of boxes.
    pub(super) fn small_letters(&self, layout: &Layout) -> Letters<'a> {
        Letters::new(self.fonts, 16 * layout.unit)
    }
}

//! Remarks on single pictures.

use std::path::Path;

use crate::exif::Exif;
use crate::{DecodeConfig, Stored};

/// What may be wrong with the pixels of a picture, without being an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remark {
    /// It has this EXIF orientation, and boxes may refer to its pixels before or after turning.
    Orientation(u8),
    /// Its samples of 16 bits, of which these are the extreme ones, become next to one grey level.
    Narrow([u16; 2]),
}

impl Remark {
    /// The remarks on a picture.
    pub(crate) fn of(stored: &Stored, decoding: &DecodeConfig) -> Vec<Self> {
        let doubtful = stored.is_doubtful(decoding.exif);
        let orientation = doubtful.then_some(Self::Orientation(stored.orientation));
        let narrow = stored.narrow(decoding.sixteen_bit).map(Self::Narrow);
        orientation.into_iter().chain(narrow).collect()
    }

    /// Logs the remark on the picture in `file`.
    pub(crate) fn warn(self, file: &Path, decoding: &DecodeConfig) {
        let file = file.display();
        match (self, decoding.exif) {
            (Self::Orientation(found), Exif::Ignore) => tracing::warn!(
                "{file} has the EXIF orientation {found}, which `data.exif = \"ignore\"` does not \
                 apply: make sure that boxes refer to the pixels as they are stored"
            ),
            (Self::Orientation(found), _) => tracing::warn!(
                "{file} is turned upright, from EXIF orientation {found}, and its size does not \
                 tell whether its boxes are: make sure that they lie on their objects (`aweigh \
                 explain` draws them); for boxes of the pixels as they are stored set `data.exif \
                 = \"ignore\"`"
            ),
            (Self::Narrow([low, high]), _) => tracing::warn!(
                "{file} holds 16-bit samples from {low} to {high}, of which `data.sixteen_bit = \
                 {}` leaves next to one grey level: set it to {{ range = [LOW, HIGH] }} or \
                 \"range\"",
                decoding.sixteen_bit
            ),
        }
    }
}

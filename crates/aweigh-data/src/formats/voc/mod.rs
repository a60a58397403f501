//! Pascal VOC: an XML file for each picture.
//!
//! Layouts: VOCdevkit's (`Annotations`, `JPEGImages`, `ImageSets/Main/*.txt`), folders of sets, and
//! XML files beside their pictures or apart from them. Corners are whole pixels from 1, both in the
//! box, as in the devkit (section 4.1 of its documentation); many tools write edges from 0 instead.

mod file;
mod read;
pub(super) mod write;

pub(super) use read::read;

/// What the corners of boxes are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Corners {
    /// Edges where a corner of the dataset is below 1, which no pixel that is counted from 1 is;
    /// pixels otherwise.
    #[default]
    Auto,
    /// Pixels from 1, of which both corners are part of the box.
    Pixels,
    /// Edges in pixels from 0.
    Edges,
}

//! Sizes of pictures that labels do not tell.

use std::path::{Path, PathBuf};

use super::{LabelSet, Labelled, layout};
use crate::DataError;
use crate::decode::upright_size;

/// A picture with objects, whose file is known.
pub(super) struct Located {
    /// The file.
    pub(super) file: PathBuf,
    /// Height and width in pixels.
    pub(super) size: [u32; 2],
    /// The objects.
    pub(super) objects: Vec<super::Object>,
}

/// A set whose names are relative to the folder that holds all of its pictures.
pub(super) fn set(name: String, located: Vec<Located>) -> Option<LabelSet> {
    let images = layout::common_folder(located.iter().map(|picture| &picture.file))?;
    // Names in the current folder have no folder before them.
    let here = images.as_os_str().is_empty();
    let picture = |picture: Located| Labelled {
        file_name: layout::relative(&crate::plain::plain(&picture.file), &images),
        size: picture.size,
        objects: picture.objects,
    };
    Some(LabelSet {
        name,
        pictures: located.into_iter().map(picture).collect(),
        images: if here { PathBuf::from(".") } else { images },
    })
}

/// Height and width of an upright picture, from its file.
pub(super) fn size_of(file: &Path) -> Result<[u32; 2], DataError> {
    Ok(upright_size(file)?.map(|side| side as u32))
}

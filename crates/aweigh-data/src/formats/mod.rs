//! Labels of other formats: what is read, what is written, and how datasets lie in folders.
//!
//! A [`Labels`] is what all formats have in common: classes, and sets of pictures with boxes.
//! [`read`] takes it from COCO, Pascal VOC, YOLO, CVAT, DOTA and Open Images, [`write()`] gives it to
//! COCO, Pascal VOC and YOLO. Boxes refer to upright pictures, as people see them.

mod coco;
mod detect;
mod foreign;
mod layout;
mod pictures;
mod prepare;
mod voc;
mod write;
mod yolo;

use std::fmt;
use std::path::{Path, PathBuf};

use crate::annotations::Category;
use crate::{DataError, Finding};

pub use detect::detect;
pub use layout::SetName;
pub use prepare::{Prepared, PreparedSet, prepare};
pub use voc::Corners;
pub use write::{PictureFiles, WriteOptions, Written, write};

/// A format of labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// COCO's JSON.
    Coco,
    /// Pascal VOC's XML.
    Voc,
    /// YOLO's text files, in the layout of Ultralytics or in one folder.
    Yolo,
    /// `CVAT for images`, one XML file.
    Cvat,
    /// DOTA's text files of corners.
    Dota,
    /// The CSV of Open Images.
    OpenImages,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 6] = [
        Self::Coco,
        Self::Voc,
        Self::Yolo,
        Self::Cvat,
        Self::Dota,
        Self::OpenImages,
    ];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Coco => "coco",
            Self::Voc => "voc",
            Self::Yolo => "yolo",
            Self::Cvat => "cvat",
            Self::Dota => "dota",
            Self::OpenImages => "oid",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Labelled pictures.
#[derive(Clone, Debug, PartialEq)]
pub struct Labels {
    /// The classes; objects refer to their positions.
    pub classes: Vec<Category>,
    /// The sets, each of which has at least one picture.
    pub sets: Vec<LabelSet>,
    /// What was left out, or is worth knowing.
    pub findings: Vec<Finding>,
}

/// Pictures that belong together, such as those to train on.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelSet {
    /// `train`, `val`, `test`, or what the files call it; `all` where nothing does.
    pub name: String,
    /// The folder that the names of the pictures are relative to.
    pub images: PathBuf,
    /// The pictures.
    pub pictures: Vec<Labelled>,
}

/// A picture with its objects.
#[derive(Clone, Debug, PartialEq)]
pub struct Labelled {
    /// Path relative to the folder of the set, with slashes.
    pub file_name: String,
    /// Height and width in pixels, of the upright picture.
    pub size: [u32; 2],
    /// The objects, in the order of the file.
    pub objects: Vec<Object>,
}

/// A labelled object.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Object {
    /// Position of its class.
    pub class: usize,
    /// `[x, y, width, height]` in pixels.
    pub bbox: [f64; 4],
    /// In square pixels.
    pub area: f64,
    /// What it is to a detector.
    pub kind: ObjectKind,
}

/// What an object is to a detector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectKind {
    /// It is to be found.
    Plain,
    /// It may be found or not: `difficult` of Pascal VOC, `ignore` beside COCO's keys.
    Ignored,
    /// A group of objects: COCO's `iscrowd`.
    Crowd,
}

impl Object {
    /// An object whose area is that of its box.
    fn plain(class: usize, bbox: [f64; 4]) -> Self {
        Self {
            class,
            bbox,
            area: bbox[2] * bbox[3],
            kind: ObjectKind::Plain,
        }
    }
}

impl Labels {
    /// Pictures of all sets.
    pub fn pictures(&self) -> usize {
        self.sets.iter().map(|set| set.pictures.len()).sum()
    }

    /// Objects of all sets.
    pub fn objects(&self) -> usize {
        let pictures = self.sets.iter().flat_map(|set| &set.pictures);
        pictures.map(|picture| picture.objects.len()).sum()
    }
}

/// How labels are read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadOptions {
    /// The folder of the pictures, where the layout does not tell.
    pub images: Option<PathBuf>,
    /// What the corners of Pascal VOC's boxes are.
    pub corners: Corners,
}

/// Reads labels of a format from a folder, or from a file where the format is one.
///
/// # Errors
/// If the layout is not known, a file is not what it should be (the message names the file and the
/// line), or the size of a picture is neither declared nor readable.
pub fn read(format: Format, source: &Path, options: &ReadOptions) -> Result<Labels, DataError> {
    let labels = match format {
        Format::Coco => coco::read(source, options),
        Format::Voc => voc::read(source, options),
        Format::Yolo => yolo::read(source, options),
        Format::Cvat => foreign::cvat(source, options),
        Format::Dota => foreign::dota(source, options),
        Format::OpenImages => foreign::open_images(source, options),
    }?;
    if labels.classes.is_empty() {
        return Err(layout::unknown(
            source,
            "no class, and so no object, is named in it",
        ));
    }
    Ok(labels)
}

/// Classes by their names, with ids from 1.
fn categories(names: impl IntoIterator<Item = String>) -> Vec<Category> {
    let numbered = names.into_iter().zip(1..);
    numbered.map(|(name, id)| Category { id, name }).collect()
}

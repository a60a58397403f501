//! What can be wrong with a user's files.

use std::io;
use std::path::PathBuf;

use crate::exif::Exif;

/// An error of a dataset; its message names the file, the place in it and what was expected.
///
/// The message is complete: causes are part of it, so printing a chain of sources repeats nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The annotation file cannot be read.
    #[error("cannot read annotation file {}: {reason}", .path.display())]
    AnnotationFile {
        /// The annotation file.
        path: PathBuf,
        /// Why.
        reason: io::Error,
    },
    /// The annotation file is not JSON, or not in COCO's layout.
    #[error("{}:{line}:{column}: not a COCO annotation file: {reason}", .path.display())]
    Json {
        /// The annotation file.
        path: PathBuf,
        /// Line of the mistake, from 1.
        line: usize,
        /// Column of the mistake, from 1.
        column: usize,
        /// What was found and what was expected.
        reason: String,
    },
    /// The file is something else than annotations or detections.
    #[error("{}: not a COCO annotation file: it is {what}", .path.display())]
    AnotherKind {
        /// The file.
        path: PathBuf,
        /// What it is.
        what: String,
    },
    /// A value cannot be meant as one of its key.
    #[error("{}: {record}: `{key}` is {value}; expected {expected}", .path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// List, position and id, as in `annotations[3]` (id 7).
        record: String,
        /// The key.
        key: &'static str,
        /// The value, as it is found.
        value: String,
        /// What was expected.
        expected: &'static str,
    },
    /// The folder of the images does not exist.
    #[error("image folder {} does not exist or is not a folder", .path.display())]
    ImageFolder {
        /// The folder.
        path: PathBuf,
    },
    /// Files of images are missing.
    #[error(
        "{missing} of the {all} images of {} are missing in {}, first `{first}`: {reasons}",
        .annotations.display(), .images.display()
    )]
    MissingImages {
        /// The annotation file.
        annotations: PathBuf,
        /// The folder of the images.
        images: PathBuf,
        /// Number of images without a file.
        missing: usize,
        /// Number of images.
        all: usize,
        /// The `file_name` of the first.
        first: String,
        /// Where they are likely to be, in words.
        reasons: String,
    },
    /// Several things at once.
    #[error("{}", lines(.0))]
    Several(Vec<Self>),
    /// Files cannot be put together by the names of their classes.
    #[error(
        "{}: two categories are called `{name}`; annotation files are put together by the names of \
         their categories, which must be unique", .path.display()
    )]
    SharedName {
        /// The annotation file.
        path: PathBuf,
        /// The name of both.
        name: String,
    },
    /// Two records of one kind have the same id.
    #[error("{}: two records in `{list}` have the id {id}; ids must be unique", .path.display())]
    DuplicateId {
        /// The annotation file.
        path: PathBuf,
        /// `images`, `annotations` or `categories`.
        list: &'static str,
        /// The repeated id.
        id: i64,
    },
    /// An annotation refers to an image or a category that the file does not declare.
    #[error(
        "{}: {annotation} has {key} {id}, which is not in `{list}`", .path.display()
    )]
    UnknownReference {
        /// The annotation file.
        path: PathBuf,
        /// The annotation, by its id or its position.
        annotation: String,
        /// `image_id` or `category_id`.
        key: &'static str,
        /// The id that is not declared.
        id: i64,
        /// `images` or `categories`.
        list: &'static str,
    },
    /// An image record lacks what training needs.
    #[error("{}: image {id}: {reason}", .path.display())]
    Image {
        /// The annotation file.
        path: PathBuf,
        /// Id of the record.
        id: i64,
        /// What is wrong and what was expected.
        reason: String,
    },
    /// Nothing to work on is left.
    #[error("{}: {reason}", .path.display())]
    Empty {
        /// The annotation file.
        path: PathBuf,
        /// What is missing.
        reason: String,
    },
    /// An image cannot be read.
    #[error("cannot read image {}: {reason}", .path.display())]
    ImageFile {
        /// The image.
        path: PathBuf,
        /// Why.
        reason: io::Error,
    },
    /// A folder was given as an image.
    #[error("{}: expected an image, but this is a folder", .path.display())]
    ImageIsFolder {
        /// The folder.
        path: PathBuf,
    },
    /// An image is none of an annotation file.
    #[error(
        "{} is not in {}: none of its {images} images has {expected} (the first is `{example}`)",
        .path.display(), .annotations.display()
    )]
    NotAnnotated {
        /// The image.
        path: PathBuf,
        /// The annotation file.
        annotations: PathBuf,
        /// Number of its images.
        images: usize,
        /// The `file_name` that was looked for.
        expected: String,
        /// The `file_name` of one of them.
        example: String,
    },
    /// An image is one of several records of an annotation file.
    #[error(
        "{} is in {} more than once: the images {} have its `file_name`, expected one",
        .path.display(), .annotations.display(), list(.ids)
    )]
    SeveralRecords {
        /// The image.
        path: PathBuf,
        /// The annotation file.
        annotations: PathBuf,
        /// The ids of the records.
        ids: Vec<i64>,
    },
    /// An image does not lie in the folder of the images of an annotation file.
    #[error(
        "{} is not in {}, the folder that the configuration has for {}",
        .path.display(), .images.display(), .annotations.display()
    )]
    OutsideFolder {
        /// The image.
        path: PathBuf,
        /// The folder of the images.
        images: PathBuf,
        /// The annotation file.
        annotations: PathBuf,
    },
    /// An image cannot be decoded.
    #[error("cannot decode image {}: {reason}", .path.display())]
    Decode {
        /// The image.
        path: PathBuf,
        /// What the decoder says.
        reason: String,
    },
    /// An image has more pixels than the configuration allows.
    #[error(
        "image {} has {}x{} pixels (width x height), more than {max_pixels}, the limit that \
         `data.max_pixels` sets", .path.display(), .size[1], .size[0]
    )]
    TooLarge {
        /// The image.
        path: PathBuf,
        /// Height and width.
        size: [usize; 2],
        /// The limit to their product.
        max_pixels: u64,
    },
    /// An image has an EXIF orientation where the configuration wants none.
    #[error(
        "image {} has the EXIF orientation {orientation}, which `data.exif = \"error\"` refuses: \
         \"apply\" turns images upright, for boxes that were drawn so; \"ignore\" keeps them as \
         they are stored", .path.display()
    )]
    Orientation {
        /// The image.
        path: PathBuf,
        /// 2 to 8.
        orientation: u8,
    },
    /// An image does not have the size that its annotation file declares.
    #[error(
        "image {} is {}x{} pixels (width x height){}, but {} declares {}x{}{}",
        .path.display(), .found[1], .found[0], as_turned(*.orientation, *.exif),
        .annotations.display(), .declared[1], .declared[0],
        turn(.found, .declared, *.orientation, *.exif)
    )]
    SizeMismatch {
        /// The image.
        path: PathBuf,
        /// The annotation file.
        annotations: PathBuf,
        /// Height and width of the image, as the configuration turns it.
        found: [usize; 2],
        /// Height and width in the annotation file.
        declared: [usize; 2],
        /// The EXIF orientation of the image, 1 to 8.
        orientation: u8,
        /// What has become of it.
        exif: Exif,
    },
    /// A value in the configuration is impossible.
    #[error("`{key}`: {reason}")]
    Config {
        /// The key of the configuration.
        key: &'static str,
        /// What is wrong and what was expected.
        reason: String,
    },
    /// A file of labels of another format than COCO's is not what it should be.
    #[error("{}{}: {reason}", .path.display(), at_line(*.line))]
    Labels {
        /// The file.
        path: PathBuf,
        /// Line of the mistake, from 1, where it is known.
        line: Option<usize>,
        /// What was found and what was expected.
        reason: String,
    },
    /// A folder or file is no dataset of a known layout.
    #[error("{}: {reason}", .path.display())]
    Layout {
        /// The folder or file.
        path: PathBuf,
        /// What is missing and what was expected.
        reason: String,
    },
    /// The output of a generator exists already.
    #[error("{} exists already; remove it or choose another folder", .path.display())]
    Exists {
        /// The folder.
        path: PathBuf,
    },
    /// A file cannot be written.
    #[error("cannot write {}: {reason}", .path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        reason: io::Error,
    },
}

/// Errors one below the other.
fn lines(errors: &[DataError]) -> String {
    let errors: Vec<String> = errors.iter().map(DataError::to_string).collect();
    errors.join("\n")
}

/// A line of a file, as editors and compilers write it.
fn at_line(line: Option<usize>) -> String {
    line.map_or_else(String::new, |line| format!(":{line}"))
}

/// Ids with a limit to how many are shown.
fn list(ids: &[i64]) -> String {
    const SHOWN: usize = 10;
    let mut text: Vec<String> = ids.iter().take(SHOWN).map(i64::to_string).collect();
    if ids.len() > SHOWN {
        text.push(format!("... ({} in all)", ids.len()));
    }
    text.join(", ")
}

/// What the EXIF orientation has to do with the size of an image.
fn as_turned(orientation: u8, exif: Exif) -> &'static str {
    match exif {
        Exif::Apply if orientation > 4 => " when its EXIF orientation is applied",
        Exif::Ignore if orientation > 4 => " as its pixels are stored",
        _ => "",
    }
}

/// What to do about sides that are exchanged.
fn turn(found: &[usize; 2], declared: &[usize; 2], orientation: u8, exif: Exif) -> &'static str {
    let exchanged = found[0] == declared[1] && found[1] == declared[0];
    match exif {
        _ if !exchanged => "",
        Exif::Apply if orientation > 4 => {
            ": its boxes seem to refer to the pixels as they are stored; if they do, set \
             `data.exif = \"ignore\"`"
        }
        Exif::Ignore if orientation > 4 => {
            ": its boxes seem to refer to the upright picture; if they do, set \
             `data.exif = \"apply\"`"
        }
        _ => ": the sides are exchanged, and no EXIF orientation of the file tells why",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_mismatch_names_both_files_and_the_likely_cause() {
        let check = |declared, (orientation, exif), end: &str| {
            let error = DataError::SizeMismatch {
                path: "a.jpg".into(),
                annotations: "b.json".into(),
                found: [480, 640],
                declared,
                orientation,
                exif,
            };
            let start = "image a.jpg is 640x480 pixels (width x height)";
            assert_eq!(error.to_string(), format!("{start}{end}"));
        };
        let other = ", but b.json declares 640x481";
        check([481, 640], (1, Exif::Apply), other);
        let applied = " when its EXIF orientation is applied";
        check([481, 640], (8, Exif::Apply), &format!("{applied}{other}"));
        check(
            [640, 480],
            (6, Exif::Apply),
            " when its EXIF orientation is applied, but b.json declares 480x640: its boxes seem \
             to refer to the pixels as they are stored; if they do, set `data.exif = \"ignore\"`",
        );
        check(
            [640, 480],
            (5, Exif::Ignore),
            " as its pixels are stored, but b.json declares 480x640: its boxes seem to refer to \
             the upright picture; if they do, set `data.exif = \"apply\"`",
        );
        check(
            [640, 480],
            (3, Exif::Apply),
            ", but b.json declares 480x640: the sides are exchanged, and no EXIF orientation of \
             the file tells why",
        );
    }

    #[test]
    fn long_lists_of_ids_are_cut() {
        let check = |count: i64, end: &str| {
            let text = list(&(1..=count).collect::<Vec<i64>>());
            assert!(text.starts_with("1, 2") && text.ends_with(end), "{text}");
        };
        check(2, "1, 2");
        check(10, ", 9, 10");
        check(11, ", 10, ... (11 in all)");
    }
}

//! What can be wrong with a user's files.

use std::io;
use std::path::PathBuf;

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
    #[error(
        "{}: {record}{}: `{key}` is {value}; expected {expected}", .path.display(), with_id(.id)
    )]
    Value {
        /// The file.
        path: PathBuf,
        /// List and position, as in `annotations[3]`.
        record: String,
        /// The `id` of the record, as it is found.
        id: Option<String>,
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
        "{} is not in {}: none of its {images} images has {wanted} (the first is `{example}`)",
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
        wanted: String,
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
    /// An image does not have the size that its annotation file declares.
    #[error(
        "image {} is {}x{} pixels (width x height), but {} declares {}x{}{}",
        .path.display(), .found[1], .found[0], .annotations.display(), .declared[1], .declared[0],
        turned(.found, .declared)
    )]
    SizeMismatch {
        /// The image.
        path: PathBuf,
        /// The annotation file.
        annotations: PathBuf,
        /// Height and width of the image.
        found: [usize; 2],
        /// Height and width in the annotation file.
        declared: [usize; 2],
    },
    /// A value in the configuration is impossible.
    #[error("`{key}`: {reason}")]
    Config {
        /// The key of the configuration.
        key: &'static str,
        /// What is wrong and what was expected.
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

/// ` (id 7)`, or nothing.
fn with_id(id: &Option<String>) -> String {
    match id {
        Some(id) => format!(" (id {id})"),
        None => String::new(),
    }
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

/// The likely cause of exchanged sides: an annotation tool that applied the EXIF orientation.
fn turned(found: &[usize; 2], declared: &[usize; 2]) -> &'static str {
    if found[0] == declared[1] && found[1] == declared[0] {
        " (EXIF orientation is not applied)"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_mismatch_names_both_files_and_the_likely_cause() {
        let message = |declared| {
            DataError::SizeMismatch {
                path: "a.jpg".into(),
                annotations: "b.json".into(),
                found: [480, 640],
                declared,
            }
            .to_string()
        };
        assert_eq!(
            message([481, 640]),
            "image a.jpg is 640x480 pixels (width x height), but b.json declares 640x481"
        );
        assert!(message([640, 480]).ends_with("(EXIF orientation is not applied)"));
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

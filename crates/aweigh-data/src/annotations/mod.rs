//! COCO annotation files as people's tools write them.
//!
//! One reader serves training, evaluation and tools. It takes the few fields that a box detector
//! uses and ignores every other key, whatever it holds. The file is read as a stream: only these
//! fields are kept.

mod detections;
mod kind;
mod list;
mod record;
mod segmentation;
mod stream;
mod top;
mod value;

use std::collections::HashSet;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use crate::finding::{Counter, Finding};
use crate::{Category, DataError};

pub use detections::{DetectionEntry, DetectionFile};
use stream::Stream;
use top::{Lists, Top};

/// An image of an annotation file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageEntry {
    /// The `id`.
    pub id: i64,
    /// The `file_name`; empty where there is none.
    pub file_name: String,
    /// Width in pixels; 0 where there is none.
    pub width: u32,
    /// Height in pixels; 0 where there is none.
    pub height: u32,
}

/// An annotation with a usable box.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Annotation {
    /// Position in the file's list, from 0.
    pub index: usize,
    /// The `id`, where it is a whole number. Nothing but messages uses it.
    pub id: Option<i64>,
    /// The `image_id`.
    pub image_id: i64,
    /// The `category_id`.
    pub category_id: i64,
    /// `[x, y, width, height]` in pixels; that of the `segmentation` where there is no `bbox`.
    pub bbox: [f64; 4],
    /// In square pixels; where there is no `area`, that of the `segmentation` or of the box.
    pub area: f64,
    /// `iscrowd`.
    pub crowd: bool,
    /// `ignore`, a key of other tools.
    pub ignore: bool,
}

impl Annotation {
    /// How messages name it.
    pub(crate) fn name(&self) -> String {
        name_of(self.id, self.index)
    }
}

/// An annotation by its id, or else by its position.
fn name_of(id: Option<i64>, index: usize) -> String {
    match id {
        Some(id) => format!("annotation {id}"),
        None => format!("`annotations[{index}]`"),
    }
}

/// The content of an annotation file.
#[derive(Clone, Debug)]
pub struct AnnotationFile {
    path: PathBuf,
    digest: String,
    images: Vec<ImageEntry>,
    annotations: Vec<Annotation>,
    categories: Vec<Category>,
    findings: Vec<Finding>,
}

impl AnnotationFile {
    /// Reads an annotation file.
    ///
    /// Plain values in another dress are taken: numbers as text, `1.0` as an id, flags as bools,
    /// numbers as names, a byte order mark. An annotation without a usable box is left out, which
    /// [`findings`](Self::findings) tells.
    ///
    /// # Errors
    /// If the file is missing, of another kind, or not JSON; if it lists no image or no category,
    /// or an id twice; if a value cannot be meant as one of its key: the error names the record,
    /// the key, the value and what was expected.
    pub fn read(path: &Path) -> Result<Self, DataError> {
        let (top, digest) = parse(path, top::annotation_file)?;
        let lists = match top {
            Top::File(lists) => lists,
            Top::Other(what) => return Err(another(path, what)),
        };
        let file = Self::collect(path, digest, lists);
        file.check()?;
        Ok(file)
    }

    fn collect(path: &Path, digest: String, lists: Lists) -> Self {
        let mut file = Self {
            path: path.to_path_buf(),
            digest,
            images: lists.images,
            annotations: lists.annotations,
            categories: lists.categories,
            findings: Vec::new(),
        };
        let all = lists.annotation_count;
        file.find_left_out(&lists.left_out, all);
        file.find_from_segmentation(&lists.from_segmentation, all);
        file
    }

    fn find_left_out(&mut self, left_out: &Counter, all: usize) {
        if let Some(first) = left_out.first() {
            let text = format!(
                "{} of {all} annotations have no usable box and are left out (first: {first})",
                left_out.count()
            );
            self.findings.push(Finding::warning(&self.path, text));
        }
    }

    fn find_from_segmentation(&mut self, from_segmentation: &Counter, all: usize) {
        if let Some(first) = from_segmentation.first() {
            let text = format!(
                "{} of {all} annotations have no `bbox`: the box of their `segmentation` is used \
                 (first: {first})",
                from_segmentation.count()
            );
            self.findings.push(Finding::note(&self.path, text));
        }
    }

    fn check(&self) -> Result<(), DataError> {
        let missing = if self.categories.is_empty() {
            "no categories; `categories` must list at least one"
        } else if self.images.is_empty() {
            "no images; `images` must list at least one"
        } else {
            self.unique("categories", self.categories.iter().map(|c| c.id))?;
            self.unique("images", self.images.iter().map(|image| image.id))?;
            return self.unique("annotations", self.annotations.iter().filter_map(|a| a.id));
        };
        Err(DataError::Empty {
            path: self.path.clone(),
            reason: missing.to_string(),
        })
    }

    fn unique(&self, list: &'static str, ids: impl Iterator<Item = i64>) -> Result<(), DataError> {
        let mut seen = HashSet::with_capacity(ids.size_hint().0);
        for id in ids {
            if !seen.insert(id) {
                let path = self.path.clone();
                return Err(DataError::DuplicateId { path, list, id });
            }
        }
        Ok(())
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// SHA-256 of the file's bytes, in hexadecimal.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The images, in the order of the file.
    pub fn images(&self) -> &[ImageEntry] {
        &self.images
    }

    /// The annotations that have a usable box, in the order of the file.
    pub fn annotations(&self) -> &[Annotation] {
        &self.annotations
    }

    /// The categories, in the order of the file. One without a name is called `cat_ID`.
    pub fn categories(&self) -> &[Category] {
        &self.categories
    }

    /// What was left out, and what was taken from where nobody would look.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }
}

/// Reads the one JSON value of a file; gives the digest of the file too.
fn parse<T>(
    path: &Path,
    read: impl FnOnce(&Path, &mut Json<'_>) -> Result<Parsed<T>, DataError>,
) -> Result<(T, String), DataError> {
    let unreadable = |reason| DataError::AnnotationFile {
        path: path.to_path_buf(),
        reason,
    };
    // A folder can be opened on some systems, and its content be asked for.
    if path.is_dir() {
        return Err(unreadable(std::io::ErrorKind::IsADirectory.into()));
    }
    let mut stream = Stream::new(File::open(path).map_err(unreadable)?);
    if let Some(what) = kind::by_start(stream.start().map_err(unreadable)?) {
        return Err(another(path, what.to_string()));
    }
    let mut json = serde_json::Deserializer::from_reader(BufReader::new(&mut stream));
    let parsed = read(path, &mut json)?;
    if let Err(error) = json.end() {
        // Several values, one after the other, are no JSON but a common way to write records.
        return Err(match parsed.is_record {
            true => another(path, kind::LINES.to_string()),
            false => json_error(path, &error),
        });
    }
    drop(json);
    Ok((parsed.value, stream.digest()))
}

/// What reads a file.
type Json<'a> = serde_json::Deserializer<serde_json::de::IoRead<BufReader<&'a mut Stream<File>>>>;

/// The value of a file.
struct Parsed<T> {
    value: T,
    /// Whether it is an object, another of which may follow.
    is_record: bool,
}

fn another(path: &Path, what: String) -> DataError {
    let path = path.to_path_buf();
    DataError::AnotherKind { path, what }
}

fn json_error(path: &Path, error: &serde_json::Error) -> DataError {
    let path = path.to_path_buf();
    if error.is_io() {
        let reason = std::io::Error::other(error.to_string());
        return DataError::AnnotationFile { path, reason };
    }
    let (line, column) = (error.line(), error.column());
    let message = error.to_string();
    // serde_json puts the place at the end; the path carries it already.
    let place = format!(" at line {line} column {column}");
    DataError::Json {
        path,
        line,
        column,
        reason: message.strip_suffix(&place).unwrap_or(&message).to_string(),
    }
}

//! An annotation file as a whole.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::entry::{Annotation, Category, ImageEntry};
use super::json::{another, parse};
use super::top::{self, Lists, Top};
use crate::DataError;
use crate::finding::{Counter, Finding};

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

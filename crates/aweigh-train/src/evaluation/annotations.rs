//! Ground truth of an evaluation.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hotcoco::{COCO, Dataset};

use super::{EvalError, read};

/// A COCO annotation file, read and indexed once for any number of evaluations.
pub struct Annotations {
    path: PathBuf,
    pub(super) coco: Arc<COCO>,
}

impl Annotations {
    /// Reads a COCO annotation file.
    ///
    /// Annotations of images or categories that the file does not list take no part, as in
    /// pycocotools; their number is logged. A missing `area` is computed from the mask or the box.
    ///
    /// # Errors
    ///
    /// A missing file; invalid JSON, with line and column; no image or no category; an id used
    /// twice; an annotation without `bbox`.
    pub fn open(path: &Path) -> Result<Self, EvalError> {
        let bytes = read(path)?;
        let mut dataset: Dataset =
            serde_json::from_slice(&bytes).map_err(|error| EvalError::Json {
                path: path.into(),
                error,
            })?;
        check(&dataset).map_err(|reason| EvalError::Annotations {
            path: path.into(),
            reason,
        })?;
        // The index would fill these in as well, but with a line on stderr.
        for category in &mut dataset.categories {
            if category.name.is_empty() {
                category.name = COCO::placeholder_cat_name(category.id);
            }
        }
        let coco = Arc::new(COCO::from_dataset(dataset));
        let annotations = Self {
            path: path.into(),
            coco,
        };
        annotations.warn_of_strays();
        Ok(annotations)
    }

    /// The file these annotations come from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the file lists an image of that id.
    pub fn has_image(&self, id: u64) -> bool {
        self.coco.get_img(id).is_some()
    }

    /// Whether the file lists a category of that id.
    pub fn has_category(&self, id: u64) -> bool {
        self.coco.get_cat(id).is_some()
    }

    /// Display name of a category; `cat_ID` for one without a name or outside the file.
    pub fn category_name(&self, id: u64) -> String {
        self.coco.cat_name(id)
    }

    fn warn_of_strays(&self) {
        let all = self.coco.dataset.annotations.iter();
        let strays = all
            .filter(|a| !self.has_image(a.image_id) || !self.has_category(a.category_id))
            .count();
        if strays > 0 {
            tracing::warn!(
                file = %self.path.display(),
                strays,
                "annotations of unlisted images or categories take no part in the evaluation"
            );
        }
    }
}

impl std::fmt::Debug for Annotations {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Annotations")
            .field("path", &self.path)
            .field("images", &self.coco.dataset.images.len())
            .field("annotations", &self.coco.dataset.annotations.len())
            .field("categories", &self.coco.dataset.categories.len())
            .finish()
    }
}

fn check(dataset: &Dataset) -> Result<(), String> {
    if dataset.images.is_empty() {
        return Err("expected at least one record in `images`".into());
    }
    if dataset.categories.is_empty() {
        return Err("expected at least one record in `categories`".into());
    }
    unique("image", dataset.images.iter().map(|i| i.id))?;
    unique("category", dataset.categories.iter().map(|c| c.id))?;
    unique("annotation", dataset.annotations.iter().map(|a| a.id))?;
    match dataset.annotations.iter().find(|a| a.bbox.is_none()) {
        Some(a) => Err(format!(
            "annotation {} has no `bbox`, expected [x, y, width, height]",
            a.id
        )),
        None => Ok(()),
    }
}

fn unique(kind: &str, ids: impl Iterator<Item = u64>) -> Result<(), String> {
    let mut seen = HashSet::new();
    for id in ids {
        if !seen.insert(id) {
            return Err(format!("{kind} id {id} is used twice, expected unique ids"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluation::fixture;

    fn check(text: &str, message: &str) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("truth.json");
        std::fs::write(&path, text).unwrap();
        let error = Annotations::open(&path).unwrap_err().to_string();
        assert!(error.contains("truth.json"), "{error}");
        assert!(error.contains(message), "{error}");
    }

    #[test]
    fn broken_files_are_named_with_the_place() {
        let images = r#""images": [{"id": 1}]"#;
        let categories = r#""categories": [{"id": 1, "name": "a"}]"#;
        let file = |annotations: &str| {
            format!("{{{images}, {categories},\n \"annotations\": [{annotations}]}}")
        };
        check(
            "{\n \"images\": [",
            "EOF while parsing a list at line 2 column 12",
        );
        check(
            r#"{"images": 3}"#,
            "invalid type: integer `3`, expected a sequence at line 1",
        );
        check("{}", "at least one record in `images`");
        check(
            &format!("{{{images}}}"),
            "at least one record in `categories`",
        );
        check(
            r#"{"images": [{"id": 1}, {"id": 1}], "categories": [{"id": 1}]}"#,
            "image id 1 is used twice",
        );
        let record = r#"{"id": 5, "image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1]}"#;
        check(
            &file(&format!("{record}, {record}")),
            "annotation id 5 is used twice",
        );
        check(
            &file(r#"{"id": 5, "image_id": 1, "category_id": 1}"#),
            "annotation 5 has no `bbox`",
        );
        check(
            &file(r#"{"id": 5, "image_id": 1, "category_id": 1, "bbox": [0, 0, 1]}"#),
            "line 2 column",
        );
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = Annotations::open(Path::new("no/such.json")).unwrap_err();
        assert!(error.to_string().starts_with("cannot read no/such.json: "));
    }

    #[test]
    fn unnamed_categories_get_a_name() {
        let dir = tempfile::tempdir().unwrap();
        let truth = fixture::annotations(dir.path());
        assert_eq!(truth.category_name(3), "ring");
        assert_eq!(truth.category_name(7), "cat_7");
        assert!(truth.has_category(7) && !truth.has_category(1));
        assert!(truth.has_image(20) && !truth.has_image(21));
    }
}

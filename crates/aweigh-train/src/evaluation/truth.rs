//! Ground truth of an evaluation.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aweigh_data::Finding;
use aweigh_data::annotations::AnnotationFile;
use hotcoco::{Annotation, COCO, Category, Dataset, Image};

use super::{EvalError, EvalOptions};

/// The ground truth of a COCO annotation file, indexed once for any number of evaluations.
pub struct EvalTruth {
    path: PathBuf,
    pub(super) coco: Arc<COCO>,
    /// The `file_name` of each image.
    names: BTreeMap<i64, String>,
    /// Objects of each image and category, crowds left out.
    objects: HashMap<(i64, i64), usize>,
    shift: Shift,
}

/// The way from ids, which may be negative, to the engine's, which are not: all are shifted by as
/// much as the lowest id of the file is below zero, so that their order stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shift(i64);

impl Shift {
    fn new(ids: impl Iterator<Item = i64>) -> Self {
        Self(ids.fold(0, i64::min))
    }

    /// The engine's id; none for an id that no record of the file can have.
    pub(super) fn to_engine(self, id: i64) -> Option<u64> {
        u64::try_from(i128::from(id) - i128::from(self.0)).ok()
    }

    pub(super) fn of_engine(self, id: u64) -> i64 {
        // The sum is an id of the file, or one that `to_engine` was given.
        (i128::from(id) + i128::from(self.0)) as i64
    }
}

impl EvalTruth {
    /// Reads a COCO annotation file.
    ///
    /// Annotations of images or categories that the file does not list take no part, as in
    /// pycocotools; their number is logged, as is that of annotations without a usable box. A
    /// missing `area` is that of the segmentation or the box.
    ///
    /// # Errors
    ///
    /// For the reasons of [`AnnotationFile::read`].
    pub fn open(path: &Path) -> Result<Self, EvalError> {
        let file = AnnotationFile::read(path)?;
        file.findings().iter().for_each(Finding::log);
        let truth = Self::from_file(&file);
        truth.warn_of_strays(&file);
        Ok(truth)
    }

    /// The ground truth of a file that has been read. Annotations of images or categories that it
    /// does not list take no part.
    pub fn from_file(file: &AnnotationFile) -> Self {
        let images = file.images().iter().map(|image| image.id);
        let categories = file.categories().iter().map(|category| category.id);
        let shift = Shift::new(images.chain(categories));
        let mut truth = Self {
            path: file.path().into(),
            coco: Arc::new(COCO::from_dataset(dataset(file, shift))),
            names: BTreeMap::new(),
            objects: HashMap::new(),
            shift,
        };
        for image in file.images() {
            truth.names.insert(image.id, image.file_name.clone());
        }
        for object in file.annotations().iter().filter(|a| !a.crowd) {
            let key = (object.image_id, object.category_id);
            *truth.objects.entry(key).or_default() += 1;
        }
        truth
    }

    /// The file it comes from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the file lists an image of that id.
    pub fn has_image(&self, id: i64) -> bool {
        self.names.contains_key(&id)
    }

    /// The ids of the images with their `file_name`, which may be empty.
    pub(super) fn images(&self) -> impl Iterator<Item = (i64, &str)> {
        self.names.iter().map(|(id, name)| (*id, name.as_str()))
    }

    /// Whether the file lists a category of that id.
    pub fn has_category(&self, id: i64) -> bool {
        let id = self.shift.to_engine(id);
        id.is_some_and(|id| self.coco.get_cat(id).is_some())
    }

    /// Display name of a category; `cat_ID` for one without a name or outside the file.
    pub fn category_name(&self, id: i64) -> String {
        let known = self.shift.to_engine(id).filter(|_| self.has_category(id));
        known.map_or_else(|| format!("cat_{id}"), |id| self.coco.cat_name(id))
    }

    /// The id of the one category that has this name.
    pub(super) fn category_id(&self, name: &str) -> Option<i64> {
        let categories = self.coco.dataset.categories.iter();
        let mut named = categories.filter(|category| category.name == name);
        let category = named.next()?;
        let id = self.shift.of_engine(category.id);
        named.next().is_none().then_some(id)
    }

    pub(super) fn shift(&self) -> Shift {
        self.shift
    }

    /// Warns of images that have more objects of one category than detections of it count: not
    /// even perfect detections reach an AP of 1.
    pub fn warn_of_crowded(&self, options: &EvalOptions) {
        let limit = options.max_dets.iter().copied().max().unwrap_or(0);
        let over = self.objects.iter().filter(|(_, count)| **count > limit);
        // Of equals the one with the lowest ids, whatever the order of the map.
        let most = over
            .clone()
            .min_by_key(|(ids, count)| (Reverse(**count), **ids));
        let Some(((image, category), count)) = most else {
            return;
        };
        let images: HashSet<i64> = over.map(|(ids, _)| ids.0).collect();
        tracing::warn!(
            "{}: {} images have more objects of one class than the {limit} detections of it that \
             count, at most image {image} with {count} of `{}`: even perfect detections score an \
             AP below 1; set eval.max_dets (--max-dets) to {count}",
            self.path.display(),
            images.len(),
            self.category_name(*category)
        );
    }

    fn warn_of_strays(&self, file: &AnnotationFile) {
        let all = file.annotations().iter();
        let strays = all
            .filter(|a| !self.has_image(a.image_id) || !self.has_category(a.category_id))
            .count();
        if strays > 0 {
            tracing::warn!(
                "{}: {strays} annotations of unlisted images or categories take no part in the \
                 evaluation",
                self.path.display()
            );
        }
    }
}

/// The engine's records of a file.
fn dataset(file: &AnnotationFile, shift: Shift) -> Dataset {
    // Annotations of unlisted images and categories keep ids that none of these has.
    let id = |id| shift.to_engine(id).unwrap_or(u64::MAX);
    let images = file.images().iter().map(|image| Image {
        id: id(image.id),
        width: image.width,
        height: image.height,
        ..Image::default()
    });
    let annotations = file.annotations().iter().enumerate();
    let annotations = annotations.map(|(index, annotation)| Annotation {
        // Ids of annotations matter to nobody, but some tools take 0 for none.
        id: index as u64 + 1,
        image_id: id(annotation.image_id),
        category_id: id(annotation.category_id),
        bbox: Some(annotation.bbox),
        area: Some(annotation.area),
        iscrowd: annotation.crowd,
        ..Annotation::default()
    });
    let categories = file.categories().iter().map(|category| Category {
        id: id(category.id),
        name: category.name.clone(),
        ..Category::default()
    });
    Dataset {
        images: images.collect(),
        annotations: annotations.collect(),
        categories: categories.collect(),
        ..Dataset::default()
    }
}

impl std::fmt::Debug for EvalTruth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EvalTruth")
            .field("path", &self.path)
            .field("images", &self.coco.dataset.images.len())
            .field("annotations", &self.coco.dataset.annotations.len())
            .field("categories", &self.coco.dataset.categories.len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluation::fixture;

    fn check(text: &str, message: &str) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("truth.json");
        std::fs::write(&path, text).unwrap();
        let error = EvalTruth::open(&path).unwrap_err().to_string();
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
        check("{\n \"images\": [", "truth.json:2:12: ");
        check(&format!("{{{images}}}"), "no categories");
        check(
            r#"{"images": [{"id": 1}, {"id": 1}], "categories": [{"id": 1}]}"#,
            "two records in `images` have the id 1",
        );
        check(
            &file(r#"{"id": 5, "image_id": 1, "category_id": 1, "bbox": [0, 0, 1]}"#),
            "`annotations[0]` (id 5): `bbox` is [0, 0, 1]; expected [x, y, width, height]",
        );
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = EvalTruth::open(Path::new("no/such.json")).unwrap_err();
        let message = error.to_string();
        let start = "cannot read annotation file no/such.json: ";
        assert!(message.starts_with(start), "{message}");
    }

    #[test]
    fn unnamed_categories_get_a_name() {
        let dir = tempfile::tempdir().unwrap();
        let truth = fixture::annotations(dir.path());
        assert_eq!(truth.category_name(3), "ring");
        assert_eq!(truth.category_name(7), "cat_7");
        assert_eq!(truth.category_name(-1), "cat_-1");
        assert!(truth.has_category(7) && !truth.has_category(1));
        assert!(truth.has_image(20) && !truth.has_image(21));
    }

    #[test]
    fn ids_keep_their_order_on_the_way_to_the_engine() {
        let shift = Shift::new([3, -2, i64::MAX].into_iter());
        let check = |id: i64, expected: Option<u64>| {
            assert_eq!(shift.to_engine(id), expected);
            if let Some(engine) = expected {
                assert_eq!(shift.of_engine(engine), id);
            }
        };
        check(-2, Some(0));
        check(3, Some(5));
        check(i64::MAX, Some(i64::MAX as u64 + 2));
        check(-3, None);
        assert_eq!(Shift::new([5, 7].into_iter()), Shift(0));
    }
}

//! From the records of an annotation file to images with their ground truth.

use std::collections::HashMap;

use aweigh_geometry::{HostTruth, boxes::xywh_to_xyxy};

use super::config::Purpose;
use crate::DataError;
use crate::annotations::{Annotation, AnnotationFile, Category, ImageEntry};
use crate::finding::Finding;
use crate::look::{self, BoxLook, Fate};
use crate::record::ImageRecord;

/// What was read and what was left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DatasetStats {
    /// Images in use.
    pub images: usize,
    /// Boxes in the images in use.
    pub boxes: usize,
    /// Ignore regions (`iscrowd` or `ignore`) in the images in use.
    pub ignore_regions: usize,
    /// Annotations dropped because they are less than 1 pixel wide or high.
    pub dropped_tiny: usize,
    /// Annotations dropped because their `area` is not positive.
    pub dropped_area: usize,
    /// Annotations dropped because they do not touch their image.
    pub dropped_outside: usize,
    /// Images left out because they have no box and no ignore region.
    pub filtered_empty: usize,
    /// Images left out because they are too small.
    pub filtered_small: usize,
}

impl DatasetStats {
    /// Annotations dropped as degenerate, for any reason.
    pub fn dropped(&self) -> usize {
        self.dropped_tiny + self.dropped_area + self.dropped_outside
    }

    /// Adds the counts of another annotation file.
    pub(super) fn add(&mut self, other: &Self) {
        self.images += other.images;
        self.boxes += other.boxes;
        self.ignore_regions += other.ignore_regions;
        self.dropped_tiny += other.dropped_tiny;
        self.dropped_area += other.dropped_area;
        self.dropped_outside += other.dropped_outside;
        self.filtered_empty += other.filtered_empty;
        self.filtered_small += other.filtered_small;
    }

    fn count(&mut self, fate: Fate) {
        match fate {
            Fate::Learnt | Fate::Ignored => {}
            Fate::Tiny => self.dropped_tiny += 1,
            Fate::NoArea => self.dropped_area += 1,
            Fate::Outside => self.dropped_outside += 1,
        }
    }
}

/// The content of an annotation file.
pub(super) struct Built {
    /// Sorted by category id.
    pub(super) classes: Vec<Category>,
    /// In the order of the file.
    pub(super) images: Vec<ImageRecord>,
    /// Only the counts of dropped annotations are filled.
    pub(super) stats: DatasetStats,
    pub(super) findings: Vec<Finding>,
}

/// Gives every annotation to its image, and looks at all of them.
pub(super) fn build(file: &AnnotationFile, purpose: Purpose) -> Result<Built, DataError> {
    let mut classes = file.categories().to_vec();
    classes.sort_by_key(|class| class.id);
    let mut built = Built {
        images: images(file)?,
        classes,
        stats: DatasetStats::default(),
        findings: file.findings().to_vec(),
    };
    let seen = assign(file, &mut built)?;
    let path = file.path();
    if purpose == Purpose::Train {
        built.findings.extend(seen.left_out(path));
    }
    built.findings.extend(seen.suspicious(path));
    let repeated = look::repeated_boxes(path, &built.images, &built.classes);
    built.findings.extend(repeated);
    built
        .findings
        .extend(look::repeated_files(path, &built.images));
    let classes = look::classes(path, &built.classes, &built.images);
    built.findings.extend(classes);
    Ok(built)
}

fn images(file: &AnnotationFile) -> Result<Vec<ImageRecord>, DataError> {
    let record = |image: &ImageEntry| {
        let reason = if image.file_name.is_empty() {
            "no `file_name`"
        } else if image.width == 0 || image.height == 0 {
            "`width` and `height` must be given and positive"
        } else {
            return Ok(ImageRecord {
                id: image.id,
                file_name: image.file_name.clone(),
                width: image.width,
                height: image.height,
                truth: HostTruth::default(),
            });
        };
        Err(DataError::Image {
            path: file.path().to_path_buf(),
            id: image.id,
            reason: reason.to_string(),
        })
    };
    file.images().iter().map(record).collect()
}

fn assign(file: &AnnotationFile, built: &mut Built) -> Result<BoxLook, DataError> {
    let positions = |ids: &mut dyn Iterator<Item = i64>| -> HashMap<i64, usize> {
        ids.enumerate().map(|(place, id)| (id, place)).collect()
    };
    let labels = positions(&mut built.classes.iter().map(|class| class.id));
    let places = positions(&mut file.images().iter().map(|image| image.id));
    let mut seen = BoxLook::default();
    for annotation in file.annotations() {
        let unknown = |key, id, list| DataError::UnknownReference {
            path: file.path().to_path_buf(),
            annotation: annotation.name(),
            key,
            id,
            list,
        };
        let (image, category) = (annotation.image_id, annotation.category_id);
        let place = places.get(&image);
        let place = *place.ok_or_else(|| unknown("image_id", image, "images"))?;
        let label = labels.get(&category);
        let label = *label.ok_or_else(|| unknown("category_id", category, "categories"))?;
        let fate = fate(annotation, &file.images()[place]);
        seen.see(annotation, &file.images()[place], fate);
        built.stats.count(fate);
        let truth = &mut built.images[place].truth;
        match fate {
            Fate::Learnt => {
                truth.boxes.push(corners(annotation));
                truth.labels.push(label);
            }
            Fate::Ignored => truth.ignore.push(corners(annotation)),
            Fate::Tiny | Fate::NoArea | Fate::Outside => {}
        }
    }
    Ok(seen)
}

/// The rules of mmdetection 3.x `datasets/coco.py`, in f64 as the file has the box.
fn fate(annotation: &Annotation, image: &ImageEntry) -> Fate {
    let [_, _, w, h] = annotation.bbox;
    let [x1, y1, x2, y2] = xywh_to_xyxy(annotation.bbox);
    if w < 1.0 || h < 1.0 {
        Fate::Tiny
    } else if annotation.area <= 0.0 {
        Fate::NoArea
    } else if x2 <= 0.0
        || y2 <= 0.0
        || x1 >= f64::from(image.width)
        || y1 >= f64::from(image.height)
    {
        Fate::Outside
    } else if annotation.crowd || annotation.ignore {
        Fate::Ignored
    } else {
        Fate::Learnt
    }
}

fn corners(annotation: &Annotation) -> [f32; 4] {
    xywh_to_xyxy(annotation.bbox).map(|v| v as f32)
}

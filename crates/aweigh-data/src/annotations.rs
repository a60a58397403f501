//! From COCO's JSON to checked image records.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use hotcoco::types;

use crate::dataset::{Category, DatasetStats, ImageRecord};
use crate::{DataError, HostTruth};

/// The content of an annotation file.
pub(crate) struct Parsed {
    /// Sorted by category id.
    pub(crate) classes: Vec<Category>,
    /// In the order of the file.
    pub(crate) images: Vec<ImageRecord>,
    /// Only the counts of dropped annotations are filled.
    pub(crate) stats: DatasetStats,
}

/// Reads and checks an annotation file.
pub(crate) fn read(path: &Path) -> Result<Parsed, DataError> {
    let mut coco = hotcoco::COCO::new(path).map_err(|error| read_error(path, error))?;
    // The records own their strings from here on; hotcoco's indices are dropped.
    let dataset = std::mem::take(&mut coco.dataset);
    let classes = classes(path, dataset.categories)?;
    let images = images(path, dataset.images)?;
    assign(path, classes, images, &dataset.annotations)
}

fn read_error(path: &Path, error: hotcoco::Error) -> DataError {
    let path = path.to_path_buf();
    match error {
        // Opened again for the plain reason, since hotcoco's message names the file as well.
        hotcoco::Error::Io(reason) => DataError::AnnotationFile {
            reason: match std::fs::File::open(&path) {
                Err(plain) => plain,
                Ok(_) => reason,
            },
            path,
        },
        hotcoco::Error::Json(error) => json_error(path, &error),
        other => DataError::Empty {
            path,
            reason: other.to_string(),
        },
    }
}

fn json_error(path: std::path::PathBuf, error: &serde_json::Error) -> DataError {
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

fn classes(path: &Path, records: Vec<types::Category>) -> Result<Vec<Category>, DataError> {
    let mut classes: Vec<Category> = records
        .into_iter()
        .map(|record| Category {
            id: record.id,
            name: record.name,
        })
        .collect();
    classes.sort_by_key(|class| class.id);
    match classes.windows(2).find(|pair| pair[0].id == pair[1].id) {
        Some(pair) => Err(duplicate(path, "categories", pair[0].id)),
        None => Ok(classes),
    }
}

fn images(path: &Path, records: Vec<types::Image>) -> Result<Vec<ImageRecord>, DataError> {
    let mut seen = HashSet::with_capacity(records.len());
    records
        .into_iter()
        .map(|record| {
            if !seen.insert(record.id) {
                return Err(duplicate(path, "images", record.id));
            }
            let problem = if record.file_name.is_empty() {
                "no `file_name`"
            } else if record.width == 0 || record.height == 0 {
                "`width` and `height` must be given and positive"
            } else {
                return Ok(ImageRecord {
                    id: record.id,
                    file_name: record.file_name,
                    width: record.width,
                    height: record.height,
                    truth: HostTruth::default(),
                });
            };
            Err(DataError::Record {
                path: path.to_path_buf(),
                record: "image",
                id: record.id,
                reason: problem.to_string(),
            })
        })
        .collect()
}

/// Gives every annotation to its image.
fn assign(
    path: &Path,
    classes: Vec<Category>,
    mut images: Vec<ImageRecord>,
    annotations: &[types::Annotation],
) -> Result<Parsed, DataError> {
    let labels: HashMap<u64, usize> = (0..classes.len()).map(|l| (classes[l].id, l)).collect();
    let places: HashMap<u64, usize> = (0..images.len()).map(|i| (images[i].id, i)).collect();
    let mut seen = HashSet::with_capacity(annotations.len());
    let mut stats = DatasetStats::default();
    for annotation in annotations {
        if !seen.insert(annotation.id) {
            return Err(duplicate(path, "annotations", annotation.id));
        }
        let unknown = |key, id, list| DataError::UnknownReference {
            path: path.to_path_buf(),
            annotation: annotation.id,
            key,
            id,
            list,
        };
        let place = *places
            .get(&annotation.image_id)
            .ok_or_else(|| unknown("image_id", annotation.image_id, "images"))?;
        let label = *labels
            .get(&annotation.category_id)
            .ok_or_else(|| unknown("category_id", annotation.category_id, "categories"))?;
        let image = &mut images[place];
        match check_box(path, annotation, image)? {
            Checked::Tiny => stats.dropped_tiny += 1,
            Checked::NoArea => stats.dropped_area += 1,
            Checked::Outside => stats.dropped_outside += 1,
            Checked::Good(bbox) if is_ignored(annotation) => image.truth.ignore.push(bbox),
            Checked::Good(bbox) => {
                image.truth.boxes.push(bbox);
                image.truth.labels.push(label);
            }
        }
    }
    Ok(Parsed {
        classes,
        images,
        stats,
    })
}

/// A `bbox` as it was found.
enum Checked {
    /// Corners in original pixels.
    Good([f32; 4]),
    /// Less than 1 pixel wide or high.
    Tiny,
    /// `area` is not positive.
    NoArea,
    /// No overlap with the image.
    Outside,
}

/// Turns `[x, y, w, h]` into corners and finds degenerate boxes, in f64 as the file has it.
fn check_box(
    path: &Path,
    annotation: &types::Annotation,
    image: &ImageRecord,
) -> Result<Checked, DataError> {
    let problem = |reason: &str| DataError::Record {
        path: path.to_path_buf(),
        record: "annotation",
        id: annotation.id,
        reason: reason.to_string(),
    };
    let [x, y, w, h] = annotation
        .bbox
        .ok_or_else(|| problem("no `bbox`; expected [x, y, width, height] in pixels"))?;
    let (x2, y2) = (x + w, y + h);
    let corners = [x, y, x2, y2].map(|v| v as f32);
    if !corners.iter().all(|v| v.is_finite()) {
        return Err(problem("`bbox` holds a number too large for a coordinate"));
    }
    Ok(if w < 1.0 || h < 1.0 {
        Checked::Tiny
    } else if annotation.area.is_some_and(|area| area <= 0.0) {
        Checked::NoArea
    } else if x2 <= 0.0 || y2 <= 0.0 || x >= image.width.into() || y >= image.height.into() {
        Checked::Outside
    } else {
        Checked::Good(corners)
    })
}

/// `iscrowd`, or the `ignore` key of other tools, as a number or a bool.
fn is_ignored(annotation: &types::Annotation) -> bool {
    let ignore = annotation.extra.get("ignore");
    annotation.iscrowd
        || ignore.is_some_and(|value| {
            value.as_bool().unwrap_or(false) || value.as_f64().is_some_and(|v| v != 0.0)
        })
}

fn duplicate(path: &Path, list: &'static str, id: u64) -> DataError {
    DataError::DuplicateId {
        path: path.to_path_buf(),
        list,
        id,
    }
}

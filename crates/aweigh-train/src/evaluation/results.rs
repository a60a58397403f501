//! Detections in COCO's result format.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use aweigh_data::Category;
use aweigh_data::annotations::{DetectionFile, ImageEntry};
use aweigh_geometry::boxes::xyxy_to_xywh;

use super::{EvalError, EvalTruth, write_json};

/// One detection of a COCO result file.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CocoResult {
    /// Image of the annotation file.
    pub image_id: i64,
    /// Category of the annotation file.
    pub category_id: i64,
    /// `[x, y, width, height]` in pixels of the original image.
    pub bbox: [f64; 4],
    /// Confidence; only the order matters.
    pub score: f64,
}

impl CocoResult {
    /// A detection from a box `[x1, y1, x2, y2]`; the sizes are differences in f64.
    pub fn from_corners(image_id: i64, category_id: i64, corners: [f32; 4], score: f32) -> Self {
        Self {
            image_id,
            category_id,
            bbox: xyxy_to_xywh(corners.map(f64::from)),
            score: f64::from(score),
        }
    }
}

/// Where the detections to evaluate come from.
#[derive(Debug, Clone, Copy)]
pub enum ResultsSource<'a> {
    /// A COCO result file.
    File(&'a Path),
    /// A list in memory.
    Memory(&'a [CocoResult]),
}

impl<'a> From<&'a Path> for ResultsSource<'a> {
    fn from(path: &'a Path) -> Self {
        Self::File(path)
    }
}

impl<'a> From<&'a [CocoResult]> for ResultsSource<'a> {
    fn from(results: &'a [CocoResult]) -> Self {
        Self::Memory(results)
    }
}

impl<'a> From<&'a Vec<CocoResult>> for ResultsSource<'a> {
    fn from(results: &'a Vec<CocoResult>) -> Self {
        Self::Memory(results)
    }
}

/// Writes a COCO result file: a JSON list of detections.
///
/// The file appears under its name only when complete: it is written to a temporary file in the
/// same folder, synced and renamed. f64 values survive a round trip exactly.
///
/// # Errors
///
/// A coordinate or score that is not finite, naming the entry; a file that cannot be written.
pub fn save_results(path: &Path, results: &[CocoResult]) -> Result<(), EvalError> {
    for (index, result) in results.iter().enumerate() {
        finite(result).map_err(|reason| EvalError::Entry {
            origin: path.display().to_string(),
            index,
            reason,
        })?;
    }
    write_json(path, results)
}

/// Reads a file of detections and checks it against the annotations it belongs to.
///
/// It is a list of results, or an object whose `annotations` have scores, as `aweigh predict`
/// writes it. The images and categories of such an object have ids of its own: they are found in
/// the annotation file by the end of their `file_name` and by their name.
///
/// # Errors
///
/// For the reasons of [`DetectionFile::read`]; an unknown image or category, named with its entry.
pub fn load_results(path: &Path, truth: &EvalTruth) -> Result<Vec<CocoResult>, EvalError> {
    let file = DetectionFile::read(path)?;
    let images = image_ids(&file.images, truth);
    let categories = category_ids(&file.categories, truth);
    let mut results = Vec::with_capacity(file.entries.len());
    for (index, entry) in file.entries.iter().enumerate() {
        let unknown = |reason: String| EvalError::Entry {
            origin: path.display().to_string(),
            index,
            reason,
        };
        results.push(CocoResult {
            image_id: id_in_truth(&images, entry.image_id)
                .map_err(|name| unknown(stranger("image", &name, truth)))?,
            category_id: id_in_truth(&categories, entry.category_id)
                .map_err(|name| unknown(stranger("category", &name, truth)))?,
            bbox: entry.bbox,
            score: entry.score,
        });
    }
    check_results(&results, truth, &path.display().to_string())?;
    Ok(results)
}

/// From ids of a file of detections to those of the annotation file, or the name that no record of
/// the latter has.
type IdMap = HashMap<i64, Result<i64, String>>;

/// The id in the annotation file: that of a record which the file of detections lists, or the same.
fn id_in_truth(ids: &IdMap, id: i64) -> Result<i64, String> {
    ids.get(&id).cloned().unwrap_or(Ok(id))
}

/// A name that the annotation file does not have, and what to do.
fn stranger(kind: &str, name: &str, truth: &EvalTruth) -> String {
    format!(
        "its {kind} `{name}` is not in {}: leave out the detections of what that file does not have, \
         or score with annotations that have it",
        truth.path().display()
    )
}

/// The image of the annotation file for each image that a file of detections lists by its name.
fn image_ids(images: &[ImageEntry], truth: &EvalTruth) -> IdMap {
    let mut by_name: HashMap<&str, Vec<(i64, &Path)>> = HashMap::new();
    for (id, name) in truth.images().filter(|(_, name)| !name.is_empty()) {
        let place = by_name.entry(last(name)).or_default();
        place.push((id, Path::new(name)));
    }
    if by_name.is_empty() {
        return IdMap::new();
    }
    let named = images.iter().filter(|image| !image.file_name.is_empty());
    let find = |image: &ImageEntry| {
        let path = Path::new(&image.file_name);
        let candidates = by_name.get(last(&image.file_name)).into_iter().flatten();
        let mut fitting: Vec<_> = candidates
            .filter(|(_, name)| path.ends_with(name) || name.ends_with(path))
            .collect();
        // The same id goes before the longest name.
        fitting.sort_by_key(|(id, name)| (*id != image.id, Reverse(name.components().count())));
        let found = fitting.first().map(|(id, _)| *id);
        (image.id, found.ok_or(image.file_name.clone()))
    };
    named.map(find).collect()
}

fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// The category of the annotation file for each category that a file of detections lists.
fn category_ids(categories: &[Category], truth: &EvalTruth) -> IdMap {
    let find = |category: &Category| {
        // Of several categories of one name, the one with the same id.
        let found = if truth.category_name(category.id) == category.name {
            Some(category.id)
        } else {
            truth.category_id(&category.name)
        };
        (category.id, found.ok_or(category.name.clone()))
    };
    categories.iter().map(find).collect()
}

/// Checks that every detection can be evaluated against `truth`; `origin` names the list.
pub(super) fn check_results(
    results: &[CocoResult],
    truth: &EvalTruth,
    origin: &str,
) -> Result<(), EvalError> {
    let file = truth.path().display();
    for (index, result) in results.iter().enumerate() {
        let known = if !truth.has_image(result.image_id) {
            Err(format!(
                "image_id {} is unknown, expected an image of {file}",
                result.image_id
            ))
        } else if !truth.has_category(result.category_id) {
            Err(format!(
                "category_id {} is unknown, expected a category of {file}",
                result.category_id
            ))
        } else {
            Ok(())
        };
        known
            .and_then(|()| finite(result))
            .map_err(|reason| EvalError::Entry {
                origin: origin.into(),
                index,
                reason,
            })?;
    }
    Ok(())
}

fn finite(result: &CocoResult) -> Result<(), String> {
    if !result.score.is_finite() {
        return Err(format!(
            "score is {}, expected a finite number",
            result.score
        ));
    }
    if result.bbox.iter().any(|v| !v.is_finite()) {
        return Err(format!(
            "bbox is {:?}, expected finite numbers",
            result.bbox
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluation::fixture;

    const GOOD: &str = r#"{"image_id": 20, "category_id": 3, "bbox": [0, 1.5, 2, 3], "score": 1}"#;

    fn load(text: &str) -> Result<Vec<CocoResult>, EvalError> {
        let dir = tempfile::tempdir().unwrap();
        let truth = fixture::annotations(dir.path());
        let path = dir.path().join("detections.json");
        std::fs::write(&path, text).unwrap();
        load_results(&path, &truth)
    }

    fn check(text: &str, parts: &[&str]) {
        let error = load(text).unwrap_err().to_string();
        for part in [&["detections.json"], parts].concat() {
            assert!(error.contains(part), "`{part}` not in: {error}");
        }
    }

    #[test]
    fn errors_name_file_entry_and_expectation() {
        let second = |from: &str, to: &str| format!("[{GOOD},\n{}]", GOOD.replace(from, to));
        check(
            "{}",
            &["not a COCO annotation file", "an object without keys"],
        );
        check(
            &format!("[{GOOD},\n{{\"ima"),
            &["detections.json:2:", "EOF"],
        );
        check(
            &format!("[{GOOD}] x"),
            &["detections.json:1:", "trailing characters"],
        );
        check("", &["it is empty"]);
        check(
            &second("20", "21"),
            &["entry 1: image_id 21 is unknown", "truth.json"],
        );
        check(
            &second(": 3,", ": 4,"),
            &["entry 1: category_id 4 is unknown", "truth.json"],
        );
        check(
            &second("20", "20.5"),
            &["entry 1: `image_id` is 20.5; expected a whole number"],
        );
        check(
            &second(", 3]", "]"),
            &["entry 1: `bbox` is [0, 1.5, 2]; expected [x, y, width, height]"],
        );
        check(
            &second(", 3]", ", null]"),
            &["entry 1: `bbox` is [0, 1.5, 2, null]; expected [x, y, width, height]"],
        );
        check(
            &second(": 1}", ": \"a\"}"),
            &["entry 1: `score` is \"a\"; expected a finite number"],
        );
        check(
            &second(", \"score\": 1", ""),
            &["entry 1: `score` is missing; expected a finite number"],
        );
    }

    #[test]
    fn images_and_categories_of_the_file_are_found_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let truth = dir.path().join("truth.json");
        let text = r#"{
            "images": [{"id": 10, "file_name": "a.png"}, {"id": 1, "file_name": "sub/b.png"}],
            "categories": [{"id": 1, "name": "ring"}, {"id": 2, "name": "star"}]
        }"#;
        std::fs::write(&truth, text).unwrap();
        let truth = EvalTruth::open(&truth).unwrap();
        let load = |images: &str, names: [&str; 2]| {
            let path = dir.path().join("found.json");
            let [first, second] = names;
            let text = format!(
                r#"{{"images": {images}, "categories": [{{"id": 1, "name": "{first}"}},
                {{"id": 2, "name": "{second}"}}], "annotations": [
                {{"image_id": 1, "category_id": 2, "bbox": [1, 2, 3, 4], "score": 0.5}}]}}"#
            );
            std::fs::write(&path, text).unwrap();
            let results = load_results(&path, &truth).map_err(|error| error.to_string())?;
            Ok::<_, String>((results[0].image_id, results[0].category_id))
        };
        let same = ["ring", "star"];
        assert_eq!(
            load(r#"[{"id": 1, "file_name": "in/a.png"}]"#, same),
            Ok((10, 2))
        );
        assert_eq!(
            load(r#"[{"id": 1, "file_name": "b.png"}]"#, same),
            Ok((1, 2))
        );
        assert_eq!(load("[]", ["star", "ring"]), Ok((1, 1)));
        let fails = |images: &str, names, expected: &str| {
            let error = load(images, names).unwrap_err();
            assert!(error.contains(expected), "{error}");
        };
        let stranger = r#"[{"id": 1, "file_name": "c.png"}]"#;
        fails(stranger, same, "entry 0: its image `c.png` is not in ");
        fails(stranger, same, "truth.json: leave out the detections of ");
        let moon = ["ring", "moon"];
        fails("[]", moon, "entry 0: its category `moon` is not in ");
    }

    #[test]
    fn good_files_load() {
        assert_eq!(load("[]").unwrap(), []);
        let expected = CocoResult {
            image_id: 20,
            category_id: 3,
            bbox: [0.0, 1.5, 2.0, 3.0],
            score: 1.0,
        };
        let more = GOOD.replace('}', ", \"id\": 4, \"segmentation\": [[1, 2]]}");
        assert_eq!(
            load(&format!("[{GOOD}, {more}]")).unwrap(),
            [expected, expected]
        );
    }

    #[test]
    fn saved_results_load_unchanged() {
        let dir = tempfile::tempdir().unwrap();
        let truth = fixture::annotations(dir.path());
        let path = dir.path().join("out.json");
        let results = [
            CocoResult::from_corners(10, 3, [0.1, 0.7, 30.3, 41.9], 0.123_456_79),
            CocoResult::from_corners(20, 7, [1.0 / 3.0, 2.0, 3.0, 1e-7], 1e-30),
        ];
        save_results(&path, &[]).unwrap();
        assert_eq!(load_results(&path, &truth).unwrap(), []);
        save_results(&path, &results).unwrap();
        assert_eq!(load_results(&path, &truth).unwrap(), results);
        let files = std::fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(
            files, 2,
            "no temporary file is left beside truth and results"
        );
    }

    #[test]
    fn values_that_json_cannot_hold_are_not_saved() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.json");
        let good = CocoResult::from_corners(10, 3, [0.0, 0.0, 1.0, 1.0], 0.5);
        let score = CocoResult {
            score: f64::NAN,
            ..good
        };
        let bbox = CocoResult {
            bbox: [0.0, f64::INFINITY, 1.0, 1.0],
            ..good
        };
        for (bad, reason) in [
            (score, "score is NaN"),
            (bbox, "bbox is [0.0, inf, 1.0, 1.0]"),
        ] {
            let error = save_results(&path, &[good, bad]).unwrap_err().to_string();
            assert!(
                error.contains("out.json: entry 1: ") && error.contains(reason),
                "{error}"
            );
        }
        assert!(!path.exists());
    }

    #[test]
    fn corners_become_sizes_in_f64() {
        let result = CocoResult::from_corners(1, 2, [0.1, 0.2, 100.3, 50.4], 0.5);
        let width = f64::from(100.3_f32) - f64::from(0.1_f32);
        assert_eq!(result.bbox[2], width);
    }
}

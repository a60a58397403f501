//! Detections in COCO's result format.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::entries::{bbox, category_id, image_id, parse, score};
use super::{Annotations, EvalError, read, write_json};

/// One detection of a COCO result file.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CocoResult {
    /// Image of the annotation file.
    #[serde(deserialize_with = "image_id")]
    pub image_id: u64,
    /// Category of the annotation file.
    #[serde(deserialize_with = "category_id")]
    pub category_id: u64,
    /// `[x, y, width, height]` in pixels of the original image.
    #[serde(deserialize_with = "bbox")]
    pub bbox: [f64; 4],
    /// Confidence; only the order matters.
    #[serde(deserialize_with = "score")]
    pub score: f64,
}

impl CocoResult {
    /// A detection from a box `[x1, y1, x2, y2]`; the sizes are differences in f64.
    pub fn from_corners(image_id: u64, category_id: u64, corners: [f32; 4], score: f32) -> Self {
        let [x1, y1, x2, y2] = corners.map(f64::from);
        Self {
            image_id,
            category_id,
            bbox: [x1, y1, x2 - x1, y2 - y1],
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

/// Reads a COCO result file and checks it against the annotations it belongs to.
///
/// Further keys of an entry (`segmentation`, `id`, ..) are ignored.
///
/// # Errors
///
/// A missing file; JSON that is cut off, not a list, or has an entry of another form, with line,
/// column and entry; an unknown image or category, or a value that is not finite.
pub fn load_results(path: &Path, truth: &Annotations) -> Result<Vec<CocoResult>, EvalError> {
    let bytes = read(path)?;
    let results = parse(&bytes, path)?;
    check_results(&results, truth, &path.display().to_string())?;
    Ok(results)
}

/// Checks that every detection can be evaluated against `truth`; `origin` names the list.
pub(super) fn check_results(
    results: &[CocoResult],
    truth: &Annotations,
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
            &["invalid type: map, expected a list of detections", "line 1"],
        );
        check(
            &format!("[{GOOD},\n{{\"ima"),
            &["entry 1: EOF", "line 2 column"],
        );
        check(
            &format!("[{GOOD}"),
            &["entry 1: EOF while parsing a list", "line 1 column"],
        );
        check(
            &format!("[{GOOD}] x"),
            &["trailing characters", "line 1 column"],
        );
        check("", &["EOF while parsing a value at line 1 column 0"]);
        check(
            &second("20", "21"),
            &["entry 1: image_id 21 is unknown", "truth.json"],
        );
        check(
            &second(": 3,", ": 4,"),
            &["entry 1: category_id 4 is unknown", "truth.json"],
        );
        check(
            &second("20", "-1"),
            &["entry 1", "expected image_id to be an integer", "line 2"],
        );
        check(
            &second("20", "20.5"),
            &["entry 1", "expected image_id to be an integer"],
        );
        check(
            &second(": 3,", ": \"3\","),
            &["entry 1", "expected category_id to be an integer"],
        );
        check(
            &second(", 3]", "]"),
            &["entry 1", "invalid length 3, expected bbox to be 4 numbers"],
        );
        check(
            &second(", 3]", ", 3, 4]"),
            &["entry 1", "invalid length 5, expected bbox"],
        );
        check(
            &second(", 3]", ", null]"),
            &["entry 1", "invalid type: null, expected f64"],
        );
        check(
            &second("[0, 1.5, 2, 3]", "7"),
            &["entry 1", "expected bbox to be 4 numbers"],
        );
        check(
            &second(": 1}", ": \"a\"}"),
            &["entry 1", "expected score to be a number"],
        );
        check(
            &second(": 1}", ": NaN}"),
            &["entry 1", "expected value at line 2"],
        );
        check(
            &second(": 1}", ": 1e999}"),
            &["entry 1", "number out of range at line 2"],
        );
        check(
            &second(", \"score\": 1", ""),
            &["entry 1", "missing field `score`"],
        );
    }

    #[test]
    fn good_files_load() {
        assert_eq!(load("[]").unwrap(), []);
        let wanted = CocoResult {
            image_id: 20,
            category_id: 3,
            bbox: [0.0, 1.5, 2.0, 3.0],
            score: 1.0,
        };
        let more = GOOD.replace('}', ", \"id\": 4, \"segmentation\": [[1, 2]]}");
        assert_eq!(
            load(&format!("[{GOOD}, {more}]")).unwrap(),
            [wanted, wanted]
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

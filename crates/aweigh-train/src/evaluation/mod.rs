//! COCO evaluation: average precision and recall, as pycocotools computes them.
//!
//! Matching, accumulation and the headline figures are hotcoco's; this module reads and checks the
//! files, applies pycocotools' rules for unusual parameters, and renders the result.

mod error;
mod render;
mod results;
mod summary;
mod truth;

use std::io::Write;
use std::path::Path;

use hotcoco::{Annotation, COCOeval, IouType};
use serde::{Deserialize, Serialize};

use crate::files::replace_file_with;
use truth::Shift;

pub use error::EvalError;
pub use hotcoco::AccumulatedEval;
pub use results::{CocoResult, ResultsSource, load_results, save_results};
pub use summary::{ClassRow, Evaluation, Metric, Stats};
pub use truth::EvalTruth;

/// Detections per image and category that pycocotools' first figure is always computed at.
const HEADLINE_DETECTIONS: usize = 100;

/// What to evaluate. Object sizes are COCO's: small up to 32^2 pixels of area, medium up to 96^2,
/// large above.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EvalOptions {
    /// Images to evaluate; all of the annotation file by default.
    pub img_ids: Option<Vec<i64>>,
    /// Categories to evaluate; all of the annotation file by default.
    pub cat_ids: Option<Vec<i64>>,
    /// Limits on the detections per image and category, three or more; order does not matter.
    ///
    /// The first two limits belong to the first two recalls, the third to every other figure,
    /// except that the first figure is at `headline_dets`.
    /// Rows per class are at the last limit.
    pub max_dets: Vec<usize>,
    /// Detections per image and category that the first figure is at; it is -1 where this is none
    /// of the limits.
    #[serde(skip_serializing_if = "is_customary")]
    pub headline_dets: usize,
    /// Whether a detection only matches ground truth of its category; `false` pools all
    /// categories into one.
    pub use_cats: bool,
}

impl Default for EvalOptions {
    fn default() -> Self {
        Self {
            img_ids: None,
            cat_ids: None,
            max_dets: vec![1, 10, HEADLINE_DETECTIONS],
            headline_dets: HEADLINE_DETECTIONS,
            use_cats: true,
        }
    }
}

fn is_customary(headline_dets: &usize) -> bool {
    *headline_dets == HEADLINE_DETECTIONS
}

impl EvalOptions {
    /// Every figure, but the first two recalls, at `limit` detections per image and category:
    /// those of COCO for 100.
    pub fn up_to(limit: usize) -> Self {
        Self {
            max_dets: vec![limit.min(1), limit.min(10), limit],
            headline_dets: limit,
            ..Self::default()
        }
    }

    /// The options in pycocotools' order: limits rising, ids of separate categories rising and
    /// distinct. Pooled categories keep their order, which decides between equal scores.
    fn normalised(&self) -> Result<Self, EvalError> {
        let mut options = self.clone();
        options.max_dets.sort_unstable();
        if options.max_dets.len() < 3 {
            return Err(EvalError::Options(format!(
                "max_dets is {:?}, expected three or more limits such as [1, 10, 100]",
                self.max_dets
            )));
        }
        let ids = [("img_ids", &self.img_ids), ("cat_ids", &self.cat_ids)];
        if let Some((name, _)) = ids.iter().find(|(_, ids)| ids.as_deref() == Some(&[])) {
            return Err(EvalError::Options(format!(
                "{name} is empty, expected ids or no list at all"
            )));
        }
        if let (true, Some(ids)) = (self.use_cats, &mut options.cat_ids) {
            ids.sort_unstable();
            ids.dedup();
        }
        Ok(options)
    }
}

/// Evaluates detections against a COCO annotation file.
///
/// Figures are -1 where there is no ground truth; no detections at all give zeros. As in
/// pycocotools, crowd regions are ignored and the `ignore` field of annotations has no effect.
/// Unlike there, an annotation of id 0 counts: pycocotools takes a match with it for no match.
///
/// # Errors
///
/// Unreadable or inconsistent annotations, results or options: see [`EvalTruth::open`],
/// [`load_results`] and [`EvalOptions`].
pub fn evaluate<'a>(
    truth: &Path,
    results: impl Into<ResultsSource<'a>>,
    options: &EvalOptions,
) -> Result<Evaluation, EvalError> {
    let truth = EvalTruth::open(truth)?;
    truth.warn_of_crowded(options);
    truth.evaluate(results, options)
}

impl EvalTruth {
    /// Evaluates detections against these annotations: [`evaluate`] without reading the
    /// annotation file again.
    ///
    /// # Errors
    ///
    /// Unreadable or inconsistent results or options: see [`load_results`] and [`EvalOptions`].
    pub fn evaluate<'a>(
        &self,
        results: impl Into<ResultsSource<'a>>,
        options: &EvalOptions,
    ) -> Result<Evaluation, EvalError> {
        let options = options.normalised()?;
        self.warn_of_unknown("image", &options.img_ids, |id| self.has_image(id));
        self.warn_of_unknown("category", &options.cat_ids, |id| self.has_category(id));
        let loaded;
        let detections = match results.into() {
            ResultsSource::File(path) => {
                loaded = load_results(path, self)?;
                &loaded
            }
            ResultsSource::Memory(list) => {
                results::check_results(list, self, "results in memory")?;
                list
            }
        };
        let shift = self.shift();
        let detections = self.coco.load_res_anns(to_hotcoco(detections, shift))?;
        let mut engine = COCOeval::new(self.coco.clone(), detections, IouType::Bbox);
        let ids = |ids: &Option<Vec<i64>>| -> Vec<u64> {
            let ids = ids.iter().flatten();
            ids.filter_map(|id| shift.to_engine(*id)).collect()
        };
        engine.params.img_ids = ids(&options.img_ids);
        engine.params.cat_ids = ids(&options.cat_ids);
        engine.params.max_dets.clone_from(&options.max_dets);
        engine.params.use_cats = options.use_cats;
        engine.evaluate()?;
        Ok(Evaluation::collect(&mut engine, options, shift))
    }

    fn warn_of_unknown(&self, kind: &str, ids: &Option<Vec<i64>>, known: impl Fn(i64) -> bool) {
        let unknown = ids.iter().flatten().filter(|id| !known(**id)).count();
        if unknown > 0 {
            tracing::warn!(
                kind,
                unknown,
                "ids to evaluate are not in the annotation file"
            );
        }
    }
}

fn to_hotcoco(results: &[CocoResult], shift: Shift) -> Vec<Annotation> {
    // Every id has been found in the annotation file.
    let id = |id| shift.to_engine(id).unwrap_or_default();
    let convert = |result: &CocoResult| Annotation {
        image_id: id(result.image_id),
        category_id: id(result.category_id),
        bbox: Some(result.bbox),
        score: Some(result.score),
        ..Annotation::default()
    };
    results.iter().map(convert).collect()
}

/// Writes JSON such that the file exists under its name only when complete.
fn write_json<T: Serialize + ?Sized>(path: &Path, value: &T) -> Result<(), EvalError> {
    let written = replace_file_with(path, |file| {
        serde_json::to_writer(&mut *file, value)?;
        file.write_all(b"\n")
    });
    written.map_err(|error| EvalError::Io {
        action: "write",
        path: path.into(),
        error,
    })
}

#[cfg(test)]
mod fixture {
    use super::*;

    /// Two images, two categories, one box of 40 x 40 in image 10 for category 3.
    pub(super) fn annotations(dir: &Path) -> EvalTruth {
        let path = dir.join("truth.json");
        let text = r#"{
            "images": [{"id": 20}, {"id": 10}],
            "categories": [{"id": 7}, {"id": 3, "name": "ring"}],
            "annotations": [
                {"id": 1, "image_id": 10, "category_id": 3, "bbox": [10, 10, 40, 40], "area": 1600}
            ]
        }"#;
        std::fs::write(&path, text).unwrap();
        EvalTruth::open(&path).unwrap()
    }

    /// A detection that covers that box exactly, with the given score.
    pub(super) fn hit(score: f64) -> CocoResult {
        CocoResult {
            image_id: 10,
            category_id: 3,
            bbox: [10.0, 10.0, 40.0, 40.0],
            score,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(results: &[CocoResult], options: &EvalOptions) -> Result<[f64; 12], String> {
        let dir = tempfile::tempdir().unwrap();
        let truth = fixture::annotations(dir.path());
        let evaluation = truth
            .evaluate(results, options)
            .map_err(|e| e.to_string())?;
        Ok(evaluation.stats.to_array())
    }

    fn limits(max_dets: &[usize]) -> EvalOptions {
        EvalOptions {
            max_dets: max_dets.into(),
            ..EvalOptions::default()
        }
    }

    #[test]
    fn no_detection_is_zero_and_no_truth_is_minus_one() {
        // Only a medium object exists.
        let some = |v: f64| [v, v, v, -1.0, v, -1.0, v, v, v, -1.0, v, -1.0];
        let default = EvalOptions::default();
        assert_eq!(check(&[], &default).unwrap(), some(0.0));
        let found = check(&[fixture::hit(0.5)], &default).unwrap();
        for (got, expected) in found.iter().zip(some(1.0)) {
            assert!((got - expected).abs() < 1e-12, "{found:?}");
        }
        let other = EvalOptions {
            cat_ids: Some(vec![7]),
            ..EvalOptions::default()
        };
        assert_eq!(check(&[fixture::hit(0.5)], &other).unwrap(), [-1.0; 12]);
    }

    #[test]
    fn the_first_figure_is_at_100_detections_unless_told_otherwise() {
        // Five misses with higher scores stand before the hit.
        let miss = CocoResult {
            bbox: [500.0, 500.0, 4.0, 4.0],
            ..fixture::hit(0.9)
        };
        let results = [miss, miss, miss, miss, miss, fixture::hit(0.5)];
        let sixth = 1.0 / 6.0;
        let figures = |max_dets: &[usize]| {
            let stats = check(&results, &limits(max_dets)).unwrap();
            [stats[0], stats[1], stats[6], stats[7], stats[8]]
        };
        let close = |max_dets: &[usize], expected: [f64; 5]| {
            for (got, expected) in figures(max_dets).iter().zip(expected) {
                assert!(
                    (got - expected).abs() < 1e-12,
                    "{max_dets:?}: {got} {expected}"
                );
            }
        };
        close(&[1, 10, 100], [sixth, sixth, 0.0, 1.0, 1.0]);
        close(&[100, 1, 10], [sixth, sixth, 0.0, 1.0, 1.0]);
        close(&[1, 2, 3], [-1.0, 0.0, 0.0, 0.0, 0.0]);
        close(&[1, 10, 300], [-1.0, sixth, 0.0, 1.0, 1.0]);
        close(&[2, 100, 300], [sixth, sixth, 0.0, 1.0, 1.0]);
        close(&[1, 2, 3, 100], [sixth, 0.0, 0.0, 0.0, 0.0]);
        close(&[1, 2, 3, 10], [-1.0, 0.0, 0.0, 0.0, 0.0]);
        let up_to = |limit: usize| check(&results, &EvalOptions::up_to(limit)).unwrap()[0];
        assert!((up_to(300) - sixth).abs() < 1e-12);
        assert_eq!(up_to(3), 0.0);
        assert_eq!(EvalOptions::up_to(100), EvalOptions::default());
    }

    #[test]
    fn an_annotation_of_id_0_counts() {
        let dir = tempfile::tempdir().unwrap();
        let truth = fixture::annotations(dir.path());
        let text = std::fs::read_to_string(truth.path()).unwrap();
        let path = dir.path().join("zero.json");
        std::fs::write(&path, text.replace(r#""id": 1,"#, r#""id": 0,"#)).unwrap();
        let options = EvalOptions::default();
        let zero = evaluate(&path, &vec![fixture::hit(0.5)], &options).unwrap();
        assert!(zero.stats.ap > 0.99, "{:?}", zero.stats);
    }

    #[test]
    fn unusable_options_and_results_are_errors() {
        let fails = |results: &[CocoResult], options: &EvalOptions, message: &str| {
            let error = check(results, options).unwrap_err();
            assert!(error.contains(message), "{error}");
        };
        let empty = EvalOptions {
            img_ids: Some(vec![]),
            ..EvalOptions::default()
        };
        fails(
            &[],
            &limits(&[100]),
            "max_dets is [100], expected three or more",
        );
        fails(&[], &empty, "img_ids is empty");
        let stranger = CocoResult {
            image_id: 99,
            ..fixture::hit(0.5)
        };
        let results = [fixture::hit(0.5), stranger];
        let message = "results in memory: entry 1: image_id 99 is unknown";
        fails(&results, &EvalOptions::default(), message);
        let nan = [fixture::hit(f64::NAN)];
        fails(&nan, &EvalOptions::default(), "entry 0: score is NaN");
    }

    #[test]
    fn files_and_memory_agree() {
        let dir = tempfile::tempdir().unwrap();
        let truth = fixture::annotations(dir.path());
        let results = vec![fixture::hit(0.25)];
        let path = dir.path().join("results.json");
        save_results(&path, &results).unwrap();
        let options = EvalOptions::default();
        let file = evaluate(truth.path(), path.as_path(), &options).unwrap();
        let memory = truth.evaluate(&results, &options).unwrap();
        assert_eq!(file.stats, memory.stats);
        assert_eq!(file.per_class, memory.per_class);
    }
}

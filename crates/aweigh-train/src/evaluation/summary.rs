//! The figures of an evaluation.

use std::fmt;
use std::ops::Range;
use std::path::Path;

use hotcoco::{AccumulatedEval, COCOeval, Params};
use serde::{Deserialize, Serialize};

use super::{EvalError, EvalOptions, Shift, write_json};

/// COCO's twelve figures, between 0 and 1; -1 where there is no ground truth.
///
/// The names are those of the default limits of 1, 10 and 100 detections per image.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Stats {
    /// Average precision over the IoU thresholds 0.50, 0.55, .., 0.95.
    #[serde(rename = "AP")]
    pub ap: f64,
    /// Average precision at IoU 0.50.
    #[serde(rename = "AP50")]
    pub ap50: f64,
    /// Average precision at IoU 0.75.
    #[serde(rename = "AP75")]
    pub ap75: f64,
    /// Average precision of small objects.
    #[serde(rename = "APs")]
    pub ap_small: f64,
    /// Average precision of medium objects.
    #[serde(rename = "APm")]
    pub ap_medium: f64,
    /// Average precision of large objects.
    #[serde(rename = "APl")]
    pub ap_large: f64,
    /// Average recall with one detection per image and category.
    #[serde(rename = "AR1")]
    pub ar1: f64,
    /// Average recall with 10 detections per image and category.
    #[serde(rename = "AR10")]
    pub ar10: f64,
    /// Average recall with 100 detections per image and category.
    #[serde(rename = "AR100")]
    pub ar100: f64,
    /// Average recall of small objects.
    #[serde(rename = "ARs")]
    pub ar_small: f64,
    /// Average recall of medium objects.
    #[serde(rename = "ARm")]
    pub ar_medium: f64,
    /// Average recall of large objects.
    #[serde(rename = "ARl")]
    pub ar_large: f64,
}

/// One of the twelve figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Metric {
    /// Average precision over the IoU thresholds 0.50, 0.55, .., 0.95.
    #[default]
    #[serde(rename = "AP")]
    Ap,
    /// Average precision at IoU 0.50.
    #[serde(rename = "AP50")]
    Ap50,
    /// Average precision at IoU 0.75.
    #[serde(rename = "AP75")]
    Ap75,
    /// Average precision of small objects.
    #[serde(rename = "APs")]
    ApSmall,
    /// Average precision of medium objects.
    #[serde(rename = "APm")]
    ApMedium,
    /// Average precision of large objects.
    #[serde(rename = "APl")]
    ApLarge,
    /// Average recall with one detection per image and category.
    #[serde(rename = "AR1")]
    Ar1,
    /// Average recall with 10 detections per image and category.
    #[serde(rename = "AR10")]
    Ar10,
    /// Average recall with 100 detections per image and category.
    #[serde(rename = "AR100")]
    Ar100,
    /// Average recall of small objects.
    #[serde(rename = "ARs")]
    ArSmall,
    /// Average recall of medium objects.
    #[serde(rename = "ARm")]
    ArMedium,
    /// Average recall of large objects.
    #[serde(rename = "ARl")]
    ArLarge,
}

impl Metric {
    /// The names in the order of [`Stats::to_array`].
    const NAMES: [&str; 12] = [
        "AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl",
    ];
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::NAMES[*self as usize])
    }
}

impl Stats {
    /// One of the figures.
    pub fn get(&self, metric: Metric) -> f64 {
        self.to_array()[metric as usize]
    }

    /// The figures in pycocotools' order, that of the fields.
    pub fn to_array(&self) -> [f64; 12] {
        [
            self.ap,
            self.ap50,
            self.ap75,
            self.ap_small,
            self.ap_medium,
            self.ap_large,
            self.ar1,
            self.ar10,
            self.ar100,
            self.ar_small,
            self.ar_medium,
            self.ar_large,
        ]
    }

    fn from_slice(stats: &[f64]) -> Self {
        Self {
            ap: stats[0],
            ap50: stats[1],
            ap75: stats[2],
            ap_small: stats[3],
            ap_medium: stats[4],
            ap_large: stats[5],
            ar1: stats[6],
            ar10: stats[7],
            ar100: stats[8],
            ar_small: stats[9],
            ar_medium: stats[10],
            ar_large: stats[11],
        }
    }
}

/// Figures of one class at the last limit on detections; -1 where it has no ground truth.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassRow {
    /// Category of the annotation file; none when categories are pooled.
    pub category_id: Option<i64>,
    /// Display name.
    pub name: String,
    /// Average precision over the IoU thresholds 0.50, 0.55, .., 0.95.
    #[serde(rename = "AP")]
    pub ap: f64,
    /// Average precision at IoU 0.50.
    #[serde(rename = "AP50")]
    pub ap50: f64,
    /// Average precision at IoU 0.75.
    #[serde(rename = "AP75")]
    pub ap75: f64,
    /// Average precision of small objects.
    #[serde(rename = "APs")]
    pub ap_small: f64,
    /// Average precision of medium objects.
    #[serde(rename = "APm")]
    pub ap_medium: f64,
    /// Average precision of large objects.
    #[serde(rename = "APl")]
    pub ap_large: f64,
    /// Average recall over the IoU thresholds.
    #[serde(rename = "AR")]
    pub ar: f64,
}

/// Result of an evaluation. Serialised, it is the metrics file: options, figures and rows per
/// class, without the curves.
#[derive(Debug, Clone, Serialize)]
pub struct Evaluation {
    /// What was evaluated, with the limits on detections in rising order.
    pub options: EvalOptions,
    /// The twelve figures.
    pub stats: Stats,
    /// One row per category in order of id, or a single row when categories are pooled.
    pub per_class: Vec<ClassRow>,
    /// Precision and score at each recall, and final recall, of every IoU threshold, category,
    /// area range (all, small, medium, large) and limit; -1 where there is no ground truth.
    ///
    /// # Shapes
    ///
    /// Row-major: `precision` and `scores` `[10, 101, classes, 4, limits]`, `recall`
    /// `[10, classes, 4, limits]`.
    #[serde(skip)]
    pub curves: AccumulatedEval,
}

impl Evaluation {
    /// Writes the metrics file as JSON; it appears under its name only when complete.
    ///
    /// # Errors
    ///
    /// A file that cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), EvalError> {
        write_json(path, self)
    }

    /// Accumulates an evaluated engine.
    pub(super) fn collect(engine: &mut COCOeval, options: EvalOptions, shift: Shift) -> Self {
        let curves = accumulate(engine);
        let per_class = (0..curves.shape.k)
            .map(|class| class_row(engine, &curves, class, shift))
            .collect();
        Self {
            stats: headline(engine, &options),
            options,
            per_class,
            curves,
        }
    }
}

fn accumulate(engine: &mut COCOeval) -> AccumulatedEval {
    engine.accumulate();
    let curves = engine.accumulated().cloned();
    curves.expect("accumulate() fills the curves")
}

/// pycocotools' twelve figures at the rising limits `max_dets`.
///
/// hotcoco computes all of them at the largest limit; pycocotools takes the third, and another
/// for the first figure. Curves at a lower limit need no new matching: detections are
/// matched in order of score.
fn headline(engine: &mut COCOeval, options: &EvalOptions) -> Stats {
    let (max_dets, first) = (&options.max_dets, options.headline_dets);
    let mut stats = figures(engine, &max_dets[..3]);
    if max_dets[2] != first {
        stats.ap = if max_dets.contains(&first) {
            figures(engine, &[first]).ap
        } else {
            -1.0
        };
    }
    stats
}

fn figures(engine: &mut COCOeval, max_dets: &[usize]) -> Stats {
    if engine.params.max_dets != max_dets {
        engine.params.max_dets = max_dets.to_vec();
        engine.accumulate();
    }
    engine.summarize_lines();
    let stats = engine.stats();
    Stats::from_slice(stats.expect("summarize_lines() fills the figures"))
}

fn class_row(engine: &COCOeval, curves: &AccumulatedEval, class: usize, shift: Shift) -> ClassRow {
    let params = &engine.params;
    let category = curves.cat_ids.get(class).copied();
    let ap =
        |iou, area| mean_precision(curves, class, thresholds(params, iou), areas(params, area));
    ClassRow {
        category_id: category.map(|id| shift.of_engine(id)),
        name: category.map_or("all classes".into(), |id| engine.coco_gt().cat_name(id)),
        ap: ap(None, "all"),
        ap50: ap(Some(0.5), "all"),
        ap75: ap(Some(0.75), "all"),
        ap_small: ap(None, "small"),
        ap_medium: ap(None, "medium"),
        ap_large: ap(None, "large"),
        ar: mean_recall(curves, class, areas(params, "all")),
    }
}

/// Indices of one IoU threshold, or of all.
fn thresholds(params: &Params, iou: Option<f64>) -> Range<usize> {
    match iou {
        Some(iou) => {
            let at = params.iou_thr_idx(iou);
            let at = at.expect("COCO's thresholds hold 0.50 and 0.75");
            at..at + 1
        }
        None => 0..params.iou_thrs.len(),
    }
}

fn areas(params: &Params, label: &str) -> usize {
    let at = params.area_range_idx(label);
    at.expect("COCO's area ranges are all, small, medium and large")
}

fn mean_precision(curves: &AccumulatedEval, class: usize, ious: Range<usize>, area: usize) -> f64 {
    let last = curves.shape.m - 1;
    mean(ious.flat_map(|iou| {
        (0..curves.shape.r).map(move |recall| {
            curves.precision[curves.precision_idx(iou, recall, class, area, last)]
        })
    }))
}

fn mean_recall(curves: &AccumulatedEval, class: usize, area: usize) -> f64 {
    let last = curves.shape.m - 1;
    let ious = 0..curves.shape.t;
    mean(ious.map(|iou| curves.recall[curves.recall_idx(iou, class, area, last)]))
}

/// Mean of the values that exist, or -1 when none does.
fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values
        .filter(|value| *value > -1.0)
        .fold((0.0, 0_usize), |(sum, count), value| {
            (sum + value, count + 1)
        });
    match count {
        0 => -1.0,
        count => sum / count as f64,
    }
}

#[cfg(test)]
mod tests {
    use crate::evaluation::{CocoResult, EvalOptions, fixture};

    #[test]
    fn rows_follow_category_ids_and_mark_missing_truth() {
        let dir = tempfile::tempdir().unwrap();
        let truth = fixture::annotations(dir.path());
        let stray = CocoResult {
            category_id: 7,
            ..fixture::hit(0.5)
        };
        let results = vec![fixture::hit(0.5), stray];
        let rows = |use_cats| {
            let options = EvalOptions {
                use_cats,
                ..EvalOptions::default()
            };
            truth.evaluate(&results, &options).unwrap().per_class
        };
        let separate = rows(true);
        let ids: Vec<_> = separate
            .iter()
            .map(|r| (r.category_id, r.name.as_str()))
            .collect();
        assert_eq!(ids, [(Some(3), "ring"), (Some(7), "cat_7")]);
        assert!((separate[0].ap - 1.0).abs() < 1e-12 && separate[0].ap_small == -1.0);
        assert_eq!((separate[1].ap, separate[1].ar), (-1.0, -1.0));
        let pooled = rows(false);
        assert_eq!(pooled.len(), 1);
        assert_eq!(
            (pooled[0].category_id, pooled[0].name.as_str()),
            (None, "all classes")
        );
        assert!((pooled[0].ar - 1.0).abs() < 1e-12);
    }

    #[test]
    fn the_metrics_file_holds_options_figures_and_rows() {
        let dir = tempfile::tempdir().unwrap();
        let truth = fixture::annotations(dir.path());
        let results = vec![fixture::hit(0.5)];
        let options = EvalOptions::default();
        let evaluation = truth.evaluate(&results, &options).unwrap();
        let path = dir.path().join("metrics.json");
        evaluation.save(&path).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["stats"]["AR1"], evaluation.stats.ar1);
        assert_eq!(json["stats"]["APs"], -1.0);
        assert_eq!(json["per_class"][0]["name"], "ring");
        assert_eq!(json["options"]["max_dets"][2], 100);
        let keys: Vec<&String> = json.as_object().unwrap().keys().collect();
        assert_eq!(keys.len(), 3);
    }

    #[test]
    fn curves_have_the_documented_shapes() {
        let dir = tempfile::tempdir().unwrap();
        let truth = fixture::annotations(dir.path());
        let results = vec![fixture::hit(0.5)];
        let evaluation = truth.evaluate(&results, &EvalOptions::default()).unwrap();
        let curves = &evaluation.curves;
        assert_eq!(curves.precision.len(), 10 * 101 * 2 * 4 * 3);
        assert_eq!(curves.recall.len(), 10 * 2 * 4 * 3);
        assert_eq!(curves.scores[curves.precision_idx(9, 100, 0, 0, 0)], 0.5);
        assert_eq!(curves.precision[curves.precision_idx(0, 0, 1, 0, 2)], -1.0);
    }
}

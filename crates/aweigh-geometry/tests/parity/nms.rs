//! Suppression against torchvision (`keep_*`) and mmdetection's `multiclass_nms` (`multi_*`).
//!
//! Checked are `keep_agnostic`, `keep_batched`, `multi_keep`, `multi_labels` and `multi_dets`.
//! Outside are `soft_*`, since soft suppression is not offered, and `mmcv_*`: mmcv's sort is not
//! stable, and where scores differ it keeps what torchvision keeps.

use aweigh_geometry::nms::batched_nms;
use aweigh_testkit::{Case, Report, Tolerance, cases, understand};

const INPUTS: [&str; 4] = ["boxes", "scores", "idxs", "multi_scores"];
const CHECKED: [&str; 5] = [
    "keep_agnostic",
    "keep_batched",
    "multi_keep",
    "multi_labels",
    "multi_dets",
];
const OUTSIDE: [&str; 2] = ["mmcv_", "soft_"];
/// How the generator draws boxes and scores; the tensors hold the outcome.
const DRAWING: [&str; 5] = ["n", "cluster", "digits", "degenerate", "special"];
/// `multiclass_nms` of every case, from the note.
const SCORE_THRESHOLD: f32 = 0.3;
const MAX_DETECTIONS: usize = 50;

#[test]
fn parity_nms() {
    for case in cases(env!("CARGO_MANIFEST_DIR"), |meta| meta["kind"] == "nms") {
        understand(&case, &case.meta, &super::known(&["options"]));
        let options = [&DRAWING[..], &["classes", "thr"]].concat();
        understand(&case, &case.meta["options"], &options);
        names_are_understood(&case);
        let mut report = Report::new(&case);
        check_keep(&case, &mut report);
        if case.has("multi_keep") {
            check_multiclass(&case, &mut report);
        }
        report.finish();
    }
}

fn names_are_understood(case: &Case) {
    for name in case.names("") {
        let named = INPUTS.contains(&name.as_str()) || CHECKED.contains(&name.as_str());
        let outside = OUTSIDE.iter().any(|prefix| name.starts_with(prefix));
        assert!(named || outside, "{}: unknown tensor `{name}`", case.name);
    }
}

fn threshold(case: &Case) -> f64 {
    let value = case.meta["options"]["thr"].as_f64();
    value.unwrap_or_else(|| panic!("{}: options.thr is a number", case.name))
}

fn check_keep(case: &Case, report: &mut Report) {
    let boxes = case.boxes("boxes");
    let scores = case.f32s("scores");
    let labels: Vec<usize> = case.ints("idxs").iter().map(|l| *l as usize).collect();
    let agnostic = batched_nms(&boxes, &scores, &vec![0; boxes.len()], threshold(case));
    report.equal(
        "keep_agnostic",
        &ints(&agnostic),
        &case.ints("keep_agnostic"),
    );
    let batched = batched_nms(&boxes, &scores, &labels, threshold(case));
    report.equal("keep_batched", &ints(&batched), &case.ints("keep_batched"));
}

fn check_multiclass(case: &Case, report: &mut Report) {
    let boxes = case.boxes("boxes");
    let columns = case.shape("multi_scores")[1];
    let classes = columns - 1; // the last column is background
    let all = case.f32s("multi_scores");
    let scores: Vec<f32> = all
        .chunks(columns)
        .flat_map(|row| &row[..classes])
        .copied()
        .collect();
    let pairs = multiclass_nms(&boxes, &scores, classes, threshold(case) as f32);
    // The reference's sort is not stable: of equal scores any may come first.
    let expected = case.ints("multi_keep");
    let mut order: Vec<usize> = (0..expected.len()).collect();
    let score = |row: usize| scores[expected[row] as usize];
    order.sort_by(|a, b| {
        let falling = score(*b).total_cmp(&score(*a));
        falling.then(expected[*a].cmp(&expected[*b]))
    });
    let ordered = |values: Vec<i64>| -> Vec<i64> { order.iter().map(|row| values[*row]).collect() };
    report.equal("multi_keep", &ints(&pairs), &ordered(expected.clone()));
    let labels: Vec<usize> = pairs.iter().map(|i| i % classes).collect();
    let expected_labels = ordered(case.ints("multi_labels"));
    report.equal("multi_labels", &ints(&labels), &expected_labels);
    let detections: Vec<f64> = pairs
        .iter()
        .flat_map(|i| boxes[i / classes].into_iter().chain([scores[*i]]))
        .map(f64::from)
        .collect();
    let rows = case.f64s("multi_dets");
    let expected_rows: Vec<f64> = order
        .iter()
        .flat_map(|row| rows[5 * row..5 * row + 5].to_vec())
        .collect();
    // Boxes and scores are copied, not computed.
    let exact = Tolerance::new(0.0, 0.0);
    report.close("multi_dets", &detections, &expected_rows, exact);
}

/// What mmdetection's `multiclass_nms` keeps where every box has a score for each of `classes`
/// classes. The result holds flattened pairs: `i / classes` is the box and `i % classes` the class.
fn multiclass_nms(
    boxes: &[[f32; 4]],
    scores: &[f32],
    classes: usize,
    iou_threshold: f32,
) -> Vec<usize> {
    let pairs: Vec<usize> = (0..scores.len())
        .filter(|i| scores[*i] > SCORE_THRESHOLD)
        .collect();
    let pair_boxes: Vec<[f32; 4]> = pairs.iter().map(|i| boxes[i / classes]).collect();
    let pair_scores: Vec<f32> = pairs.iter().map(|i| scores[*i]).collect();
    let labels: Vec<usize> = pairs.iter().map(|i| i % classes).collect();
    let mut kept = batched_nms(&pair_boxes, &pair_scores, &labels, iou_threshold);
    kept.truncate(MAX_DETECTIONS);
    kept.into_iter().map(|i| pairs[i]).collect()
}

fn ints(indices: &[usize]) -> Vec<i64> {
    indices.iter().map(|i| *i as i64).collect()
}

//! RepPoints heads of mmdetection 3.x: raw outputs, targets of both stages, losses, gradients,
//! candidates, detections.

use aweigh_assign::reppoints::StageTargets;
use aweigh_detectors::reppoints::RepPointsConfig;
use aweigh_testkit::options::size;
use aweigh_testkit::{Case, Report, Tolerance, cases};

use super::shared::{OUTPUT, STRIDES_FROM_8, Setup, class_ids, compare_maps, is_head, level_rows};
use crate::options;

/// Points on boxes that are regressed by exponentials from boxes regressed by exponentials, up to
/// fifty strides large, and features sampled there: f32 and f64 runs of the reference differ by up
/// to 1.4e-4 strides.
const ON_BOXES: Tolerance = Tolerance::new(3e-4, 1e-5);
/// Boxes of the ground truth are passed on, weights are 0 or 1, normalisers are counts.
const EXACT: Tolerance = Tolerance::new(0.0, 0.0);

#[test]
fn parity_reppoints_heads() {
    let keep = |meta: &serde_json::Value| is_head(meta, "RepPointsHead");
    for case in cases(env!("CARGO_MANIFEST_DIR"), keep) {
        check(&case);
    }
}

fn check(case: &Case) {
    let head = &case.meta["head"];
    let method = options::reppoints(case, head, &head["train_cfg"], &head["test_cfg"]);
    let strides = options::strides_or(&head["point_strides"], STRIDES_FROM_8);
    let setup = Setup::loaded(case, method, &strides);
    let mut report = Report::new(case);
    let points = if setup.method.use_grid_points {
        ON_BOXES
    } else {
        OUTPUT
    };
    for name in ["pts_init", "cls_score", "pts_refine"] {
        setup.compare_outputs(&mut report, name, points);
    }
    let boxes = &setup.predictions.maps.bbox_refine;
    compare_maps(&mut report, boxes, "eval/bbox_pred", points);
    let targets = setup.targets();
    for (stage, targets) in [("init", &targets.init), ("refine", &targets.refine)] {
        compare_stage(&mut report, &setup, stage, targets);
    }
    setup.compare_results(&mut report);
    report.finish();
}

fn compare_stage(
    report: &mut Report,
    setup: &Setup<'_, RepPointsConfig>,
    stage: &str,
    targets: &StageTargets,
) {
    let (case, matches) = (setup.case, &targets.matches);
    let classes = size(&case.meta["head"]["num_classes"]);
    let positive: Vec<bool> = matches.positive.to_data().iter::<bool>().collect();
    let ignored: Vec<bool> = matches.ignored.to_data().iter::<bool>().collect();
    let boxes: Vec<f64> = targets.boxes.to_data().iter::<f64>().collect();
    let labels = class_ids(matches, classes);
    let [images, points] = matches.labels.dims();

    for (l, rows) in level_rows(setup.levels(), images).iter().enumerate() {
        let name = |kind: &str| format!("target/{stage}/{kind}/{l}");
        let got: Vec<i64> = rows.iter().map(|&i| labels[i]).collect();
        report.equal(&name("labels"), &got, &case.ints(&name("labels")));
        // A number for every point, or for every side of its box.
        let per_point = |f: &dyn Fn(usize) -> f64| rows.iter().map(|&i| f(i)).collect::<Vec<_>>();
        let per_side = |f: &dyn Fn(usize, usize) -> f64| {
            let sides = rows.iter().flat_map(|&i| (0..4).map(move |side| (i, side)));
            sides.map(|(i, side)| f(i, side)).collect::<Vec<_>>()
        };
        let flag = |flag: bool| if flag { 1.0 } else { 0.0 };
        let kinds = [
            ("label_weights", per_point(&|i| flag(!ignored[i]))),
            ("bbox_weights", per_side(&|i, _| flag(positive[i]))),
            (
                "bboxes",
                per_side(&|i, side| flag(positive[i]) * boxes[4 * i + side]),
            ),
        ];
        for (kind, got) in kinds {
            report.close(&name(kind), &got, &case.f64s(&name(kind)), EXACT);
        }
    }
    let of_images = positive.chunks_exact(points);
    let positives = of_images.map(|image| image.iter().filter(|p| **p).count().max(1));
    let normaliser = positives.sum::<usize>() as f64;
    let name = format!("target/{stage}/avg_factor");
    report.close(&name, &[normaliser], &case.f64s(&name), EXACT);
}

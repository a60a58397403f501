//! RepPoints heads of mmdetection 3.x: raw outputs, targets of both stages, losses, gradients,
//! candidates, detections.

use aweigh_assign::reppoints::StageTargets;
use aweigh_heads::reppoints::RepPointsPredictions;
use aweigh_testkit::options::size;
use aweigh_testkit::{Case, Report, Tolerance, cases, device, module};

use super::shared::{
    LOSS, OUTPUT, Pyramid, STRIDES_FROM_8, class_ids, compare_detections, compare_gradients,
    compare_maps, features, is_head, level_rows, plain, pyramid, truth,
};
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
    let config = options::reppoints(case, head, &head["train_cfg"], &head["test_cfg"]);
    let strides = options::strides_or(&head["point_strides"], STRIDES_FROM_8);
    let pyramid = pyramid(case, &strides);
    let mut head = config
        .head(size(&head["num_classes"]), &pyramid.specs)
        .init(&device().autodiff());
    module::load(&mut head, case, "param/", &[]);

    let features = features(case, &pyramid);
    let predictions = head.forward(features.clone());
    let mut report = Report::new(case);
    let points = match config.use_grid_points {
        true => ON_BOXES,
        false => OUTPUT,
    };
    for (maps, stage) in [
        (&predictions.pts_init, "train/pts_init"),
        (&predictions.cls_score, "train/cls_score"),
        (&predictions.pts_refine, "train/pts_refine"),
        (&predictions.bbox_refine, "eval/bbox_pred"),
    ] {
        compare_maps(&mut report, maps, stage, points);
    }

    let plain = without_autodiff(&predictions);
    let targets = config.targets(&plain, &pyramid.shapes, &truth(case));
    for (stage, targets) in [("init", &targets.init), ("refine", &targets.refine)] {
        compare_stage(&mut report, case, stage, targets, &pyramid);
    }

    let levels = &pyramid.shapes;
    let losses = config.losses(predictions, targets, levels);
    for (name, part) in &losses.parts {
        report.tensor(part.clone(), &format!("loss/{name}"), LOSS);
    }
    report.tensor(losses.total.clone(), "loss/total", LOSS);
    compare_gradients(&mut report, case, &head, &features, &losses.total);
    compare_detections(
        &mut report,
        case,
        |frames| config.candidates(&plain, levels, frames),
        |frames| config.decode(&plain, levels, frames),
    );
    report.finish();
}

fn without_autodiff(p: &RepPointsPredictions) -> RepPointsPredictions {
    RepPointsPredictions {
        cls_score: plain(&p.cls_score),
        pts_init: plain(&p.pts_init),
        pts_refine: plain(&p.pts_refine),
        bbox_init: plain(&p.bbox_init),
        bbox_refine: plain(&p.bbox_refine),
    }
}

fn compare_stage(
    report: &mut Report,
    case: &Case,
    stage: &str,
    targets: &StageTargets,
    pyramid: &Pyramid,
) {
    let classes = size(&case.meta["head"]["num_classes"]);
    let positive: Vec<bool> = targets.positive.to_data().iter::<bool>().collect();
    let ignored: Vec<bool> = targets.ignored.to_data().iter::<bool>().collect();
    let boxes: Vec<f64> = targets.boxes.to_data().iter::<f64>().collect();
    let labels = class_ids(targets.labels.clone(), targets.positive.clone(), classes);
    let [images, points] = targets.labels.dims();

    for (l, rows) in level_rows(&pyramid.shapes, images).iter().enumerate() {
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

//! FoveaBox heads of mmdetection 3.x: raw outputs, targets, losses, gradients, candidates,
//! detections.

use aweigh_detectors::fovea::FoveaConfig;
use aweigh_geometry::GroundTruth;
use aweigh_heads::fovea::FoveaPredictions;
use aweigh_testkit::options::size;
use aweigh_testkit::{Case, Report, cases, device, module};

use super::shared::{
    LOSS, OUTPUT, Pyramid, TARGET, class_ids, compare_detections, compare_gradients, compare_maps,
    features, is_head, level_rows, plain, pyramid, truth,
};
use crate::options;

#[test]
fn heads() {
    let is_fovea = |meta: &_| is_head(meta, "FoveaHead");
    for case in cases(env!("CARGO_MANIFEST_DIR"), is_fovea) {
        check(&case);
    }
}

fn check(case: &Case) {
    let head_options = &case.meta["head"];
    let config = options::fovea(case, head_options, &head_options["test_cfg"]);
    let strides = options::strides_or(&head_options["strides"], options::STRIDES_FROM_4);
    let pyramid = pyramid(case, &strides);
    let mut head = config
        .head(size(&head_options["num_classes"]), &pyramid.specs)
        .init(&device().autodiff());
    module::load(&mut head, case, "param/", &[]);

    let features = features(case, &pyramid);
    let predictions = head.forward(features.clone());
    let mut report = Report::new(case);
    compare_maps(
        &mut report,
        &predictions.cls_score,
        "train/cls_score",
        OUTPUT,
    );
    compare_maps(
        &mut report,
        &predictions.bbox_pred,
        "train/bbox_pred",
        OUTPUT,
    );

    let truth = truth(case);
    targets(&mut report, case, &config, &pyramid, &truth);

    let plain = FoveaPredictions {
        cls_score: plain(&predictions.cls_score),
        bbox_pred: plain(&predictions.bbox_pred),
    };
    let losses = config.losses(predictions, config.targets(&pyramid.shapes, &truth));
    for (name, part) in &losses.parts {
        report.tensor(part.clone(), &format!("loss/{name}"), LOSS);
    }
    report.tensor(losses.total.clone(), "loss/total", LOSS);
    compare_gradients(&mut report, case, &head, &features, &losses.total);

    let levels = &pyramid.shapes;
    compare_detections(
        &mut report,
        case,
        |frames| config.candidates(&plain, levels, frames),
        |frames| config.decode(&plain, levels, frames),
    );
    report.finish();
}

/// The reference's targets hold the levels one after another.
fn targets(
    report: &mut Report,
    case: &Case,
    config: &FoveaConfig,
    pyramid: &Pyramid,
    truth: &GroundTruth,
) {
    let classes = size(&case.meta["head"]["num_classes"]);
    let targets = config.targets(&pyramid.shapes, truth);
    let labels = class_ids(targets.labels, targets.positive, classes);
    let distances: Vec<f64> = targets.distances.into_data().iter::<f64>().collect();
    let rows = level_rows(&pyramid.shapes, truth.images()).concat();
    let labels: Vec<i64> = rows.iter().map(|&i| labels[i]).collect();
    report.equal("target/labels", &labels, &case.ints("target/labels"));
    let distances: Vec<f64> = rows
        .iter()
        .flat_map(|&i| distances[4 * i..][..4].to_vec())
        .collect();
    let wanted = case.f64s("target/bboxes");
    report.close("target/bboxes", &distances, &wanted, TARGET);
}

//! FCOS heads of mmdetection 3.x: raw outputs, targets, losses, gradients, candidates, detections.

use aweigh_detectors::fcos::FcosConfig;
use aweigh_geometry::GroundTruth;
use aweigh_heads::fcos::FcosPredictions;
use aweigh_testkit::options::size;
use aweigh_testkit::{Case, Report, cases, device, module};

use super::shared::{
    LOSS, OUTPUT, PIXELS, Pyramid, TARGET, class_ids, compare_detections, compare_gradients,
    compare_maps, features, is_head, level_rows, plain, pyramid, truth,
};
use crate::options;

#[test]
fn heads() {
    for case in cases(env!("CARGO_MANIFEST_DIR"), |meta| is_head(meta, "FCOSHead")) {
        check(&case);
    }
}

fn check(case: &Case) {
    let head_options = &case.meta["head"];
    let config = options::fcos(case, head_options, &head_options["test_cfg"]);
    let strides = options::strides_or(&head_options["strides"], options::STRIDES_FROM_4);
    let pyramid = pyramid(case, &strides);
    let classes = size(&head_options["num_classes"]);
    let mut head = config
        .head(classes, &pyramid.specs)
        .init(&device().autodiff());
    module::load(&mut head, case, "param/", &[]);

    let features = features(case, &pyramid);
    let predictions = head.forward(features.clone());
    let mut report = Report::new(case);
    outputs(&mut report, case, &config, &pyramid, &predictions);

    let truth = truth(case);
    targets(&mut report, case, &config, &pyramid, &truth);

    let plain = FcosPredictions {
        cls_score: plain(&predictions.cls_score),
        bbox_pred: plain(&predictions.bbox_pred),
        centerness: plain(&predictions.centerness),
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

fn outputs(
    report: &mut Report,
    case: &Case,
    config: &FcosConfig,
    pyramid: &Pyramid,
    predictions: &FcosPredictions,
) {
    let distances = if config.norm_on_bbox { OUTPUT } else { PIXELS };
    compare_maps(report, &predictions.cls_score, "train/cls_score", OUTPUT);
    compare_maps(report, &predictions.bbox_pred, "train/bbox_pred", distances);
    compare_maps(report, &predictions.centerness, "train/centerness", OUTPUT);
    for (l, shape) in pyramid.shapes.iter().enumerate() {
        // In evaluation the reference gives pixels; ours always gives strides and decoding scales.
        let evaluated = format!("eval/bbox_pred/{l}");
        if case.has(&evaluated) {
            let distances = predictions.bbox_pred[l].clone() * shape.stride as f32;
            report.tensor(distances, &evaluated, PIXELS);
        }
    }
}

fn targets(
    report: &mut Report,
    case: &Case,
    config: &FcosConfig,
    pyramid: &Pyramid,
    truth: &GroundTruth,
) {
    let classes = size(&case.meta["head"]["num_classes"]);
    let targets = config.targets(&pyramid.shapes, truth);
    let positive: Vec<bool> = targets.positive.to_data().iter::<bool>().collect();
    let labels = class_ids(targets.labels, targets.positive, classes);
    let distances: Vec<f64> = targets.distances.into_data().iter::<f64>().collect();
    let centerness: Vec<f64> = targets.centerness.into_data().iter::<f64>().collect();

    let mut of_positives = Vec::new();
    for (l, rows) in level_rows(&pyramid.shapes, truth.images())
        .iter()
        .enumerate()
    {
        let stage = format!("target/labels/{l}");
        let got: Vec<i64> = rows.iter().map(|&i| labels[i]).collect();
        report.equal(&stage, &got, &case.ints(&stage));
        let wanted = case.f64s(&format!("target/bboxes/{l}"));
        for (row, &i) in rows.iter().enumerate().filter(|(_, i)| positive[**i]) {
            let (got, wanted) = (&distances[4 * i..][..4], &wanted[4 * row..][..4]);
            report.close("target/bboxes", got, wanted, TARGET);
            of_positives.push(centerness[i]);
        }
    }
    if case.has("target/pos_centerness") {
        let wanted = case.f64s("target/pos_centerness");
        report.close("target/pos_centerness", &of_positives, &wanted, TARGET);
    }
}

//! FCOS heads of mmdetection 3.x: raw outputs, targets, losses, gradients, candidates, detections.

use aweigh_detectors::fcos::FcosConfig;
use aweigh_testkit::options::size;
use aweigh_testkit::{Case, Report, cases};

use super::shared::{OUTPUT, PIXELS, Setup, TARGET, class_ids, is_head, level_rows};
use crate::options;

#[test]
fn heads() {
    for case in cases(env!("CARGO_MANIFEST_DIR"), |meta| is_head(meta, "FCOSHead")) {
        check(&case);
    }
}

fn check(case: &Case) {
    let head = &case.meta["head"];
    let method = options::fcos(case, head, &head["test_cfg"]);
    let strides = options::strides_or(&head["strides"], options::STRIDES_FROM_4);
    let setup = Setup::loaded(case, method, &strides);
    let mut report = Report::new(case);
    outputs(&mut report, &setup);
    targets(&mut report, &setup);
    setup.compare_results(&mut report);
    report.finish();
}

fn outputs(report: &mut Report, setup: &Setup<'_, FcosConfig>) {
    let distances = if setup.method.norm_on_bbox {
        OUTPUT
    } else {
        PIXELS
    };
    setup.compare_outputs(report, "cls_score", OUTPUT);
    setup.compare_outputs(report, "bbox_pred", distances);
    setup.compare_outputs(report, "centerness", OUTPUT);
    for (l, shape) in setup.levels().iter().enumerate() {
        // In evaluation the reference gives pixels; ours always gives strides and decoding scales.
        let evaluated = format!("eval/bbox_pred/{l}");
        if setup.case.has(&evaluated) {
            let distances = setup.predictions.maps.bbox_pred[l].clone() * shape.stride as f32;
            report.tensor(distances, &evaluated, PIXELS);
        }
    }
}

fn targets(report: &mut Report, setup: &Setup<'_, FcosConfig>) {
    let case = setup.case;
    let classes = size(&case.meta["head"]["num_classes"]);
    let targets = setup.targets();
    let labels = class_ids(&targets.matches, classes);
    let positive: Vec<bool> = targets.matches.positive.into_data().iter().collect();
    let distances: Vec<f64> = targets.distances.into_data().iter::<f64>().collect();
    let centerness: Vec<f64> = targets.centerness.into_data().iter::<f64>().collect();

    let mut of_positives = Vec::new();
    let rows = level_rows(setup.levels(), setup.truth.images());
    for (l, rows) in rows.iter().enumerate() {
        let stage = format!("target/labels/{l}");
        let got: Vec<i64> = rows.iter().map(|&i| labels[i]).collect();
        report.equal(&stage, &got, &case.ints(&stage));
        let expected = case.f64s(&format!("target/bboxes/{l}"));
        for (row, &i) in rows.iter().enumerate().filter(|(_, i)| positive[**i]) {
            let (got, expected) = (&distances[4 * i..][..4], &expected[4 * row..][..4]);
            report.close("target/bboxes", got, expected, TARGET);
            of_positives.push(centerness[i]);
        }
    }
    if case.has("target/pos_centerness") {
        let expected = case.f64s("target/pos_centerness");
        report.close("target/pos_centerness", &of_positives, &expected, TARGET);
    }
}

//! FoveaBox heads of mmdetection 3.x: raw outputs, targets, losses, gradients, candidates,
//! detections.

use aweigh_detectors::fovea::FoveaConfig;
use aweigh_testkit::options::size;
use aweigh_testkit::{Case, Report, cases};

use super::shared::{OUTPUT, Setup, TARGET, class_ids, is_head, level_rows};
use crate::options;

#[test]
fn heads() {
    let is_fovea = |meta: &_| is_head(meta, "FoveaHead");
    for case in cases(env!("CARGO_MANIFEST_DIR"), is_fovea) {
        check(&case);
    }
}

fn check(case: &Case) {
    let head = &case.meta["head"];
    let method = options::fovea(case, head, &head["test_cfg"]);
    let strides = options::strides_or(&head["strides"], options::STRIDES_FROM_4);
    let setup = Setup::loaded(case, method, &strides);
    let mut report = Report::new(case);
    setup.compare_outputs(&mut report, "cls_score", OUTPUT);
    setup.compare_outputs(&mut report, "bbox_pred", OUTPUT);
    targets(&mut report, &setup);
    setup.compare_results(&mut report);
    report.finish();
}

/// The reference's targets hold the levels one after another.
fn targets(report: &mut Report, setup: &Setup<'_, FoveaConfig>) {
    let case = setup.case;
    let classes = size(&case.meta["head"]["num_classes"]);
    let targets = setup.targets();
    let labels = class_ids(&targets.matches, classes);
    let distances: Vec<f64> = targets.distances.into_data().iter::<f64>().collect();
    let rows = level_rows(setup.levels(), setup.truth.images()).concat();
    let labels: Vec<i64> = rows.iter().map(|&i| labels[i]).collect();
    report.equal("target/labels", &labels, &case.ints("target/labels"));
    let distances: Vec<f64> = rows
        .iter()
        .flat_map(|&i| distances[4 * i..][..4].to_vec())
        .collect();
    let expected = case.f64s("target/bboxes");
    report.close("target/bboxes", &distances, &expected, TARGET);
}

//! RetinaNet heads of mmdetection 3.x: raw outputs, targets, losses, gradients, candidates,
//! detections.

use aweigh_assign::retina::RetinaTargets;
use aweigh_detectors::retina::RetinaConfig;
use aweigh_testkit::options::size;
use aweigh_testkit::{Case, Report, Tolerance, cases};

use super::shared::{OUTPUT, STRIDES_FROM_8, Setup, TARGET, class_ids, is_head};
use crate::options;

/// Weights are 0 or 1, normalisers are counts.
const EXACT: Tolerance = Tolerance::new(0.0, 0.0);

#[test]
fn parity_retina_heads() {
    let keep = |meta: &serde_json::Value| is_head(meta, "RetinaHead");
    for case in cases(env!("CARGO_MANIFEST_DIR"), keep) {
        check(&case);
    }
}

fn check(case: &Case) {
    let head = &case.meta["head"];
    let method = options::retina(case, head, &head["train_cfg"], &head["test_cfg"]);
    let strides = options::strides_or(&head["anchor_generator"]["strides"], STRIDES_FROM_8);
    let setup = Setup::loaded(case, method, &strides);
    let mut report = Report::new(case);
    setup.compare_outputs(&mut report, "cls_score", OUTPUT);
    setup.compare_outputs(&mut report, "bbox_pred", OUTPUT);
    compare_anchors(&mut report, &setup);
    compare_targets(&mut report, &setup);
    setup.compare_results(&mut report);
    report.finish();
}

/// Index among the anchors of one image of every row of the reference, which goes from point to
/// point and there from anchor to anchor; one list per level.
fn anchor_rows(setup: &Setup<'_, RetinaConfig>) -> Vec<Vec<usize>> {
    let per_point = setup.method.assigner().anchors.per_point();
    let mut start = 0;
    let of_level = setup.levels().iter().map(|shape| {
        let (first, points) = (start, shape.points());
        start += per_point * points;
        let at = |point: usize| (0..per_point).map(move |a| first + a * points + point);
        (0..points).flat_map(at).collect()
    });
    of_level.collect()
}

fn compare_anchors(report: &mut Report, setup: &Setup<'_, RetinaConfig>) {
    let case = setup.case;
    let anchors = setup.method.assigner().anchors.host(setup.levels());
    for (l, rows) in anchor_rows(setup).iter().enumerate() {
        let name = format!("anchors/{l}");
        let sides = rows.iter().flat_map(|&i| anchors[i].map(f64::from));
        let found: Vec<f64> = sides.collect();
        report.close(&name, &found, &case.f64s(&name), TARGET);
    }
}

fn compare_targets(report: &mut Report, setup: &Setup<'_, RetinaConfig>) {
    let case = setup.case;
    let RetinaTargets { matches, deltas } = setup.targets().anchors;
    let [images, anchors] = matches.labels.dims();
    let classes = size(&case.meta["head"]["num_classes"]);
    let positive: Vec<bool> = matches.positive.to_data().iter::<bool>().collect();
    let ignored: Vec<bool> = matches.ignored.to_data().iter::<bool>().collect();
    let deltas: Vec<f64> = deltas.to_data().iter::<f64>().collect();
    let labels = class_ids(&matches, classes);

    for (l, rows) in anchor_rows(setup).iter().enumerate() {
        let name = |kind: &str| format!("target/{kind}/{l}");
        let of_image = |image: usize| rows.iter().map(move |&i| image * anchors + i);
        let rows: Vec<usize> = (0..images).flat_map(of_image).collect();
        let found: Vec<i64> = rows.iter().map(|&i| labels[i]).collect();
        report.equal(&name("labels"), &found, &case.ints(&name("labels")));
        let flag = |flag: bool| if flag { 1.0 } else { 0.0 };
        let kinds: [(&str, Vec<f64>, Tolerance); 3] = [
            (
                "label_weights",
                rows.iter().map(|&i| flag(!ignored[i])).collect(),
                EXACT,
            ),
            (
                "bbox_weights",
                rows.iter().flat_map(|&i| [flag(positive[i]); 4]).collect(),
                EXACT,
            ),
            (
                "bboxes",
                rows.iter()
                    .flat_map(|&i| deltas[4 * i..][..4].to_vec())
                    .collect(),
                TARGET,
            ),
        ];
        for (kind, found, tolerance) in kinds {
            report.close(&name(kind), &found, &case.f64s(&name(kind)), tolerance);
        }
    }
    let of_images = positive.chunks_exact(anchors);
    let positives = of_images.map(|image| image.iter().filter(|p| **p).count().max(1));
    let normaliser = positives.sum::<usize>() as f64;
    let expected = case.f64s("target/avg_factor");
    report.close("target/avg_factor", &[normaliser], &expected, EXACT);
}

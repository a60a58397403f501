//! FSAF heads of mmdetection 3.x: raw outputs, targets, choice of levels, losses, gradients,
//! candidates, detections.

use aweigh_assign::fsaf::CenterRegions;
use aweigh_detectors::fsaf::FsafConfig;
use aweigh_testkit::options::size;
use aweigh_testkit::{Case, Report, Tolerance, cases};

use super::shared::{LOSS, OUTPUT, STRIDES_FROM_8, Setup, class_ids, is_head, level_rows};
use crate::options;

/// Boxes of the ground truth are passed on, weights are 0 or 1, positives are counted.
const EXACT: Tolerance = Tolerance::new(0.0, 0.0);

#[test]
fn parity_fsaf_heads() {
    let keep = |meta: &serde_json::Value| is_head(meta, "FSAFHead");
    for case in cases(env!("CARGO_MANIFEST_DIR"), keep) {
        check(&case);
    }
}

fn check(case: &Case) {
    let head = &case.meta["head"];
    let method = options::fsaf(case, head, &head["train_cfg"], &head["test_cfg"]);
    let strides = options::strides_or(&head["anchor_generator"]["strides"], STRIDES_FROM_8);
    let setup = Setup::loaded(case, method, &strides);
    let mut report = Report::new(case);
    setup.compare_outputs(&mut report, "cls_score", OUTPUT);
    setup.compare_outputs(&mut report, "bbox_pred", OUTPUT);

    let (branch, classes) = (&setup.method.branch, size(&head["num_classes"]));
    let regions = branch.regions(classes, setup.levels(), &setup.truth);
    compare_regions(&mut report, &setup, &regions);
    compare_levels(&mut report, &setup, regions);
    let images = setup.truth.images() as f64;
    report.tensor(setup.losses().positives / images, "info/num_pos", EXACT);
    setup.compare_results(&mut report);
    report.finish();
}

fn compare_regions(report: &mut Report, setup: &Setup<'_, FsafConfig>, regions: &CenterRegions) {
    let (case, matches) = (setup.case, &regions.matches);
    let [images, classes, points] = regions.shadowed.dims();
    let effective: Vec<bool> = matches.positive.to_data().iter::<bool>().collect();
    let ignored: Vec<bool> = matches.ignored.to_data().iter::<bool>().collect();
    let shadowed: Vec<bool> = regions.shadowed.to_data().iter::<bool>().collect();
    let slot: Vec<i64> = matches.slot.to_data().iter::<i64>().collect();
    let boxes: Vec<f64> = regions.boxes.to_data().iter::<f64>().collect();
    let labels = class_ids(matches, classes);

    for (l, rows) in level_rows(setup.levels(), images).iter().enumerate() {
        let name = |kind: &str| format!("target/{kind}/{l}");
        let per_point = |f: &dyn Fn(usize) -> i64| rows.iter().map(|&i| f(i)).collect::<Vec<_>>();
        let found = per_point(&|i| labels[i]);
        report.equal(&name("labels"), &found, &case.ints(&name("labels")));
        let found = per_point(&|i| if effective[i] { slot[i] } else { -1 });
        report.equal(&name("gt_inds"), &found, &case.ints(&name("gt_inds")));

        // A number for every class, or for every side of the point's box.
        let several = |count: usize, f: &dyn Fn(usize, usize) -> f64| {
            let all = rows.iter().flat_map(|&i| (0..count).map(move |k| (i, k)));
            all.map(|(i, k)| f(i, k)).collect::<Vec<_>>()
        };
        let flag = |flag: bool| if flag { 1.0 } else { 0.0 };
        let is_shadowed =
            |i: usize, class: usize| shadowed[(i / points * classes + class) * points + i % points];
        let kinds = [
            (
                "label_weights",
                several(classes, &|i, class| {
                    flag(!ignored[i] && !is_shadowed(i, class))
                }),
            ),
            ("bbox_weights", several(4, &|i, _| flag(effective[i]))),
            (
                "bboxes",
                several(4, &|i, side| flag(effective[i]) * boxes[4 * i + side]),
            ),
        ];
        for (kind, found) in kinds {
            report.close(&name(kind), &found, &case.f64s(&name(kind)), EXACT);
        }
    }
}

/// Compares the losses of every box on every level, the level chosen, and what it leaves.
fn compare_levels(report: &mut Report, setup: &Setup<'_, FsafConfig>, regions: CenterRegions) {
    let (case, levels, truth) = (setup.case, setup.levels(), &setup.truth);
    let branch = &setup.method.branch;
    let choice = branch.online_levels(&setup.predictions, &regions, truth);
    // The reference counts the boxes of all images through.
    let valid: Vec<bool> = truth.valid.to_data().iter::<bool>().collect();
    let slots: Vec<usize> = (0..valid.len()).filter(|&slot| valid[slot]).collect();
    if slots.is_empty() {
        // Nothing to choose for: the reference may store no losses at all.
        return;
    }
    let losses: Vec<f64> = choice.losses.into_data().iter::<f64>().collect();
    for l in 0..levels.len() {
        let name = format!("fsaf/loss_of_gt/{l}");
        let found: Vec<f64> = slots
            .iter()
            .map(|&s| losses[s * levels.len() + l])
            .collect();
        report.close(&name, &found, &case.f64s(&name), LOSS);
    }
    let best: Vec<i64> = choice.level.to_data().iter::<i64>().collect();
    let best: Vec<i64> = slots.iter().map(|&s| best[s]).collect();
    report.equal("fsaf/best_level", &best, &case.ints("fsaf/best_level"));

    let selected = regions.select(choice.level, levels);
    let positive: Vec<bool> = selected
        .matches
        .positive
        .into_data()
        .iter::<bool>()
        .collect();
    for (l, rows) in level_rows(levels, truth.images()).iter().enumerate() {
        let name = format!("fsaf/pos_flags/{l}");
        let found: Vec<i64> = rows.iter().map(|&i| i64::from(positive[i])).collect();
        report.equal(&name, &found, &case.ints(&name));
    }
}

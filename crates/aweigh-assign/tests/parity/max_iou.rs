//! Assignment by overlap.

use aweigh_assign::max_iou::{MaxIouAssigner, ZeroOverlap};
use aweigh_testkit::{Report, device, understand};

use super::{Run, flag, for_each, number};

#[test]
fn parity_max_iou() {
    for_each("MaxIoUAssigner", check);
}

fn check(run: &Run<'_>, report: &mut Report) {
    let boxes = run.case.tensor::<2>("proposals", &device());
    let targets = assigner(run).assign(boxes.unsqueeze_dim(0), None, &run.truth);
    let positive: Vec<bool> = targets.positive.into_data().iter::<bool>().collect();
    let ignored: Vec<bool> = targets.ignored.into_data().iter::<bool>().collect();
    let slot: Vec<i64> = targets.slot.into_data().iter::<i64>().collect();
    run.compare_slots(report, &positive, &ignored, &slot);
}

/// What the options do not name has mmdetection's default.
fn assigner(run: &Run<'_>) -> MaxIouAssigner {
    let known = [
        "type",
        "pos_iou_thr",
        "neg_iou_thr",
        "min_pos_iou",
        "gt_max_assign_all",
        "ignore_iof_thr",
        "ignore_wrt_candidates",
        "match_low_quality",
    ];
    let options = run.options;
    understand(run.case, options, &known);
    MaxIouAssigner {
        pos_iou_thr: number(options, "pos_iou_thr", f32::NAN),
        neg_iou_thr: number(options, "neg_iou_thr", f32::NAN),
        min_pos_iou: number(options, "min_pos_iou", 0.0),
        match_low_quality: flag(options, "match_low_quality", true),
        gt_max_assign_all: flag(options, "gt_max_assign_all", true),
        ignore_iof_thr: number(options, "ignore_iof_thr", -1.0),
        ignore_wrt_candidates: flag(options, "ignore_wrt_candidates", true),
        zero_overlap: ZeroOverlap::Match,
    }
}

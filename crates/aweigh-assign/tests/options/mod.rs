//! From the options of mmdetection's assigners to ours, for the tests of heads and detectors too.
//!
//! What a case's JSON does not name has mmdetection's default; what is not understood panics. Where
//! our defaults differ from the reference on purpose, these are the reference's.

use aweigh_assign::fsaf::CenterRegionAssigner;
use aweigh_assign::max_iou::{InIgnoreRegion, MaxIouAssigner, ZeroOverlap};
use aweigh_assign::reppoints::PointAssigner;
use aweigh_testkit::options::{choice, flag, number, number_or, size_or};
use aweigh_testkit::{Case, understand};
use serde_json::Value;

/// A `PointAssigner`.
pub(crate) fn point(case: &Case, options: &Value) -> PointAssigner {
    understand(case, options, &["type", "scale", "pos_num"]);
    PointAssigner {
        scale: number_or(&options["scale"], 4.0) as f32,
        pos_num: size_or(&options["pos_num"], 3),
        ..PointAssigner::default()
    }
}

/// A `MaxIoUAssigner`.
pub(crate) fn max_iou(case: &Case, options: &Value) -> MaxIouAssigner {
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
    understand(case, options, &known);
    assert_eq!(options["type"], "MaxIoUAssigner", "{}", case.name);
    let switch = |key: &str| choice(&options[key]).unwrap_or(true);
    MaxIouAssigner {
        pos_iou_thr: number(&options["pos_iou_thr"]) as f32,
        neg_iou_thr: number(&options["neg_iou_thr"]) as f32,
        min_pos_iou: number_or(&options["min_pos_iou"], 0.0) as f32,
        match_low_quality: switch("match_low_quality"),
        gt_max_assign_all: switch("gt_max_assign_all"),
        ignore_iof_thr: number_or(&options["ignore_iof_thr"], -1.0) as f32,
        ignore_wrt_candidates: switch("ignore_wrt_candidates"),
        in_ignore_region: InIgnoreRegion::Excluded,
        zero_overlap: ZeroOverlap::Match,
    }
}

/// A `CenterRegionAssigner`.
pub(crate) fn center_region(case: &Case, options: &Value) -> CenterRegionAssigner {
    let known = [
        "type",
        "pos_scale",
        "neg_scale",
        "min_pos_iof",
        "ignore_gt_scale",
        "foreground_dominate",
    ];
    understand(case, options, &known);
    assert_eq!(options["type"], "CenterRegionAssigner", "{}", case.name);
    CenterRegionAssigner {
        pos_scale: number(&options["pos_scale"]) as f32,
        neg_scale: number(&options["neg_scale"]) as f32,
        min_pos_iof: number_or(&options["min_pos_iof"], 0.01) as f32,
        ignore_gt_scale: number_or(&options["ignore_gt_scale"], 0.5) as f32,
        foreground_dominate: flag(&options["foreground_dominate"]),
    }
}

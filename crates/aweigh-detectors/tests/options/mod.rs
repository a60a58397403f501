//! From the options of mmdetection's heads to ours.
//!
//! What a case's JSON does not name has mmdetection's default; what is not understood panics.

#[path = "../../../aweigh-assign/tests/options/mod.rs"]
mod assigners;
mod fcos;
mod fovea;
mod fsaf;
mod reppoints;
mod retina;
mod truth;

use aweigh_detectors::{FocalLoss, InferenceConfig, RankBy, Score, TowerNorm};
use aweigh_testkit::options::{choice, number, number_or, size};
use aweigh_testkit::{Case, understand};
use serde_json::Value;

pub(crate) use fcos::fcos;
pub(crate) use fovea::fovea;
pub(crate) use fsaf::fsaf;
pub(crate) use reppoints::reppoints;
pub(crate) use retina::retina;
pub(crate) use truth::truth;

/// Normalisation of the towers.
pub(crate) fn norm(case: &Case, norm: &Value) -> TowerNorm {
    if norm.is_null() {
        return TowerNorm::None;
    }
    understand(case, norm, &["type", "num_groups", "requires_grad"]);
    assert_eq!(norm["type"], "GN", "{}: norm", case.name);
    TowerNorm::GroupNorm {
        groups: size(&norm["num_groups"]),
    }
}

/// [`focal`], or the default of the classes of FCOS, FoveaBox and RepPoints.
pub(crate) fn focal_or_default(case: &Case, loss: &Value) -> FocalLoss {
    match loss {
        Value::Null => FocalLoss::default(),
        _ => focal(case, loss),
    }
}

/// Focal loss of the classes; `reduction` does not change what it computes.
pub(crate) fn focal(case: &Case, loss: &Value) -> FocalLoss {
    let known = [
        "type",
        "use_sigmoid",
        "gamma",
        "alpha",
        "loss_weight",
        "reduction",
    ];
    understand(case, loss, &known);
    assert_eq!(loss["type"], "FocalLoss", "{}: class loss", case.name);
    let sigmoid = choice(&loss["use_sigmoid"]).unwrap_or(true);
    assert!(sigmoid, "{}: classes that exclude each other", case.name);
    FocalLoss {
        gamma: number_or(&loss["gamma"], 2.0),
        alpha: number_or(&loss["alpha"], 0.25),
        weight: weight(loss),
    }
}

/// Factor of a loss.
pub(crate) fn weight(loss: &Value) -> f64 {
    number_or(&loss["loss_weight"], 1.0)
}

/// Thresholds and limits of inference.
pub(crate) fn inference(case: &Case, test: &Value) -> InferenceConfig {
    let known = [
        "nms_pre",
        "min_bbox_size",
        "score_thr",
        "nms",
        "max_per_img",
    ];
    understand(case, test, &known);
    understand(case, &test["nms"], &["type", "iou_threshold"]);
    assert_eq!(test["nms"]["type"], "nms", "{}: NMS", case.name);
    InferenceConfig {
        score_threshold: number(&test["score_thr"]) as f32,
        nms_pre: size(&test["nms_pre"]),
        nms_iou: number(&test["nms"]["iou_threshold"]) as f32,
        max_per_image: size(&test["max_per_img"]),
        min_box_size: number_or(&test["min_bbox_size"], -1.0) as f32,
        score: Score::Product,
        rank_by: RankBy::Class,
    }
}

/// Strides that the classes of FCOS and FoveaBox have by default.
pub(crate) const STRIDES_FROM_4: [usize; 5] = [4, 8, 16, 32, 64];

/// The strides that the head's options name, or those of its class.
pub(crate) fn strides_or(strides: &Value, absent: [usize; 5]) -> Vec<usize> {
    match strides {
        Value::Null => absent.into(),
        Value::Array(list) => list.iter().map(size).collect(),
        other => panic!("expected a list of strides, got {other}"),
    }
}

//! From the options of mmdetection's heads to ours, for the tests of whole detectors too.
//!
//! What a case's JSON does not name has mmdetection's default; what is not understood panics.

mod fcos;
mod fovea;
mod fsaf;
mod reppoints;
mod retina;

use aweigh_detectors::{FocalLoss, InferenceConfig, Score, TowerNorm};
use aweigh_testkit::{Case, understand};
use serde_json::Value;

pub(crate) use fcos::fcos;
pub(crate) use fovea::fovea;
pub(crate) use fsaf::fsaf;
pub(crate) use reppoints::{matching_zero_overlap, reppoints};
pub(crate) use retina::retina;

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
    FocalLoss {
        gamma: loss["gamma"].as_f64().unwrap_or(2.0),
        alpha: loss["alpha"].as_f64().unwrap_or(0.25),
        weight: weight(loss),
    }
}

/// Factor of a loss.
pub(crate) fn weight(loss: &Value) -> f64 {
    loss["loss_weight"].as_f64().unwrap_or(1.0)
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
    let number = |key: &str| {
        test[key]
            .as_f64()
            .unwrap_or_else(|| panic!("test_cfg.{key}"))
    };
    InferenceConfig {
        score_threshold: number("score_thr") as f32,
        nms_pre: number("nms_pre") as usize,
        nms_iou: test["nms"]["iou_threshold"].as_f64().expect("threshold") as f32,
        max_per_image: number("max_per_img") as usize,
        min_box_size: number("min_bbox_size") as f32,
        score: Score::Product,
    }
}

pub(crate) fn flag(value: &Value) -> bool {
    value.as_bool().unwrap_or(false)
}

pub(crate) fn size(value: &Value) -> usize {
    let number = value.as_u64();
    number.unwrap_or_else(|| panic!("expected a count, got {value}")) as usize
}

pub(crate) fn size_or(value: &Value, absent: usize) -> usize {
    if value.is_null() { absent } else { size(value) }
}

pub(crate) fn numbers(value: &Value) -> Vec<f64> {
    let list = value.as_array().expect("a list of numbers");
    list.iter().map(|x| x.as_f64().expect("a number")).collect()
}

pub(crate) fn pair(value: &Value) -> [f64; 2] {
    numbers(value).try_into().expect("a pair of numbers")
}

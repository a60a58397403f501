//! Options of FCOS heads.

use aweigh_detectors::fcos::{BoxLossKind, FcosConfig};
use aweigh_testkit::options::{choice, flag, number_or, pair, size_or};
use aweigh_testkit::{Case, understand};
use serde_json::Value;

use super::{focal_or_default, inference, norm, weight};

/// An `FCOSHead`; whole detectors keep its `test_cfg` elsewhere.
pub(crate) fn fcos(case: &Case, head: &Value, test: &Value) -> FcosConfig {
    let known = [
        "type",
        "num_classes",
        "in_channels",
        "feat_channels",
        "stacked_convs",
        "strides",
        "norm_cfg",
        "loss_cls",
        "loss_bbox",
        "loss_centerness",
        "test_cfg",
        "norm_on_bbox",
        "centerness_on_reg",
        "dcn_on_last_conv",
        "center_sampling",
        "center_sample_radius",
        "conv_bias",
        "regress_ranges",
        "train_cfg",
    ];
    understand(case, head, &known);
    let default = FcosConfig::default();
    FcosConfig {
        feat_channels: size_or(&head["feat_channels"], 256),
        stacked_convs: size_or(&head["stacked_convs"], 4),
        norm: norm(case, &head["norm_cfg"]),
        conv_bias: conv_bias(&head["conv_bias"]),
        dcn_on_last_conv: flag(&head["dcn_on_last_conv"]),
        points: default.points,
        norm_on_bbox: flag(&head["norm_on_bbox"]),
        centerness_on_reg: flag(&head["centerness_on_reg"]),
        center_sampling: flag(&head["center_sampling"]),
        center_sample_radius: number_or(&head["center_sample_radius"], 1.5) as f32,
        regress_ranges: match &head["regress_ranges"] {
            Value::Null => default.regress_ranges,
            ranges => pairs(ranges),
        },
        focal: focal_or_default(case, &head["loss_cls"]),
        box_loss: box_loss(case, &head["loss_bbox"]),
        box_weight: weight(&head["loss_bbox"]),
        centerness_weight: weight(&head["loss_centerness"]),
        test: inference(case, test),
    }
}

/// A list of ranges.
pub(super) fn pairs(list: &Value) -> Vec<[f32; 2]> {
    let Value::Array(list) = list else {
        panic!("expected a list of ranges, got {list}");
    };
    list.iter().map(|r| pair(r).map(|x| x as f32)).collect()
}

/// Whether the convolutions of the towers have a bias; `auto` where no norm follows.
pub(super) fn conv_bias(value: &Value) -> Option<bool> {
    match value.as_str() {
        Some("auto") => None,
        _ => choice(value),
    }
}

fn box_loss(case: &Case, loss: &Value) -> BoxLossKind {
    understand(case, loss, &["type", "loss_weight", "eps", "mode"]);
    assert!(
        loss["eps"].is_null() || loss["eps"] == 1e-6,
        "{}: eps",
        case.name
    );
    match (loss["type"].as_str(), loss["mode"].as_str()) {
        (Some("IoULoss"), None | Some("log")) => BoxLossKind::Iou,
        (Some("IoULoss"), Some("linear")) => BoxLossKind::LinearIou,
        (Some("GIoULoss"), None) => BoxLossKind::Giou,
        (Some("DIoULoss"), None) => BoxLossKind::Diou,
        other => panic!("{}: box loss {other:?}", case.name),
    }
}

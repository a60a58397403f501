//! Options of FoveaBox heads.

use aweigh_detectors::fovea::FoveaConfig;
use aweigh_testkit::options::{flag, number_or, numbers, size_or};
use aweigh_testkit::{Case, understand};
use serde_json::Value;

use super::fcos::{conv_bias, pairs};
use super::{STRIDES_FROM_4, focal_or_default, inference, norm, strides_or, weight};

/// A `FoveaHead`; whole detectors keep its `test_cfg` elsewhere.
pub(crate) fn fovea(case: &Case, head: &Value, test: &Value) -> FoveaConfig {
    let known = [
        "type",
        "num_classes",
        "in_channels",
        "feat_channels",
        "stacked_convs",
        "strides",
        "base_edge_list",
        "scale_ranges",
        "sigma",
        "with_deform",
        "deform_groups",
        "norm_cfg",
        "conv_bias",
        "dcn_on_last_conv",
        "loss_cls",
        "loss_bbox",
        "train_cfg",
        "test_cfg",
    ];
    understand(case, head, &known);
    let loss = &head["loss_bbox"];
    understand(case, loss, &["type", "beta", "loss_weight"]);
    assert_eq!(loss["type"], "SmoothL1Loss", "{}: box loss", case.name);
    // The reference pairs levels with entries until one of the lists ends.
    let levels = strides_or(&head["strides"], STRIDES_FROM_4).len();
    FoveaConfig {
        feat_channels: size_or(&head["feat_channels"], 256),
        stacked_convs: size_or(&head["stacked_convs"], 4),
        norm: norm(case, &head["norm_cfg"]),
        conv_bias: conv_bias(&head["conv_bias"]),
        dcn_on_last_conv: flag(&head["dcn_on_last_conv"]),
        with_deform: flag(&head["with_deform"]),
        deform_groups: size_or(&head["deform_groups"], 4),
        sigma: number_or(&head["sigma"], 0.4),
        base_edge_list: base_edges(&head["base_edge_list"], levels),
        scale_ranges: scale_ranges(&head["scale_ranges"], levels),
        focal: focal_or_default(case, &head["loss_cls"]),
        smooth_l1_beta: number_or(&loss["beta"], 1.0),
        box_weight: weight(loss),
        test: inference(case, test),
    }
}

fn base_edges(edges: &Value, levels: usize) -> Vec<f32> {
    match edges {
        Value::Null => FoveaConfig::default().base_edge_list,
        _ => numbers(edges).iter().map(|edge| *edge as f32).collect(),
    }
    .into_iter()
    .take(levels)
    .collect()
}

fn scale_ranges(ranges: &Value, levels: usize) -> Vec<[f32; 2]> {
    match ranges {
        // The class's default, which no published config uses.
        Value::Null => [8.0, 16.0, 32.0, 64.0, 128.0]
            .map(|low| [low, 4.0 * low])
            .to_vec(),
        _ => pairs(ranges),
    }
    .into_iter()
    .take(levels)
    .collect()
}

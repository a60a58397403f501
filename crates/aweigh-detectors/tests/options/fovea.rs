//! Options of FoveaBox heads.

use aweigh_detectors::fovea::FoveaConfig;
use aweigh_testkit::{Case, understand};
use serde_json::Value;

use super::{flag, focal, inference, norm, numbers, pair, size_or, weight};

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
        "loss_cls",
        "loss_bbox",
        "train_cfg",
        "test_cfg",
    ];
    understand(case, head, &known);
    let loss = &head["loss_bbox"];
    understand(case, loss, &["type", "beta", "loss_weight"]);
    assert_eq!(loss["type"], "SmoothL1Loss", "{}: box loss", case.name);
    let list = |key: &str| head[key].as_array().map(Vec::as_slice);
    FoveaConfig {
        feat_channels: size_or(&head["feat_channels"], 256),
        stacked_convs: size_or(&head["stacked_convs"], 4),
        norm: norm(case, &head["norm_cfg"]),
        conv_bias: head["conv_bias"].as_bool(),
        with_deform: flag(&head["with_deform"]),
        deform_groups: size_or(&head["deform_groups"], 4),
        sigma: head["sigma"].as_f64().unwrap_or(0.4),
        base_edge_list: match list("base_edge_list") {
            Some(_) => numbers(&head["base_edge_list"])
                .iter()
                .map(|edge| *edge as f32)
                .collect(),
            None => FoveaConfig::default().base_edge_list,
        },
        scale_ranges: match list("scale_ranges") {
            Some(ranges) => ranges.iter().map(|r| pair(r).map(|x| x as f32)).collect(),
            // The class's default, which no published config uses.
            None => [8.0, 16.0, 32.0, 64.0, 128.0]
                .map(|low| [low, 4.0 * low])
                .to_vec(),
        },
        focal: focal(case, &head["loss_cls"]),
        smooth_l1_beta: loss["beta"].as_f64().unwrap_or(1.0),
        box_weight: weight(loss),
        test: inference(case, test),
    }
}

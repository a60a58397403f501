//! Options of RetinaNet heads.

use aweigh_detectors::retina::{AnchorStyle, Anchors, DeltaLoss, RetinaConfig};
use aweigh_testkit::options::{number, number_or, numbers, size_or};
use aweigh_testkit::{Case, understand};
use serde_json::Value;

use super::assigners::max_iou;
use super::fsaf::assigner_options;
use super::{focal, inference, norm, weight};

/// A `RetinaHead`; whole detectors keep its `train_cfg` and `test_cfg` elsewhere.
pub(crate) fn retina(case: &Case, head: &Value, train: &Value, test: &Value) -> RetinaConfig {
    let known = [
        "type",
        "num_classes",
        "in_channels",
        "feat_channels",
        "stacked_convs",
        "norm_cfg",
        "anchor_generator",
        "bbox_coder",
        "loss_cls",
        "loss_bbox",
        "train_cfg",
        "test_cfg",
    ];
    understand(case, head, &known);
    let coder = &head["bbox_coder"];
    understand(case, coder, &["type", "target_means", "target_stds"]);
    let plain = |key: &str, value: f64| {
        let given = &coder[key];
        assert!(
            given.is_null() || numbers(given) == [value; 4],
            "{}: {key} {given}",
            case.name
        );
    };
    plain("target_means", 0.0);
    plain("target_stds", 1.0);
    RetinaConfig {
        feat_channels: size_or(&head["feat_channels"], 256),
        stacked_convs: size_or(&head["stacked_convs"], 4),
        norm: norm(case, &head["norm_cfg"]),
        box_loss: box_loss(case, &head["loss_bbox"]),
        box_weight: weight(&head["loss_bbox"]),
        anchors: anchors(case, &head["anchor_generator"]),
        assigner: max_iou(case, assigner_options(case, train)),
        focal: focal(case, &head["loss_cls"]),
        test: inference(case, test),
        ..RetinaConfig::default()
    }
}

fn anchors(case: &Case, options: &Value) -> Anchors {
    let known = [
        "type",
        "octave_base_scale",
        "scales_per_octave",
        "ratios",
        "strides",
    ];
    understand(case, options, &known);
    assert_eq!(options["type"], "AnchorGenerator", "{}", case.name);
    let ratios = numbers(&options["ratios"]);
    Anchors {
        octave_base_scale: number(&options["octave_base_scale"]) as f32,
        scales_per_octave: size_or(&options["scales_per_octave"], 1),
        ratios: ratios.into_iter().map(|ratio| ratio as f32).collect(),
        style: AnchorStyle::Mmdetection,
    }
}

fn box_loss(case: &Case, loss: &Value) -> DeltaLoss {
    understand(case, loss, &["type", "beta", "loss_weight"]);
    match loss["type"].as_str() {
        Some("L1Loss") => DeltaLoss::L1,
        Some("SmoothL1Loss") => DeltaLoss::SmoothL1 {
            beta: number_or(&loss["beta"], 1.0),
        },
        other => panic!("{}: box loss {other:?}", case.name),
    }
}

//! From the options of an mmdetection config to a detector's.

use aweigh_backbone::{Affine, Depth, ExtraLevels, FpnConfig, NormConfig, ResNetConfig, Style};
use aweigh_detectors::fcos::{BoxLossKind, FcosConfig, TowerNorm};
use aweigh_detectors::{DetectorConfig, FocalLoss, InferenceConfig, Score};
use aweigh_testkit::{Case, understand};
use serde_json::Value;

/// The detector of the case's `model`.
pub(super) fn detector(case: &Case) -> DetectorConfig {
    let model = &case.meta["model"];
    let parts = [
        "type",
        "data_preprocessor",
        "backbone",
        "neck",
        "bbox_head",
        "train_cfg",
    ];
    understand(case, model, &[&parts[..], &["test_cfg"]].concat());
    let head = &model["bbox_head"];
    DetectorConfig {
        num_classes: Some(size(&head["num_classes"])),
        backbone: backbone(case, &model["backbone"]),
        neck: neck(case, &model["neck"]),
        fcos: Some(fcos(case, head, &model["test_cfg"])),
    }
}

fn backbone(case: &Case, options: &Value) -> ResNetConfig {
    let known = [
        "type",
        "depth",
        "base_channels",
        "num_stages",
        "strides",
        "dilations",
        "out_indices",
        "frozen_stages",
        "norm_cfg",
        "norm_eval",
        "style",
        "init_cfg",
        "zero_init_residual",
    ];
    understand(case, options, &known);
    assert_eq!(options["type"], "ResNet", "{}: backbone", case.name);
    let default = ResNetConfig::default();
    let list = |key: &str, absent: &[usize]| match options[key].as_array() {
        Some(list) => list.iter().map(size).collect(),
        None => absent.to_vec(),
    };
    ResNetConfig {
        depth: Depth::try_from(size(&options["depth"])).expect("a known depth"),
        style: match options["style"].as_str() {
            Some("caffe") => Style::Caffe,
            None | Some("pytorch") => Style::Pytorch,
            Some(other) => panic!("{}: style {other}", case.name),
        },
        base_channels: size_or(&options["base_channels"], 64),
        num_stages: size_or(&options["num_stages"], 4),
        strides: list("strides", &default.strides),
        dilations: list("dilations", &default.dilations),
        out_indices: list("out_indices", &default.out_indices),
        frozen_stages: options["frozen_stages"].as_i64().map_or(-1, |n| n as i32),
        norm: norm(case, &options["norm_cfg"], flag(&options["norm_eval"])),
        ..default
    }
}

fn norm(case: &Case, options: &Value, norm_eval: bool) -> NormConfig {
    understand(
        case,
        options,
        &["type", "num_groups", "requires_grad", "eps"],
    );
    let trained = options["requires_grad"].as_bool().unwrap_or(true);
    match (options["type"].as_str(), norm_eval, trained) {
        (Some("BN"), true, true) => NormConfig::FrozenBn {
            affine: Affine::Trainable,
        },
        (Some("BN"), true, false) => NormConfig::FrozenBn {
            affine: Affine::Frozen,
        },
        (Some("BN"), false, true) => NormConfig::BatchNorm,
        (Some("GN"), _, true) => NormConfig::GroupNorm {
            groups: size(&options["num_groups"]),
        },
        other => panic!("{}: norm {other:?}", case.name),
    }
}

fn neck(case: &Case, options: &Value) -> FpnConfig {
    let known = [
        "type",
        "in_channels",
        "out_channels",
        "start_level",
        "end_level",
        "add_extra_convs",
        "num_outs",
        "relu_before_extra_convs",
        "norm_cfg",
        "no_norm_on_lateral",
    ];
    understand(case, options, &known);
    assert_eq!(options["type"], "FPN", "{}: neck", case.name);
    FpnConfig {
        out_channels: size(&options["out_channels"]),
        start_level: size_or(&options["start_level"], 0),
        end_level: options["end_level"].as_u64().map(|n| n as usize),
        num_outs: size(&options["num_outs"]),
        add_extra_convs: match &options["add_extra_convs"] {
            Value::Null | Value::Bool(false) => ExtraLevels::None,
            Value::Bool(true) => ExtraLevels::OnInput,
            other => match other.as_str() {
                Some("on_input") => ExtraLevels::OnInput,
                Some("on_lateral") => ExtraLevels::OnLateral,
                Some("on_output") => ExtraLevels::OnOutput,
                _ => panic!("{}: add_extra_convs {other}", case.name),
            },
        },
        relu_before_extra_convs: flag(&options["relu_before_extra_convs"]),
        norm: match &options["norm_cfg"] {
            Value::Null => None,
            options => Some(norm(case, options, false)),
        },
        no_norm_on_lateral: flag(&options["no_norm_on_lateral"]),
        ..FpnConfig::default()
    }
}

fn fcos(case: &Case, head: &Value, test: &Value) -> FcosConfig {
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
        "norm_on_bbox",
        "conv_bias",
        "centerness_on_reg",
        "dcn_on_last_conv",
        "center_sampling",
        "center_sample_radius",
        "regress_ranges",
    ];
    understand(case, head, &known);
    assert!(
        !flag(&head["dcn_on_last_conv"]),
        "{}: DCN in the tower",
        case.name
    );
    let default = FcosConfig::default();
    let weight = |loss: &Value| loss["loss_weight"].as_f64().unwrap_or(1.0);
    FcosConfig {
        feat_channels: size_or(&head["feat_channels"], 256),
        stacked_convs: size_or(&head["stacked_convs"], 4),
        norm: match &head["norm_cfg"] {
            Value::Null => TowerNorm::None,
            options => TowerNorm::GroupNorm {
                groups: size(&options["num_groups"]),
            },
        },
        conv_bias: head["conv_bias"].as_bool(),
        norm_on_bbox: flag(&head["norm_on_bbox"]),
        centerness_on_reg: flag(&head["centerness_on_reg"]),
        center_sampling: flag(&head["center_sampling"]),
        center_sample_radius: head["center_sample_radius"].as_f64().unwrap_or(1.5) as f32,
        regress_ranges: match head["regress_ranges"].as_array() {
            Some(ranges) => ranges.iter().map(range).collect(),
            None => default.regress_ranges,
        },
        focal: FocalLoss {
            gamma: head["loss_cls"]["gamma"].as_f64().unwrap_or(2.0),
            alpha: head["loss_cls"]["alpha"].as_f64().unwrap_or(0.25),
            weight: weight(&head["loss_cls"]),
        },
        box_loss: match head["loss_bbox"]["type"].as_str() {
            Some("IoULoss") => BoxLossKind::Iou,
            Some("GIoULoss") => BoxLossKind::Giou,
            other => panic!("{}: box loss {other:?}", case.name),
        },
        box_weight: weight(&head["loss_bbox"]),
        centerness_weight: weight(&head["loss_centerness"]),
        test: inference(case, test),
    }
}

fn inference(case: &Case, test: &Value) -> InferenceConfig {
    understand(
        case,
        test,
        &[
            "nms_pre",
            "min_bbox_size",
            "score_thr",
            "nms",
            "max_per_img",
        ],
    );
    let number = |value: &Value| value.as_f64().expect("a number");
    InferenceConfig {
        score_threshold: number(&test["score_thr"]) as f32,
        nms_pre: size(&test["nms_pre"]),
        nms_iou: number(&test["nms"]["iou_threshold"]) as f32,
        max_per_image: size(&test["max_per_img"]),
        min_box_size: number(&test["min_bbox_size"]) as f32,
        score: Score::Product,
    }
}

fn range(value: &Value) -> [f32; 2] {
    [&value[0], &value[1]].map(|x| x.as_f64().expect("a number") as f32)
}

pub(super) fn size(value: &Value) -> usize {
    let number = value
        .as_u64()
        .unwrap_or_else(|| panic!("expected a count, got {value}"));
    usize::try_from(number).expect("a sensible count")
}

fn size_or(value: &Value, absent: usize) -> usize {
    if value.is_null() { absent } else { size(value) }
}

pub(super) fn flag(value: &Value) -> bool {
    value.as_bool().unwrap_or(false)
}

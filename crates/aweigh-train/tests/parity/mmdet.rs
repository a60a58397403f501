//! From the options of an mmdetection config to a detector's.

use aweigh_backbone::{
    Affine, BackboneConfig, DcnConfig, DcnKind, Depth, ExtraLevels, FpnConfig, NormConfig,
    ResNetConfig, Style,
};
use aweigh_detectors::DetectorConfig;
use aweigh_testkit::options::{choice, flag, number_or, numbers, size, size_or};
use aweigh_testkit::{Case, understand};
use serde_json::Value;

use crate::options;

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
    let (head, test) = (&model["bbox_head"], &model["test_cfg"]);
    let config = DetectorConfig {
        num_classes: Some(size(&head["num_classes"])),
        backbone: backbone(case, &model["backbone"]),
        neck: neck(case, &model["neck"]),
        ..DetectorConfig::default()
    };
    match head["type"].as_str() {
        Some("FCOSHead") => DetectorConfig {
            fcos: Some(options::fcos(case, head, test)),
            ..config
        },
        Some("FoveaHead") => DetectorConfig {
            fovea: Some(options::fovea(case, head, test)),
            ..config
        },
        Some("RepPointsHead") => DetectorConfig {
            reppoints: Some(options::reppoints(case, head, &model["train_cfg"], test)),
            ..config
        },
        Some("FSAFHead") => DetectorConfig {
            fsaf: Some(options::fsaf(case, head, &model["train_cfg"], test)),
            ..config
        },
        Some("RetinaHead") => DetectorConfig {
            retina: Some(options::retina(case, head, &model["train_cfg"], test)),
            ..config
        },
        other => panic!("{}: head {other:?}", case.name),
    }
}

fn backbone(case: &Case, options: &Value) -> BackboneConfig {
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
        "groups",
        "base_width",
        "dcn",
        "stage_with_dcn",
    ];
    understand(case, options, &known);
    let known = ["ResNet", "ResNeXt"].iter().any(|t| options["type"] == *t);
    assert!(known, "{}: backbone {}", case.name, options["type"]);
    let default = ResNetConfig::default();
    let norm_eval = choice(&options["norm_eval"]).unwrap_or(true);
    let list = |key: &str, absent: &[usize]| match &options[key] {
        Value::Null => absent.to_vec(),
        list => numbers(list).into_iter().map(|x| x as usize).collect(),
    };
    BackboneConfig::ResNet(ResNetConfig {
        depth: Depth::try_from(size(&options["depth"])).expect("a known depth"),
        style: match (&options["style"], options["style"].as_str()) {
            (_, Some("caffe")) => Style::Caffe,
            (Value::Null, _) | (_, Some("pytorch")) => Style::Pytorch,
            (other, _) => panic!("{}: style {other}", case.name),
        },
        base_channels: size_or(&options["base_channels"], 64),
        num_stages: size_or(&options["num_stages"], 4),
        strides: list("strides", &default.strides),
        dilations: list("dilations", &default.dilations),
        out_indices: list("out_indices", &default.out_indices),
        frozen_stages: number_or(&options["frozen_stages"], -1.0) as i32,
        norm: norm(case, &options["norm_cfg"], norm_eval),
        groups: size_or(&options["groups"], 1),
        base_width: size_or(&options["base_width"], default.base_width),
        dcn: dcn(case, &options["dcn"]),
        stage_with_dcn: match &options["stage_with_dcn"] {
            Value::Array(list) => list.iter().map(flag).collect(),
            Value::Null => default.stage_with_dcn.clone(),
            other => panic!("{}: stage_with_dcn {other}", case.name),
        },
        ..default
    })
}

fn dcn(case: &Case, options: &Value) -> Option<DcnConfig> {
    if options.is_null() {
        return None;
    }
    let known = ["type", "deform_groups", "fallback_on_stride"];
    understand(case, options, &known);
    Some(DcnConfig {
        kind: match options["type"].as_str() {
            Some("DCN") => DcnKind::V1,
            Some("DCNv2") => DcnKind::V2,
            other => panic!("{}: dcn {other:?}", case.name),
        },
        deform_groups: size_or(&options["deform_groups"], 1),
        fallback_on_stride: flag(&options["fallback_on_stride"]),
    })
}

fn norm(case: &Case, options: &Value, norm_eval: bool) -> NormConfig {
    understand(
        case,
        options,
        &["type", "num_groups", "requires_grad", "eps"],
    );
    let eps = number_or(&options["eps"], 1e-5);
    assert_eq!(eps, 1e-5, "{}: eps", case.name);
    let trained = choice(&options["requires_grad"]).unwrap_or(true);
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

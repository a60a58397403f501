//! mmdetection's options as this crate's.

use aweigh_backbone::{
    Affine, DcnConfig, DcnKind, Depth, ExtraLevels, FpnConfig, MobileNetV2Config, NormConfig,
    ResNetConfig, Style, Upsampling,
};
use aweigh_testkit::{Case, understand};
use serde_json::Value;

/// Whether the reference ran in `train()` or `eval()`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Train,
    Eval,
}

/// The mode of a case; mmdetection's modules start in training.
pub(super) fn mode(case: &Case) -> Mode {
    match case.meta.get("mode").map(|m| m.as_str()) {
        None | Some(Some("train")) => Mode::Train,
        Some(Some("eval")) => Mode::Eval,
        other => panic!("{}: mode {other:?} is not understood", case.name),
    }
}

/// A normalisation, and whether its affine parameters are trained.
pub(super) fn norm(case: &Case, given: &Value, statistics: Mode) -> (NormConfig, Affine) {
    understand(case, given, &["type", "requires_grad", "num_groups"]);
    let affine = match given.get("requires_grad").map(|g| g.as_bool()) {
        None | Some(Some(true)) => Affine::Trainable,
        Some(Some(false)) => Affine::Frozen,
        other => panic!("{}: requires_grad {other:?} is not understood", case.name),
    };
    let norm = match (given["type"].as_str(), statistics) {
        (Some("GN"), _) => NormConfig::GroupNorm {
            groups: count(case, &given["num_groups"]),
        },
        (Some("BN"), Mode::Train) => NormConfig::BatchNorm,
        (Some("BN"), Mode::Eval) => NormConfig::FrozenBn { affine },
        (other, _) => panic!("{}: norm {other:?} is not understood", case.name),
    };
    (norm, affine)
}

/// Options of a ResNet that these tests know. Whether blocks start at zero, or are computed twice,
/// changes no value of theirs.
const RESNET_KEYS: [&str; 17] = [
    "depth",
    "base_channels",
    "style",
    "norm_eval",
    "frozen_stages",
    "norm_cfg",
    "num_stages",
    "out_indices",
    "strides",
    "dilations",
    "zero_init_residual",
    "with_cp",
    "type",
    "groups",
    "base_width",
    "dcn",
    "stage_with_dcn",
];

/// mmdetection 3.x `ResNet` or `ResNeXt`, with its defaults.
pub(super) fn resnet(case: &Case, mode: Mode) -> (ResNetConfig, Affine) {
    let given = &case.meta["mmdet_config"];
    understand(case, given, &RESNET_KEYS);
    match given.get("type").map(|t| t.as_str()) {
        None | Some(Some("ResNet" | "ResNeXt")) => {}
        other => panic!("{}: type {other:?} is not understood", case.name),
    }
    let base = ResNetConfig::default();
    let norm_eval = given.get("norm_eval").is_none_or(|v| flag(case, v));
    let statistics = if norm_eval { Mode::Eval } else { mode };
    let batch_norm = serde_json::json!({"type": "BN"});
    let (norm, affine) = norm(
        case,
        given.get("norm_cfg").unwrap_or(&batch_norm),
        statistics,
    );
    let number = |key: &str, default| given.get(key).map_or(default, |v| count(case, v));
    let numbers = |key: &str, default| match given.get(key) {
        None => default,
        Some(list) => counts(case, list),
    };
    let style = match given.get("style").map(|s| s.as_str()) {
        None | Some(Some("pytorch")) => Style::Pytorch,
        Some(Some("caffe")) => Style::Caffe,
        other => panic!("{}: style {other:?} is not understood", case.name),
    };
    let chosen = match given.get("stage_with_dcn") {
        None => base.stage_with_dcn,
        Some(list) => list_of(case, list, flag),
    };
    let dcn = given.get("dcn").filter(|dcn| !dcn.is_null());
    // The reference accepts deformable convolution for no stage, and stages without it.
    let dcn = dcn
        .filter(|_| chosen.contains(&true))
        .map(|d| self::dcn(case, d));
    let config = ResNetConfig {
        depth: depth(case, count(case, &given["depth"])),
        style,
        base_channels: number("base_channels", base.base_channels),
        groups: number("groups", base.groups),
        base_width: number("base_width", base.base_width),
        num_stages: number("num_stages", base.num_stages),
        strides: numbers("strides", base.strides),
        dilations: numbers("dilations", base.dilations),
        out_indices: numbers("out_indices", base.out_indices),
        frozen_stages: given.get("frozen_stages").map_or(-1, |v| integer(case, v)),
        norm,
        stage_with_dcn: match dcn {
            Some(_) => chosen,
            None => vec![false; chosen.len()],
        },
        dcn,
        zero_init_residual: true,
    };
    (config, affine)
}

/// mmdetection 3.x `MobileNetV2`, with its defaults.
pub(super) fn mobilenet(case: &Case, mode: Mode) -> (MobileNetV2Config, Affine) {
    let given = &case.meta["mmdet_config"];
    let known = [
        "type",
        "widen_factor",
        "out_indices",
        "frozen_stages",
        "norm_cfg",
        "norm_eval",
        "with_cp",
    ];
    understand(case, given, &known);
    assert_eq!(given["type"], "MobileNetV2", "{}: type", case.name);
    let base = MobileNetV2Config::default();
    let norm_eval = given.get("norm_eval").is_some_and(|v| flag(case, v));
    let statistics = if norm_eval { Mode::Eval } else { mode };
    let batch_norm = serde_json::json!({"type": "BN"});
    let norm_cfg = given.get("norm_cfg").unwrap_or(&batch_norm);
    let (norm, affine) = norm(case, norm_cfg, statistics);
    let factor = given.get("widen_factor").map(|v| v.as_f64());
    let config = MobileNetV2Config {
        widen_factor: factor.map_or(base.widen_factor, |f| f.expect("a factor")),
        out_indices: given
            .get("out_indices")
            .map_or(base.out_indices, |list| counts(case, list)),
        frozen_stages: given.get("frozen_stages").map_or(-1, |v| integer(case, v)),
        norm,
    };
    (config, affine)
}

/// torchvision's `MobileNetV2`, of which some elements of `features` are returned (`taps`), and the
/// first ones (`frozen`) are not trained.
pub(super) fn torchvision_mobilenet(case: &Case, given: &Value) -> (MobileNetV2Config, Affine) {
    /// The last element of each stage, behind the stem.
    const LAST: [usize; 8] = [1, 3, 6, 10, 13, 16, 17, 18];
    understand(case, given, &["width_mult", "norm_layer", "taps", "frozen"]);
    let stage = |element: usize| {
        let stage = LAST.iter().position(|last| *last == element);
        stage.unwrap_or_else(|| panic!("{}: no stage ends at {element}", case.name))
    };
    let affine = match given["norm_layer"].as_str() {
        Some("BatchNorm2d") => Affine::Trainable,
        Some("FrozenBatchNorm2d") => Affine::Frozen,
        other => panic!("{}: norm_layer {other:?} is not understood", case.name),
    };
    let norm = match (affine, mode(case)) {
        (Affine::Trainable, Mode::Train) => NormConfig::BatchNorm,
        _ => NormConfig::FrozenBn { affine },
    };
    let frozen = given.get("frozen").map_or(0, |v| count(case, v));
    let taps = counts(case, &given["taps"]).into_iter();
    let config = MobileNetV2Config {
        widen_factor: given["width_mult"].as_f64().expect("a factor"),
        out_indices: taps.map(stage).collect(),
        frozen_stages: match frozen {
            0 => -1,
            1 => 0,
            elements => stage(elements - 1) as i32 + 1,
        },
        norm,
    };
    (config, affine)
}

/// mmdetection's `dcn` of a backbone.
fn dcn(case: &Case, given: &Value) -> DcnConfig {
    understand(
        case,
        given,
        &["type", "deform_groups", "fallback_on_stride"],
    );
    let kind = match given["type"].as_str() {
        Some("DCN") => DcnKind::V1,
        Some("DCNv2") => DcnKind::V2,
        other => panic!("{}: dcn {other:?} is not understood", case.name),
    };
    let groups = given.get("deform_groups");
    let fallback = given.get("fallback_on_stride");
    DcnConfig {
        kind,
        deform_groups: groups.map_or(1, |groups| count(case, groups)),
        fallback_on_stride: fallback.is_some_and(|flag| self::flag(case, flag)),
    }
}

pub(super) fn depth(case: &Case, depth: usize) -> Depth {
    Depth::try_from(depth).unwrap_or_else(|e| panic!("{}: {e}", case.name))
}

/// mmdetection 3.x `FPN`, with its defaults.
pub(super) fn fpn(case: &Case, mode: Mode) -> (FpnConfig, Affine) {
    let given = &case.meta["mmdet_config"];
    let known = [
        "in_channels",
        "out_channels",
        "start_level",
        "end_level",
        "add_extra_convs",
        "num_outs",
        "relu_before_extra_convs",
        "no_norm_on_lateral",
        "norm_cfg",
        "upsample_cfg",
    ];
    understand(case, given, &known);
    let truth = |key: &str| given.get(key).is_some_and(|v| flag(case, v));
    let norm = given.get("norm_cfg").filter(|n| !n.is_null());
    let norm = norm.map(|n| self::norm(case, n, mode));
    let affine = norm.as_ref().map_or(Affine::Trainable, |(_, a)| *a);
    let config = FpnConfig {
        out_channels: count(case, &given["out_channels"]),
        start_level: given.get("start_level").map_or(0, |v| count(case, v)),
        end_level: given.get("end_level").and_then(|v| end_level(case, v)),
        num_outs: count(case, &given["num_outs"]),
        add_extra_convs: given
            .get("add_extra_convs")
            .map_or(ExtraLevels::None, |v| extra_levels(case, v)),
        relu_before_extra_convs: truth("relu_before_extra_convs"),
        norm: norm.map(|(n, _)| n),
        no_norm_on_lateral: truth("no_norm_on_lateral"),
        upsampling: given
            .get("upsample_cfg")
            .map_or(Upsampling::Nearest, |v| upsampling(case, v)),
    };
    (config, affine)
}

fn end_level(case: &Case, given: &Value) -> Option<usize> {
    match integer(case, given) {
        -1 => None,
        last => Some(usize::try_from(last).expect("-1 or a level")),
    }
}

fn extra_levels(case: &Case, given: &Value) -> ExtraLevels {
    match given {
        Value::Bool(false) => ExtraLevels::None,
        Value::Bool(true) => ExtraLevels::OnInput,
        Value::String(source) => match source.as_str() {
            "on_input" => ExtraLevels::OnInput,
            "on_lateral" => ExtraLevels::OnLateral,
            "on_output" => ExtraLevels::OnOutput,
            other => panic!("{}: extra levels {other} are not understood", case.name),
        },
        other => panic!("{}: extra levels {other} are not understood", case.name),
    }
}

fn upsampling(case: &Case, given: &Value) -> Upsampling {
    // A factor of 2 demands maps that double exactly, where the exact size is the same.
    understand(case, given, &["mode", "scale_factor"]);
    let factor = given.get("scale_factor").and_then(Value::as_f64);
    assert!(
        factor.is_none_or(|f| f == 2.0),
        "{}: scale_factor {factor:?} is not understood",
        case.name
    );
    match given.get("mode").map(|m| m.as_str()) {
        None | Some(Some("nearest")) => Upsampling::Nearest,
        Some(Some("bilinear")) => Upsampling::Bilinear,
        other => panic!("{}: upsampling {other:?} is not understood", case.name),
    }
}

fn flag(case: &Case, given: &Value) -> bool {
    let name = &case.name;
    given
        .as_bool()
        .unwrap_or_else(|| panic!("{name}: expected true or false, got {given}"))
}

fn integer(case: &Case, given: &Value) -> i32 {
    let number = given.as_i64().and_then(|n| i32::try_from(n).ok());
    number.unwrap_or_else(|| panic!("{}: expected an integer, got {given}", case.name))
}

pub(super) fn count(case: &Case, given: &Value) -> usize {
    let number = given.as_u64().and_then(|n| usize::try_from(n).ok());
    number.unwrap_or_else(|| panic!("{}: expected a count, got {given}", case.name))
}

pub(super) fn counts(case: &Case, given: &Value) -> Vec<usize> {
    list_of(case, given, count)
}

fn list_of<T>(case: &Case, given: &Value, item: fn(&Case, &Value) -> T) -> Vec<T> {
    let list = given.as_array();
    let list = list.unwrap_or_else(|| panic!("{}: expected a list, got {given}", case.name));
    list.iter().map(|v| item(case, v)).collect()
}

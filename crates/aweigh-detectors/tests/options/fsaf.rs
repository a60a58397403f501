//! Options of FSAF heads.

use aweigh_detectors::fsaf::{CenterRegionAssigner, FsafBranch, FsafConfig};
use aweigh_testkit::{Case, understand};
use serde_json::Value;

use super::{flag, focal, inference, norm, size_or, weight};

/// An `FSAFHead`; whole detectors keep its `train_cfg` and `test_cfg` elsewhere.
pub(crate) fn fsaf(case: &Case, head: &Value, train: &Value, test: &Value) -> FsafConfig {
    let known = [
        "type",
        "num_classes",
        "in_channels",
        "feat_channels",
        "stacked_convs",
        "norm_cfg",
        "reg_decoded_bbox",
        "anchor_generator",
        "bbox_coder",
        "loss_cls",
        "loss_bbox",
        "train_cfg",
        "test_cfg",
    ];
    understand(case, head, &known);
    let name = &case.name;
    assert!(flag(&head["reg_decoded_bbox"]), "{name}: encoded boxes");
    let loss = &head["loss_bbox"];
    understand(case, loss, &["type", "eps", "loss_weight", "reduction"]);
    assert_eq!(loss["type"], "IoULoss", "{name}: box loss");
    let eps = &loss["eps"];
    assert!(eps.is_null() || *eps == 1e-6, "{name}: eps {eps}");
    let coder = &head["bbox_coder"];
    understand(case, coder, &["type", "normalizer"]);
    assert_eq!(coder["type"], "TBLRBBoxCoder", "{name}: coder");
    FsafConfig {
        feat_channels: size_or(&head["feat_channels"], 256),
        stacked_convs: size_or(&head["stacked_convs"], 4),
        norm: norm(case, &head["norm_cfg"]),
        branch: FsafBranch {
            prior_scale: prior_scale(case, &head["anchor_generator"]),
            normalizer: coder["normalizer"].as_f64().unwrap_or(4.0),
            box_weight: weight(loss),
            focal: focal(case, &head["loss_cls"]),
            assigner: assigner(case, train),
            ..FsafBranch::default()
        },
        test: inference(case, test),
    }
}

/// Side of the only anchor of a point, in strides.
fn prior_scale(case: &Case, options: &Value) -> f32 {
    let known = [
        "type",
        "octave_base_scale",
        "scales_per_octave",
        "ratios",
        "strides",
    ];
    understand(case, options, &known);
    let single = options["scales_per_octave"] == 1 && options["ratios"] == serde_json::json!([1.0]);
    assert!(single, "{}: anchors {options}", case.name);
    options["octave_base_scale"].as_f64().expect("a scale") as f32
}

/// The assigner of a `train_cfg` without sampling.
pub(super) fn assigner_options<'a>(case: &Case, train: &'a Value) -> &'a Value {
    let known = [
        "assigner",
        "sampler",
        "allowed_border",
        "pos_weight",
        "debug",
    ];
    understand(case, train, &known);
    let (border, positives) = (&train["allowed_border"], &train["pos_weight"]);
    let off = |option: &Value| option.as_f64().is_none_or(|x| x < 0.0);
    assert!(off(border) && off(positives), "{}: {train}", case.name);
    let sampler = &train["sampler"]["type"];
    let all = sampler.is_null() || sampler == "PseudoSampler";
    assert!(all, "{}: sampler {sampler}", case.name);
    &train["assigner"]
}

fn assigner(case: &Case, train: &Value) -> CenterRegionAssigner {
    let options = assigner_options(case, train);
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
    let number = |key: &str, absent: f32| options[key].as_f64().map_or(absent, |x| x as f32);
    CenterRegionAssigner {
        pos_scale: number("pos_scale", f32::NAN),
        neg_scale: number("neg_scale", f32::NAN),
        min_pos_iof: number("min_pos_iof", 0.01),
        ignore_gt_scale: number("ignore_gt_scale", 0.5),
        foreground_dominate: flag(&options["foreground_dominate"]),
    }
}

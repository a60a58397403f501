//! Options of FSAF heads.

use aweigh_detectors::fsaf::{FsafBranch, FsafConfig};
use aweigh_testkit::options::{flag, number, number_or, numbers, size_or};
use aweigh_testkit::{Case, understand};
use serde_json::Value;

use super::assigners::center_region;
use super::{focal, inference, norm, weight};

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
        // Counts positives above a score for the log.
        "score_threshold",
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
            normalizer: number_or(&coder["normalizer"], 4.0),
            box_weight: weight(loss),
            focal: focal(case, &head["loss_cls"]),
            assigner: center_region(case, assigner_options(case, train)),
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
    assert_eq!(options["type"], "AnchorGenerator", "{}", case.name);
    let single = options["scales_per_octave"] == 1 && numbers(&options["ratios"]) == [1.0];
    assert!(single, "{}: anchors {options}", case.name);
    number(&options["octave_base_scale"]) as f32
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
    // Off below 0, and up to 0.
    let border = number_or(&train["allowed_border"], -1.0);
    let positives = number_or(&train["pos_weight"], -1.0);
    assert!(border < 0.0 && positives <= 0.0, "{}: {train}", case.name);
    let sampler = &train["sampler"]["type"];
    let all = sampler.is_null() || sampler == "PseudoSampler";
    assert!(all, "{}: sampler {sampler}", case.name);
    &train["assigner"]
}

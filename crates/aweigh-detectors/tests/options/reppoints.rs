//! Options of RepPoints heads.

use aweigh_detectors::reppoints::{
    InitAssigner, MaxIouAssigner, PointAssigner, PointLoss, RepPointsConfig, TransformMethod,
    ZeroOverlap,
};
use aweigh_testkit::{Case, understand};
use serde_json::Value;

use super::{flag, focal, inference, norm, size_or, weight};

/// A `RepPointsHead`; whole detectors keep its `train_cfg` and `test_cfg` elsewhere.
pub(crate) fn reppoints(case: &Case, head: &Value, train: &Value, test: &Value) -> RepPointsConfig {
    let known = [
        "type",
        "num_classes",
        "in_channels",
        "feat_channels",
        "point_feat_channels",
        "stacked_convs",
        "num_points",
        "gradient_mul",
        "point_strides",
        "point_base_scale",
        "norm_cfg",
        "loss_cls",
        "loss_bbox_init",
        "loss_bbox_refine",
        "use_grid_points",
        "center_init",
        "transform_method",
        "moment_mul",
        "train_cfg",
        "test_cfg",
    ];
    understand(case, head, &known);
    understand(case, train, &["init", "refine"]);
    let number = |key: &str, absent: f64| head[key].as_f64().unwrap_or(absent);
    RepPointsConfig {
        feat_channels: size_or(&head["feat_channels"], 256),
        point_feat_channels: size_or(&head["point_feat_channels"], 256),
        stacked_convs: size_or(&head["stacked_convs"], 4),
        norm: norm(case, &head["norm_cfg"]),
        num_points: size_or(&head["num_points"], 9),
        gradient_mul: number("gradient_mul", 0.1),
        point_base_scale: number("point_base_scale", 4.0),
        use_grid_points: flag(&head["use_grid_points"]),
        center_init: head["center_init"].as_bool().unwrap_or(true),
        transform_method: match head["transform_method"].as_str() {
            None | Some("moment") => TransformMethod::Moment,
            Some("minmax") => TransformMethod::Minmax,
            Some("partial_minmax") => TransformMethod::PartialMinmax,
            Some(other) => panic!("{}: transform {other}", case.name),
        },
        moment_mul: number("moment_mul", 0.01),
        init_assigner: init_assigner(case, stage(case, &train["init"])),
        refine_assigner: max_iou(case, stage(case, &train["refine"])),
        focal: focal(case, &head["loss_cls"]),
        init_loss: point_loss(case, &head["loss_bbox_init"], 0.5),
        refine_loss: point_loss(case, &head["loss_bbox_refine"], 1.0),
        test: inference(case, test),
    }
}

/// The assigner of a stage.
fn stage<'a>(case: &Case, stage: &'a Value) -> &'a Value {
    let known = ["assigner", "allowed_border", "pos_weight", "debug"];
    understand(case, stage, &known);
    let weight = &stage["pos_weight"];
    let unweighted = weight.as_f64().is_none_or(|weight| weight <= 0.0);
    assert!(unweighted, "{}: pos_weight {weight}", case.name);
    &stage["assigner"]
}

fn init_assigner(case: &Case, options: &Value) -> InitAssigner {
    if options["type"] != "PointAssigner" {
        return InitAssigner::MaxIou(max_iou(case, options));
    }
    understand(case, options, &["type", "scale", "pos_num"]);
    InitAssigner::Point(PointAssigner {
        scale: options["scale"].as_f64().unwrap_or(4.0) as f32,
        pos_num: size_or(&options["pos_num"], 3),
        ..PointAssigner::default()
    })
}

/// A `MaxIoUAssigner`; boxes that overlap nothing match nothing.
pub(super) fn max_iou(case: &Case, options: &Value) -> MaxIouAssigner {
    let known = [
        "type",
        "pos_iou_thr",
        "neg_iou_thr",
        "min_pos_iou",
        "gt_max_assign_all",
        "ignore_iof_thr",
        "ignore_wrt_candidates",
        "match_low_quality",
    ];
    understand(case, options, &known);
    assert_eq!(options["type"], "MaxIoUAssigner", "{}", case.name);
    let number = |key: &str, absent: f32| options[key].as_f64().map_or(absent, |x| x as f32);
    let switch = |key: &str| options[key].as_bool().unwrap_or(true);
    MaxIouAssigner {
        pos_iou_thr: number("pos_iou_thr", f32::NAN),
        neg_iou_thr: number("neg_iou_thr", f32::NAN),
        min_pos_iou: number("min_pos_iou", 0.0),
        match_low_quality: switch("match_low_quality"),
        gt_max_assign_all: switch("gt_max_assign_all"),
        ignore_iof_thr: number("ignore_iof_thr", -1.0),
        ignore_wrt_candidates: switch("ignore_wrt_candidates"),
        zero_overlap: ZeroOverlap::Skip,
    }
}

/// The same options, but boxes that overlap nothing match everything, as in the reference.
pub(crate) fn matching_zero_overlap(config: RepPointsConfig) -> RepPointsConfig {
    let matching = |assigner: MaxIouAssigner| MaxIouAssigner {
        zero_overlap: ZeroOverlap::Match,
        ..assigner
    };
    RepPointsConfig {
        init_assigner: match config.init_assigner {
            InitAssigner::MaxIou(assigner) => InitAssigner::MaxIou(matching(assigner)),
            points => points,
        },
        refine_assigner: matching(config.refine_assigner),
        ..config
    }
}

fn point_loss(case: &Case, loss: &Value, absent: f64) -> PointLoss {
    if loss.is_null() {
        // The defaults of the reference's class, which its configs do not use.
        return PointLoss {
            beta: 1.0 / 9.0,
            weight: absent,
        };
    }
    understand(case, loss, &["type", "beta", "loss_weight"]);
    assert_eq!(loss["type"], "SmoothL1Loss", "{}: box loss", case.name);
    PointLoss {
        beta: loss["beta"].as_f64().unwrap_or(1.0),
        weight: weight(loss),
    }
}

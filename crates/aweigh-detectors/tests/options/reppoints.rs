//! Options of RepPoints heads.

use aweigh_detectors::reppoints::{InitAssigner, PointLoss, RepPointsConfig, TransformMethod};
use aweigh_testkit::options::{choice, flag, number_or, size_or};
use aweigh_testkit::{Case, understand};
use serde_json::Value;

use super::assigners::{max_iou, point};
use super::{focal_or_default, inference, norm, weight};

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
        // Taken by the class, and used by none of its layers.
        "conv_bias",
        "dcn_on_last_conv",
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
    let number = |key: &str, absent: f64| number_or(&head[key], absent);
    RepPointsConfig {
        feat_channels: size_or(&head["feat_channels"], 256),
        point_feat_channels: size_or(&head["point_feat_channels"], 256),
        stacked_convs: size_or(&head["stacked_convs"], 4),
        norm: norm(case, &head["norm_cfg"]),
        num_points: size_or(&head["num_points"], 9),
        gradient_mul: number("gradient_mul", 0.1),
        point_base_scale: number("point_base_scale", 4.0),
        use_grid_points: flag(&head["use_grid_points"]),
        center_init: choice(&head["center_init"]).unwrap_or(true),
        transform_method: transform_method(&head["transform_method"]),
        moment_mul: number("moment_mul", 0.01),
        init_assigner: init_assigner(case, stage(case, &train["init"])),
        refine_assigner: max_iou(case, stage(case, &train["refine"])),
        focal: focal_or_default(case, &head["loss_cls"]),
        init_loss: point_loss(case, &head["loss_bbox_init"], 0.5),
        refine_loss: point_loss(case, &head["loss_bbox_refine"], 1.0),
        test: inference(case, test),
    }
}

fn transform_method(name: &Value) -> TransformMethod {
    match (name, name.as_str()) {
        (Value::Null, _) | (_, Some("moment")) => TransformMethod::Moment,
        (_, Some("minmax")) => TransformMethod::Minmax,
        (_, Some("partial_minmax")) => TransformMethod::PartialMinmax,
        _ => panic!("transform {name}"),
    }
}

/// The assigner of a stage.
fn stage<'a>(case: &Case, stage: &'a Value) -> &'a Value {
    let known = ["assigner", "allowed_border", "pos_weight", "debug"];
    understand(case, stage, &known);
    let weight = number_or(&stage["pos_weight"], -1.0);
    assert!(weight <= 0.0, "{}: pos_weight {weight}", case.name);
    &stage["assigner"]
}

fn init_assigner(case: &Case, options: &Value) -> InitAssigner {
    match options["type"].as_str() {
        Some("PointAssigner") => InitAssigner::Point(point(case, options)),
        _ => InitAssigner::MaxIou(max_iou(case, options)),
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
        beta: number_or(&loss["beta"], 1.0),
        weight: weight(loss),
    }
}

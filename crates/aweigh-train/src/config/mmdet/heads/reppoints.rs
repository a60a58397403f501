//! RepPoints: `RepPointsHead`.

use aweigh_detectors::reppoints::{InitAssigner, PointLoss, RepPointsConfig, TransformMethod};
use aweigh_detectors::{DetectorConfig, InferenceConfig, TowerNorm};

use super::assigners::{max_iou, point};
use super::{
    Options, Refusal, STRIDES_FROM_8, check_strides, focal_or_default, norm, section, stage,
};

pub(super) fn read(
    head: &Options<'_>,
    train: Option<Options<'_>>,
    test: InferenceConfig,
    config: &DetectorConfig,
) -> Result<RepPointsConfig, Refusal> {
    check_strides(head, "point_strides", STRIDES_FROM_8, config)?;
    // The class takes them, and none of its layers uses them.
    head.ignore(&[
        "conv_bias",
        "dcn_on_last_conv",
        "bbox_coder",
        "strides",
        "loss_bbox",
    ]);
    let train = section(train)?;
    let init = stage(train.needed_table("init")?)?;
    let refine = stage(train.needed_table("refine")?)?;
    train.finish()?;
    Ok(RepPointsConfig {
        feat_channels: head.size_or("feat_channels", 256)?,
        point_feat_channels: head.size_or("point_feat_channels", 256)?,
        stacked_convs: head.size_or("stacked_convs", 4)?,
        norm: norm(head, TowerNorm::None)?,
        num_points: head.size_or("num_points", 9)?,
        gradient_mul: head.number_or("gradient_mul", 0.1)?,
        point_base_scale: head.number_or("point_base_scale", 4.0)?,
        use_grid_points: head.flag_or("use_grid_points", false)?,
        center_init: head.flag_or("center_init", true)?,
        transform_method: transform_method(head)?,
        moment_mul: head.number_or("moment_mul", 0.01)?,
        init_assigner: match init.class()? {
            "PointAssigner" => InitAssigner::Point(point(init)?),
            _ => InitAssigner::MaxIou(max_iou(init)?),
        },
        refine_assigner: max_iou(refine)?,
        focal: focal_or_default(head)?,
        init_loss: point_loss(head, "loss_bbox_init", 0.5)?,
        refine_loss: point_loss(head, "loss_bbox_refine", 1.0)?,
        test,
    })
}

fn transform_method(head: &Options<'_>) -> Result<TransformMethod, Refusal> {
    let key = "transform_method";
    match head.text(key)? {
        None | Some("moment") => Ok(TransformMethod::Moment),
        Some("minmax") => Ok(TransformMethod::Minmax),
        Some("partial_minmax") => Ok(TransformMethod::PartialMinmax),
        _ => Err(head.refuse(key, "known: 'moment', 'minmax', 'partial_minmax'")),
    }
}

/// The box loss of a stage; `weight` is the class's default.
fn point_loss(head: &Options<'_>, key: &str, weight: f64) -> Result<PointLoss, Refusal> {
    let Some(loss) = head.table(key)? else {
        let beta = 1.0 / 9.0;
        return Ok(PointLoss { beta, weight });
    };
    loss.expect_class(&["SmoothL1Loss"])?;
    let config = PointLoss {
        beta: loss.number_or("beta", 1.0)?,
        weight: loss.number_or("loss_weight", 1.0)?,
    };
    loss.finish()?;
    Ok(config)
}

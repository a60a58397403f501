//! FCOS: `FCOSHead`. It has no use for `train_cfg`.

use aweigh_detectors::fcos::{BoxLossKind, FcosConfig, Points};
use aweigh_detectors::{DetectorConfig, InferenceConfig, TowerNorm};

use super::{
    Options, Refusal, STRIDES_FROM_4, check_strides, conv_bias, focal_or_default, narrow_pairs,
    norm,
};

pub(super) fn read(
    head: &Options<'_>,
    test: InferenceConfig,
    config: &DetectorConfig,
) -> Result<FcosConfig, Refusal> {
    check_strides(head, "strides", STRIDES_FROM_4, config)?;
    head.expect_none("cls_predictor_cfg")?;
    if let Some(coder) = head.table("bbox_coder")? {
        coder.expect_class(&["DistancePointBBoxCoder"])?;
        coder.expect("clip_border", true)?;
        coder.finish()?;
    }
    let ranges = head.pairs("regress_ranges")?;
    let (box_loss, box_weight) = box_loss(head)?;
    Ok(FcosConfig {
        feat_channels: head.size_or("feat_channels", 256)?,
        stacked_convs: head.size_or("stacked_convs", 4)?,
        norm: norm(head, TowerNorm::GroupNorm { groups: 32 })?,
        conv_bias: conv_bias(head)?,
        dcn_on_last_conv: head.flag_or("dcn_on_last_conv", false)?,
        points: Points::Center,
        norm_on_bbox: head.flag_or("norm_on_bbox", false)?,
        centerness_on_reg: head.flag_or("centerness_on_reg", false)?,
        center_sampling: head.flag_or("center_sampling", false)?,
        center_sample_radius: head.number_or("center_sample_radius", 1.5)? as f32,
        regress_ranges: ranges.map_or_else(|| FcosConfig::default().regress_ranges, narrow_pairs),
        focal: focal_or_default(head)?,
        box_loss,
        box_weight,
        centerness_weight: centerness_weight(head)?,
        test,
    })
}

fn centerness_weight(head: &Options<'_>) -> Result<f64, Refusal> {
    let Some(loss) = head.table("loss_centerness")? else {
        return Ok(1.0);
    };
    loss.expect_class(&["CrossEntropyLoss"])?;
    if !loss.flag_or("use_sigmoid", false)? {
        return Err(loss.refuse("use_sigmoid", "only True is known"));
    }
    let weight = loss.number_or("loss_weight", 1.0)?;
    loss.finish()?;
    Ok(weight)
}

fn box_loss(head: &Options<'_>) -> Result<(BoxLossKind, f64), Refusal> {
    let Some(loss) = head.table("loss_bbox")? else {
        return Ok((BoxLossKind::Iou, 1.0));
    };
    loss.expect("eps", 1e-6)?;
    let linear = loss.flag_or("linear", false)?;
    let kind = match (loss.class()?, loss.text("mode")?) {
        ("IoULoss", _) if linear => BoxLossKind::LinearIou,
        ("IoULoss", None | Some("log")) => BoxLossKind::Iou,
        ("IoULoss", Some("linear")) => BoxLossKind::LinearIou,
        ("IoULoss", _) => return Err(loss.refuse("mode", "known: 'log', 'linear'")),
        ("GIoULoss", None) => BoxLossKind::Giou,
        ("DIoULoss", None) => BoxLossKind::Diou,
        _ => return Err(loss.refuse("type", "known: IoULoss, GIoULoss, DIoULoss")),
    };
    let weight = loss.number_or("loss_weight", 1.0)?;
    loss.finish()?;
    Ok((kind, weight))
}

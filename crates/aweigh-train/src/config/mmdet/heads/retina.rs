//! RetinaNet: `RetinaHead`.

use aweigh_detectors::retina::{AnchorStyle, Anchors, DeltaLoss, RetinaConfig};
use aweigh_detectors::{DetectorConfig, InferenceConfig, TowerNorm};

use super::assigners::max_iou;
use super::{Options, Refusal, STRIDES_FROM_8, assigner, check_strides, focal, narrow, norm};

pub(super) fn read(
    head: &Options<'_>,
    train: Option<Options<'_>>,
    test: InferenceConfig,
    config: &DetectorConfig,
) -> Result<RetinaConfig, Refusal> {
    head.expect("reg_decoded_bbox", false)?;
    if let Some(coder) = head.table("bbox_coder")? {
        coder.expect_class(&["DeltaXYWHBBoxCoder"])?;
        coder.expect("target_means", vec![0.0; 4])?;
        coder.expect("target_stds", vec![1.0; 4])?;
        coder.expect("clip_border", true)?;
        coder.finish()?;
    }
    let anchors = match head.table("anchor_generator")? {
        Some(options) => anchors(options, config)?,
        None => Anchors::default(),
    };
    let (box_loss, box_weight) = box_loss(head)?;
    Ok(RetinaConfig {
        feat_channels: head.size_or("feat_channels", 256)?,
        stacked_convs: head.size_or("stacked_convs", 4)?,
        norm: norm(head, TowerNorm::None)?,
        box_loss,
        box_weight,
        anchors,
        assigner: max_iou(assigner(train)?)?,
        focal: focal(head.needed_table("loss_cls")?)?,
        test,
        ..RetinaConfig::default()
    })
}

fn anchors(options: Options<'_>, config: &DetectorConfig) -> Result<Anchors, Refusal> {
    options.expect_class(&["AnchorGenerator"])?;
    check_strides(&options, "strides", STRIDES_FROM_8, config)?;
    let ratios = options.numbers("ratios")?;
    let anchors = Anchors {
        octave_base_scale: options.number("octave_base_scale")? as f32,
        scales_per_octave: options.needed_size("scales_per_octave")?,
        ratios: narrow(ratios.unwrap_or_else(|| vec![0.5, 1.0, 2.0])),
        style: AnchorStyle::Mmdetection,
    };
    options.finish()?;
    Ok(anchors)
}

fn box_loss(head: &Options<'_>) -> Result<(DeltaLoss, f64), Refusal> {
    let Some(loss) = head.table("loss_bbox")? else {
        // The class's default, which no published configuration has.
        let beta = 1.0 / 9.0;
        return Ok((DeltaLoss::SmoothL1 { beta }, 1.0));
    };
    let kind = match loss.class()? {
        "L1Loss" => DeltaLoss::L1,
        "SmoothL1Loss" => DeltaLoss::SmoothL1 {
            beta: loss.number_or("beta", 1.0)?,
        },
        _ => return Err(loss.refuse("type", "known: L1Loss, SmoothL1Loss")),
    };
    let weight = loss.number_or("loss_weight", 1.0)?;
    loss.finish()?;
    Ok((kind, weight))
}

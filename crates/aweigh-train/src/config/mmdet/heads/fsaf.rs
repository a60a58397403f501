//! FSAF: `FSAFHead`.

use aweigh_detectors::fsaf::{FsafBranch, FsafConfig};
use aweigh_detectors::{DetectorConfig, InferenceConfig, TowerNorm};

use super::assigners::center_region;
use super::{Options, Refusal, STRIDES_FROM_8, assigner, check_strides, focal, norm};

pub(super) fn read(
    head: &Options<'_>,
    train: Option<Options<'_>>,
    test: InferenceConfig,
    config: &DetectorConfig,
) -> Result<FsafConfig, Refusal> {
    // Counts positives above a score for the log.
    head.ignore(&["score_threshold"]);
    if !head.flag_or("reg_decoded_bbox", false)? {
        return Err(head.refuse("reg_decoded_bbox", "only True is known"));
    }
    let assigner = center_region(assigner(train)?)?;
    let branch = FsafBranch {
        prior_scale: prior_scale(head.needed_table("anchor_generator")?, config)?,
        normalizer: normalizer(head.needed_table("bbox_coder")?)?,
        box_weight: box_weight(head.needed_table("loss_bbox")?)?,
        focal: focal(head.needed_table("loss_cls")?)?,
        assigner,
        ..FsafBranch::default()
    };
    Ok(FsafConfig {
        feat_channels: head.size_or("feat_channels", 256)?,
        stacked_convs: head.size_or("stacked_convs", 4)?,
        norm: norm(head, TowerNorm::None)?,
        branch,
        test,
    })
}

/// Side of the only anchor of a point, in strides.
fn prior_scale(anchors: Options<'_>, config: &DetectorConfig) -> Result<f32, Refusal> {
    anchors.expect_class(&["AnchorGenerator"])?;
    check_strides(&anchors, "strides", STRIDES_FROM_8, config)?;
    anchors.expect("scales_per_octave", 1)?;
    anchors.expect("ratios", vec![1.0])?;
    let scale = anchors.number("octave_base_scale")?;
    anchors.finish()?;
    Ok(scale as f32)
}

fn normalizer(coder: Options<'_>) -> Result<f64, Refusal> {
    coder.expect_class(&["TBLRBBoxCoder"])?;
    coder.expect("clip_border", true)?;
    let normalizer = coder.number_or("normalizer", 4.0)?;
    coder.finish()?;
    Ok(normalizer)
}

fn box_weight(loss: Options<'_>) -> Result<f64, Refusal> {
    loss.expect_class(&["IoULoss"])?;
    loss.expect("eps", 1e-6)?;
    loss.expect("mode", "log")?;
    loss.expect("linear", false)?;
    // What is reduced is decided where the loss is called.
    loss.ignore(&["reduction"]);
    let weight = loss.number_or("loss_weight", 1.0)?;
    loss.finish()?;
    Ok(weight)
}

//! FoveaBox: `FoveaHead`. It has no use for `train_cfg`.

use aweigh_detectors::fovea::FoveaConfig;
use aweigh_detectors::{DetectorConfig, InferenceConfig, TowerNorm};

use super::{
    Options, Refusal, STRIDES_FROM_4, check_strides, conv_bias, focal_or_default, narrow,
    narrow_pairs, norm,
};

pub(super) fn read(
    head: &Options<'_>,
    test: InferenceConfig,
    config: &DetectorConfig,
) -> Result<FoveaConfig, Refusal> {
    check_strides(head, "strides", STRIDES_FROM_4, config)?;
    // The class takes it and decodes by itself.
    head.ignore(&["bbox_coder"]);
    // The reference pairs levels with entries until one of the lists ends.
    let levels = config.neck.num_outs;
    let mut edges = narrow(head.numbers("base_edge_list")?.unwrap_or_else(edges));
    edges.truncate(levels);
    let mut ranges = narrow_pairs(head.pairs("scale_ranges")?.unwrap_or_else(ranges));
    ranges.truncate(levels);
    let loss = head.needed_table("loss_bbox")?;
    loss.expect_class(&["SmoothL1Loss"])?;
    let (beta, weight) = (
        loss.number_or("beta", 1.0)?,
        loss.number_or("loss_weight", 1.0)?,
    );
    loss.finish()?;
    Ok(FoveaConfig {
        feat_channels: head.size_or("feat_channels", 256)?,
        stacked_convs: head.size_or("stacked_convs", 4)?,
        norm: norm(head, TowerNorm::None)?,
        conv_bias: conv_bias(head)?,
        dcn_on_last_conv: head.flag_or("dcn_on_last_conv", false)?,
        with_deform: head.flag_or("with_deform", false)?,
        deform_groups: head.size_or("deform_groups", 4)?,
        sigma: head.number_or("sigma", 0.4)?,
        base_edge_list: edges,
        scale_ranges: ranges,
        focal: focal_or_default(head)?,
        smooth_l1_beta: beta,
        box_weight: weight,
        test,
    })
}

fn edges() -> Vec<f64> {
    vec![16.0, 32.0, 64.0, 128.0, 256.0]
}

/// The class's default, which no published configuration has.
fn ranges() -> Vec<[f64; 2]> {
    [8.0, 16.0, 32.0, 64.0, 128.0]
        .map(|low| [low, 4.0 * low])
        .into()
}

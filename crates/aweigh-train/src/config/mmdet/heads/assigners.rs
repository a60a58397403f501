//! Assigners. What a configuration does not name has mmdetection's default.

use aweigh_assign::fsaf::CenterRegionAssigner;
use aweigh_assign::max_iou::{InIgnoreRegion, MaxIouAssigner, ZeroOverlap};
use aweigh_assign::reppoints::PointAssigner;

use super::{Options, Refusal};

pub(super) fn point(options: Options<'_>) -> Result<PointAssigner, Refusal> {
    options.expect_class(&["PointAssigner"])?;
    let config = PointAssigner {
        scale: options.number_or("scale", 4.0)? as f32,
        pos_num: options.size_or("pos_num", 3)?,
        ..PointAssigner::default()
    };
    options.finish()?;
    Ok(config)
}

pub(super) fn max_iou(options: Options<'_>) -> Result<MaxIouAssigner, Refusal> {
    options.expect_class(&["MaxIoUAssigner"])?;
    // From how many boxes on overlaps are computed on the processor.
    options.ignore(&["gpu_assign_thr"]);
    overlaps(&options)?;
    let config = MaxIouAssigner {
        pos_iou_thr: options.number("pos_iou_thr")? as f32,
        neg_iou_thr: options.number("neg_iou_thr")? as f32,
        min_pos_iou: options.number_or("min_pos_iou", 0.0)? as f32,
        match_low_quality: options.flag_or("match_low_quality", true)?,
        gt_max_assign_all: options.flag_or("gt_max_assign_all", true)?,
        ignore_iof_thr: options.number_or("ignore_iof_thr", -1.0)? as f32,
        ignore_wrt_candidates: options.flag_or("ignore_wrt_candidates", true)?,
        in_ignore_region: InIgnoreRegion::Excluded,
        zero_overlap: ZeroOverlap::Match,
    };
    options.finish()?;
    Ok(config)
}

pub(super) fn center_region(options: Options<'_>) -> Result<CenterRegionAssigner, Refusal> {
    options.expect_class(&["CenterRegionAssigner"])?;
    overlaps(&options)?;
    let config = CenterRegionAssigner {
        pos_scale: options.number("pos_scale")? as f32,
        neg_scale: options.number("neg_scale")? as f32,
        min_pos_iof: options.number_or("min_pos_iof", 0.01)? as f32,
        ignore_gt_scale: options.number_or("ignore_gt_scale", 0.5)? as f32,
        foreground_dominate: options.flag_or("foreground_dominate", false)?,
    };
    options.finish()?;
    Ok(config)
}

fn overlaps(options: &Options<'_>) -> Result<(), Refusal> {
    if let Some(calculator) = options.table("iou_calculator")? {
        calculator.expect_class(&["BboxOverlaps2D"])?;
        calculator.finish()?;
    }
    Ok(())
}

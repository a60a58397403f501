//! Steps that change training images at random.

use aweigh_data::{MinIouCrop, Photometric};

use super::options::{Options, Refusal};

/// mmdetection's `PhotoMetricDistortion`.
pub(super) fn photometric(step: &Options<'_>) -> Result<Photometric, Refusal> {
    let usual = Photometric::default();
    Ok(Photometric {
        brightness: step.number_or("brightness_delta", usual.brightness)?,
        contrast: ends(step, "contrast_range", usual.contrast)?,
        saturation: ends(step, "saturation_range", usual.saturation)?,
        hue: step.number_or("hue_delta", usual.hue)?,
        ..usual
    })
}

/// mmdetection's `MinIoURandomCrop`.
pub(super) fn min_iou_crop(step: &Options<'_>) -> Result<MinIouCrop, Refusal> {
    step.expect("bbox_clip_border", true)?;
    let usual = MinIouCrop::default();
    Ok(MinIouCrop {
        min_ious: step.numbers("min_ious")?.unwrap_or(usual.min_ious),
        min_size: step.number_or("min_crop_size", usual.min_size)?,
        prob: usual.prob,
    })
}

fn ends(step: &Options<'_>, key: &str, absent: [f64; 2]) -> Result<[f64; 2], Refusal> {
    match step.numbers(key)? {
        None => Ok(absent),
        Some(numbers) => {
            let ends = <[f64; 2]>::try_from(numbers);
            ends.map_err(|_| step.refuse(key, "expected two numbers"))
        }
    }
}

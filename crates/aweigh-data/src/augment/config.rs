//! The table of augmentations.

use serde::{Deserialize, Serialize};

use super::{LargeScaleJitter, MinIouCrop, Mixup, Mosaic, Photometric};
use crate::DataError;

/// What is done to training images at random, besides what [`TransformConfig`] draws: a flip and a
/// scale. Evaluation does none of it. Everything is off by default.
///
/// In this order: mosaic, mixup, crop, resize (with large-scale jitter), turns and flips, colours.
/// Each draws from a stream of random numbers of its own, so that switching one on changes nothing
/// that the others draw.
///
/// [`TransformConfig`]: crate::TransformConfig
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AugmentConfig {
    /// Probability of exchanging top and bottom. Default: 0.
    pub vertical_flip_prob: f64,
    /// Probability of a turn by 90, 180 or 270 degrees, all equally likely. Default: 0.
    pub rotate90_prob: f64,
    /// Four images in one. Default: absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mosaic: Option<Mosaic>,
    /// Two images blended. Default: absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mixup: Option<Mixup>,
    /// A part of the image. Default: absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_iou_crop: Option<MinIouCrop>,
    /// A size from tiny to larger than the network input. Default: absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub large_scale_jitter: Option<LargeScaleJitter>,
    /// Other colours. Default: absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub photometric: Option<Photometric>,
}

impl AugmentConfig {
    /// Checks every value.
    ///
    /// # Errors
    /// If a value is out of range, naming its key within the table.
    pub fn validate(&self) -> Result<(), DataError> {
        probability("vertical_flip_prob", self.vertical_flip_prob)?;
        probability("rotate90_prob", self.rotate90_prob)?;
        self.mosaic.as_ref().map_or(Ok(()), Mosaic::validate)?;
        self.mixup.as_ref().map_or(Ok(()), Mixup::validate)?;
        let crop = self.min_iou_crop.as_ref();
        crop.map_or(Ok(()), MinIouCrop::validate)?;
        let jitter = self.large_scale_jitter.as_ref();
        jitter.map_or(Ok(()), LargeScaleJitter::validate)?;
        let colours = self.photometric.as_ref();
        colours.map_or(Ok(()), Photometric::validate)
    }
}

pub(super) fn fail(key: &'static str, reason: String) -> Result<(), DataError> {
    Err(DataError::Config { key, reason })
}

pub(super) fn probability(key: &'static str, value: f64) -> Result<(), DataError> {
    if (0.0..=1.0).contains(&value) {
        return Ok(());
    }
    fail(key, format!("{value}; expected a probability in 0..=1"))
}

/// Checks two ends of a range, the first of which must be in `low..=high`, as the second.
pub(super) fn rising(
    key: &'static str,
    ends: [f64; 2],
    [low, high]: [f64; 2],
) -> Result<(), DataError> {
    let within = |end: f64| (low..=high).contains(&end);
    if ends[0] <= ends[1] && ends.iter().all(|end| within(*end)) {
        return Ok(());
    }
    fail(
        key,
        format!("{ends:?}; expected two rising numbers in {low}..={high}"),
    )
}

pub(super) fn within(
    key: &'static str,
    value: f64,
    [low, high]: [f64; 2],
) -> Result<(), DataError> {
    if (low..=high).contains(&value) {
        return Ok(());
    }
    fail(key, format!("{value}; expected a number in {low}..={high}"))
}

/// Checks the number of epochs that something is on for.
pub(super) fn epochs(key: &'static str, until: Option<u64>) -> Result<(), DataError> {
    if until == Some(0) {
        return fail(key, "0; expected at least 1 epoch".into());
    }
    Ok(())
}

/// Whether something is on in this epoch, counted from 0.
pub(super) fn is_on(until: Option<u64>, epoch: u64) -> bool {
    until.is_none_or(|until| epoch < until)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_off_by_default_and_tables_have_defaults() {
        let parse = |text: &str| serde_json::from_str::<AugmentConfig>(text);
        assert_eq!(parse("{}").expect("empty"), AugmentConfig::default());
        let on = parse(r#"{"mosaic": {}, "photometric": {"hue": 5.0}}"#).expect("tables");
        assert_eq!(on.mosaic, Some(Mosaic::default()));
        assert_eq!(on.photometric.expect("a table").contrast, [0.5, 1.5]);
        assert!(parse(r#"{"mosiac": {}}"#).is_err());
        assert!(parse(r#"{"mosaic": {"probability": 1}}"#).is_err());
    }

    #[test]
    fn an_augmentation_ends_with_its_last_epoch() {
        let on = |until| [0, 1, 2].map(|epoch| is_on(until, epoch));
        assert_eq!(on(None), [true; 3]);
        assert_eq!(on(Some(2)), [true, true, false]);
    }

    #[test]
    fn impossible_values_name_their_key() {
        let check = |text: &str, expected: &str| {
            let config: AugmentConfig = serde_json::from_str(text).expect(text);
            let message = config.validate().expect_err(expected).to_string();
            assert_eq!(message, expected);
        };
        assert!(AugmentConfig::default().validate().is_ok());
        check(
            r#"{"vertical_flip_prob": 1.5}"#,
            "`vertical_flip_prob`: 1.5; expected a probability in 0..=1",
        );
        check(
            r#"{"rotate90_prob": -1}"#,
            "`rotate90_prob`: -1; expected a probability in 0..=1",
        );
        check(
            r#"{"mosaic": {"prob": 2}}"#,
            "`mosaic.prob`: 2; expected a probability in 0..=1",
        );
        check(
            r#"{"mosaic": {"until_epoch": 0}}"#,
            "`mosaic.until_epoch`: 0; expected at least 1 epoch",
        );
        check(
            r#"{"mosaic": {"scale": [1.5, 0.5]}}"#,
            "`mosaic.scale`: [1.5, 0.5]; expected two rising numbers in 0.1..=2",
        );
        check(
            r#"{"mosaic": {"center": [0.5, 2.5]}}"#,
            "`mosaic.center`: [0.5, 2.5]; expected two rising numbers in 0..=2",
        );
        check(
            r#"{"mixup": {"prob": 2}}"#,
            "`mixup.prob`: 2; expected a probability in 0..=1",
        );
        check(
            r#"{"mixup": {"until_epoch": 0}}"#,
            "`mixup.until_epoch`: 0; expected at least 1 epoch",
        );
        check(
            r#"{"mixup": {"scale": [0, 1]}}"#,
            "`mixup.scale`: [0.0, 1.0]; expected two rising numbers in 0.1..=2",
        );
        check(
            r#"{"mixup": {"flip_prob": 2}}"#,
            "`mixup.flip_prob`: 2; expected a probability in 0..=1",
        );
        check(
            r#"{"min_iou_crop": {"prob": 2}}"#,
            "`min_iou_crop.prob`: 2; expected a probability in 0..=1",
        );
        check(
            r#"{"min_iou_crop": {"min_ious": [0.3, 1.5]}}"#,
            "`min_iou_crop.min_ious`: 1.5; expected a number in 0..=1",
        );
        check(
            r#"{"min_iou_crop": {"min_size": 0}}"#,
            "`min_iou_crop.min_size`: 0; expected a number in 0.01..=1",
        );
        check(
            r#"{"large_scale_jitter": {"prob": 2}}"#,
            "`large_scale_jitter.prob`: 2; expected a probability in 0..=1",
        );
        check(
            r#"{"large_scale_jitter": {"range": [0, 2]}}"#,
            "`large_scale_jitter.range`: [0.0, 2.0]; expected two rising numbers in 0.01..=10",
        );
        check(
            r#"{"large_scale_jitter": {"size": 0}}"#,
            "`large_scale_jitter.size`: 0; expected at least 1 pixel",
        );
        check(
            r#"{"photometric": {"prob": 2}}"#,
            "`photometric.prob`: 2; expected a probability in 0..=1",
        );
        check(
            r#"{"photometric": {"swap_prob": 2}}"#,
            "`photometric.swap_prob`: 2; expected a probability in 0..=1",
        );
        check(
            r#"{"photometric": {"brightness": 300}}"#,
            "`photometric.brightness`: 300; expected a number in 0..=255",
        );
        check(
            r#"{"photometric": {"contrast": [1.5, 0.5]}}"#,
            "`photometric.contrast`: [1.5, 0.5]; expected two rising numbers in 0..=10",
        );
        check(
            r#"{"photometric": {"saturation": [-1, 1]}}"#,
            "`photometric.saturation`: [-1.0, 1.0]; expected two rising numbers in 0..=10",
        );
        check(
            r#"{"photometric": {"hue": 181}}"#,
            "`photometric.hue`: 181; expected a number in 0..=180",
        );
    }
}

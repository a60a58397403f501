//! The choice of images for an epoch, as a table.

use serde::{Deserialize, Serialize};

use crate::DataError;

/// How often an image occurs in a pass of training over the dataset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SamplingKind {
    /// Once.
    #[default]
    Uniform,
    /// As often as its repeat factor says, rounded up, in every pass alike (mmdetection 3.x
    /// `ClassBalancedDataset`).
    ClassBalanced,
    /// As often as its repeat factor says on average, rounded up or down anew in each pass
    /// (detectron2 `RepeatFactorTrainingSampler`, but for passes of one length).
    RepeatFactor,
}

/// Which images an epoch of training has. Without any key: every image once.
///
/// A pass over the dataset has the images with boxes as often as `kind` says, times the `repeat` of
/// their annotation file, and those without boxes as `empty_share` says. An epoch is one pass, or
/// `epoch_images` of an endless row of passes. Both have the same number of images each time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SamplingConfig {
    /// `uniform`, `class_balanced` or `repeat_factor`. Default: `uniform`.
    pub kind: SamplingKind,
    /// Share of the images below which a class is rare: images of a class with the share f get the
    /// factor `sqrt(oversample_thr / f)` (Gupta et al. 2019, LVIS). Needed by all kinds but
    /// `uniform`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oversample_thr: Option<f64>,
    /// Share of images without any box or ignore region among those of a pass, drawn anew each
    /// time. Default: absent, all of them, once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub empty_share: Option<f64>,
    /// Images of an epoch. Default: absent, those of a pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epoch_images: Option<usize>,
}

impl SamplingConfig {
    /// Most images that a pass or an epoch can have: their order is made in memory.
    pub(super) const MOST: usize = 100_000_000;

    /// Checks every value and combination.
    ///
    /// # Errors
    /// Names the key and what was expected.
    pub fn validate(&self) -> Result<(), DataError> {
        self.validate_threshold()?;
        if let Some(share) = self.empty_share
            && !(0.0..1.0).contains(&share)
        {
            let reason = format!("{share}; expected a share from 0 on, below 1");
            return Err(error("empty_share", reason));
        }
        if let Some(images) = self.epoch_images
            && !(1..=Self::MOST).contains(&images)
        {
            let reason = format!("{images}; expected 1 to {} images", Self::MOST);
            return Err(error("epoch_images", reason));
        }
        Ok(())
    }

    fn validate_threshold(&self) -> Result<(), DataError> {
        let key = "oversample_thr";
        match (self.kind, self.oversample_thr) {
            (SamplingKind::Uniform, None) => Ok(()),
            (SamplingKind::Uniform, Some(_)) => {
                let reason = "kind = \"uniform\" repeats no class; expected kind = \
                              \"class_balanced\" or \"repeat_factor\"";
                Err(error(key, reason.to_string()))
            }
            (_, None) => {
                let reason = "missing; expected the share of images below which a class is rare, \
                              such as 0.1";
                Err(error(key, reason.to_string()))
            }
            (_, Some(share)) if share > 0.0 && share <= 1.0 => Ok(()),
            (_, Some(share)) => {
                let reason = format!("{share}; expected a share above 0, up to 1");
                Err(error(key, reason))
            }
        }
    }
}

fn error(key: &'static str, reason: String) -> DataError {
    DataError::Config { key, reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<SamplingConfig, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn possible_values_are_read() {
        let check = |text: &str, expected: SamplingConfig| {
            assert_eq!(read(text), Ok(expected), "{text}");
            assert!(expected.validate().is_ok(), "{text}");
        };
        let plain = SamplingConfig::default();
        check("{}", plain);
        check(r#"{"kind": "uniform"}"#, plain);
        let balanced = SamplingConfig {
            kind: SamplingKind::ClassBalanced,
            oversample_thr: Some(1.0),
            empty_share: Some(0.0),
            ..plain
        };
        check(
            r#"{"kind": "class_balanced", "oversample_thr": 1, "empty_share": 0}"#,
            balanced,
        );
        let factor = SamplingConfig {
            kind: SamplingKind::RepeatFactor,
            oversample_thr: Some(0.001),
            epoch_images: Some(5),
            ..plain
        };
        check(
            r#"{"kind": "repeat_factor", "oversample_thr": 0.001, "epoch_images": 5}"#,
            factor,
        );
    }

    #[test]
    fn impossible_values_name_their_key() {
        let check = |text: &str, expected: &str| {
            let error = read(text).and_then(|c| c.validate().map_err(|e| e.to_string()));
            let error = error.expect_err(text);
            assert!(error.starts_with(expected), "{error}");
        };
        check(r#"{"kin": "uniform"}"#, "unknown field `kin`");
        check(r#"{"kind": "balanced"}"#, "unknown variant `balanced`");
        check(
            r#"{"kind": "class_balanced"}"#,
            "`oversample_thr`: missing; expected the share of images",
        );
        check(
            r#"{"kind": "repeat_factor", "oversample_thr": 0}"#,
            "`oversample_thr`: 0; expected a share above 0, up to 1",
        );
        check(
            r#"{"kind": "repeat_factor", "oversample_thr": 1.5}"#,
            "`oversample_thr`: 1.5; expected a share",
        );
        check(
            r#"{"oversample_thr": 0.1}"#,
            "`oversample_thr`: kind = \"uniform\" repeats no class; expected",
        );
        check(
            r#"{"empty_share": 1}"#,
            "`empty_share`: 1; expected a share from 0 on, below 1",
        );
        check(r#"{"empty_share": -0.1}"#, "`empty_share`: -0.1; expected");
        check(
            r#"{"epoch_images": 0}"#,
            "`epoch_images`: 0; expected 1 to 100000000 images",
        );
    }
}

//! Options of a MobileNetV2.

use serde::{Deserialize, Serialize};

use crate::config::{ConfigError, need};
use crate::norm::NormConfig;

/// Stages of inverted residual blocks, between the stem and the last convolution.
pub(super) const STAGES: usize = 7;
/// Every number of channels is a multiple of this.
const DIVISOR: usize = 8;

/// Options of a MobileNetV2 (Sandler et al., 2018; mmdetection 3.x `mobilenet_v2.py`) without its
/// classifier.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MobileNetV2Config {
    /// Factor of all numbers of channels, which are rounded to multiples of 8.
    pub widen_factor: f64,
    /// Stages whose output is returned: 0 to 6 for the stages of blocks, 7 for the last convolution.
    /// Nothing is built behind the last of them.
    pub out_indices: Vec<usize>,
    /// Parts that are not trained: -1 none, 0 the stem, n the stem and the first n stages.
    pub frozen_stages: i32,
    /// Normalisation after every convolution.
    pub norm: NormConfig,
}

impl Default for MobileNetV2Config {
    fn default() -> Self {
        Self {
            widen_factor: 1.0,
            out_indices: vec![1, 2, 4, 7],
            frozen_stages: -1,
            norm: NormConfig::BatchNorm,
        }
    }
}

impl MobileNetV2Config {
    /// Checks every value.
    ///
    /// # Errors
    ///
    /// Names the first key whose value no network can be built from.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let factor = self.widen_factor;
        need(factor.is_finite() && factor > 0.0, "widen_factor", || {
            format!("is {factor}, expected a number above 0")
        })?;
        let outputs = &self.out_indices;
        let rising = outputs.is_sorted_by(|a, b| a < b);
        let known = outputs.last().is_some_and(|last| *last <= STAGES);
        need(rising && known, "out_indices", || {
            format!("is {outputs:?}, expected rising stages out of 0 to {STAGES}")
        })?;
        let frozen = self.frozen_stages;
        need(
            (-1..=STAGES as i32).contains(&frozen),
            "frozen_stages",
            || format!("is {frozen}, expected -1 (none), 0 (the stem) or up to {STAGES} stages"),
        )?;
        let mut channels = self
            .elements()
            .into_iter()
            .flat_map(|layer| layer.channels());
        channels.try_for_each(|channels| self.norm.check(channels).map(|_| ()))
    }

    /// Whether part 0 (the stem) or n (stage n, counted from 1) is not trained.
    pub(super) fn is_frozen(&self, part: usize) -> bool {
        part as i32 <= self.frozen_stages
    }

    /// Channels of a layer that has `channels` at a factor of 1.
    pub(super) fn width(&self, channels: usize) -> usize {
        make_divisible(channels as f64 * self.widen_factor)
    }

    /// Channels of the last convolution, which does not get narrower.
    pub(super) fn last_width(&self) -> usize {
        make_divisible(1280.0 * self.widen_factor.max(1.0))
    }
}

/// The nearest multiple of 8, but no less than nine tenths of `channels` (torchvision
/// `_make_divisible`).
fn make_divisible(channels: f64) -> usize {
    let steps = (channels + DIVISOR as f64 / 2.0) as usize / DIVISOR;
    let nearest = (steps * DIVISOR).max(DIVISOR);
    if (nearest as f64) < 0.9 * channels {
        nearest + DIVISOR
    } else {
        nearest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_multiples_of_eight() {
        let check = |channels: f64, expected: usize| {
            assert_eq!(make_divisible(channels), expected, "{channels}");
        };
        check(1.0, 8);
        check(12.0, 16);
        check(11.9, 16);
        check(16.0, 16);
        // 8 would be less than nine tenths.
        check(11.0, 16);
        check(33.6, 32);
        check(1792.0, 1792);
    }
}

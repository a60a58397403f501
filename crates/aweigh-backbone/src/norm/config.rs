//! Which normalisation follows a convolution.

use serde::{Deserialize, Serialize};

use crate::{ConfigError, config::need};

/// Whether scale and shift of a normalisation are trained.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Affine {
    /// They get gradients.
    #[default]
    Trainable,
    /// They keep their loaded values.
    Frozen,
}

/// A normalisation over the channels of a feature map.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum NormConfig {
    /// Batch norm that always uses its running statistics and never changes them.
    ///
    /// mmdetection calls this `norm_eval=True`, with `requires_grad` for `affine`.
    FrozenBn {
        /// Whether scale and shift are trained.
        #[serde(default)]
        affine: Affine,
    },
    /// Batch norm with the statistics of the batch while training, running ones otherwise.
    BatchNorm,
    /// Group norm (Wu and He, 2018): statistics per image and group of channels.
    GroupNorm {
        /// Number of groups; it divides the number of channels.
        #[serde(default = "default_groups")]
        groups: usize,
    },
}

fn default_groups() -> usize {
    32
}

impl Default for NormConfig {
    /// Frozen statistics, trained affine: what detectors use on pretrained backbones.
    fn default() -> Self {
        let affine = Affine::Trainable;
        Self::FrozenBn { affine }
    }
}

impl NormConfig {
    /// Whether scale and shift are trained.
    pub fn affine(&self) -> Affine {
        match self {
            Self::FrozenBn { affine } => *affine,
            Self::BatchNorm | Self::GroupNorm { .. } => Affine::Trainable,
        }
    }

    /// Checks that it can normalise `channels` channels.
    ///
    /// # Errors
    ///
    /// When the groups do not divide the channels.
    pub fn check(&self, channels: usize) -> Result<(), ConfigError> {
        let Self::GroupNorm { groups } = *self else {
            return Ok(());
        };
        let fits = groups > 0 && channels.is_multiple_of(groups);
        need(fits, "groups", || {
            format!("is {groups}, which does not divide a layer's {channels} channels")
        })
    }
}

//! Options that methods share.

use aweigh_backbone::{ConvBias, FeatureSpec, NormConfig};
use aweigh_heads::TowerConfig;
use serde::{Deserialize, Serialize};

use crate::DetectorConfigError;
use crate::checks::Table;

/// Normalisation of a head's towers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TowerNorm {
    /// Plain convolutions.
    None,
    /// Group norm after every convolution.
    GroupNorm {
        /// Number of groups; it divides the channels of the towers.
        groups: usize,
    },
}

impl TowerNorm {
    /// Checks that it fits towers of `channels`; `table` is that of the method.
    pub(crate) fn validate(
        self,
        table: Table<'_>,
        channels: usize,
    ) -> Result<(), DetectorConfigError> {
        table.at_least_one("feat_channels", channels)?;
        match self.config() {
            Some(norm) => norm
                .check(channels)
                .map(|_| ())
                .map_err(|e| table.error("norm", e.problem)),
            None => Ok(()),
        }
    }

    /// Plain towers with this norm on the pyramid `levels`.
    pub(crate) fn tower(
        self,
        levels: &[FeatureSpec],
        feat_channels: usize,
        stacked_convs: usize,
    ) -> TowerConfig {
        TowerConfig {
            in_channels: levels[0].channels,
            feat_channels,
            stacked_convs,
            norm: self.config(),
            conv_bias: ConvBias::Auto,
            last_dcn: None,
        }
    }

    fn config(self) -> Option<NormConfig> {
        match self {
            Self::None => None,
            Self::GroupNorm { groups } => Some(NormConfig::GroupNorm { groups }),
        }
    }
}

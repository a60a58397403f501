//! Options that methods share.

use aweigh_backbone::NormConfig;
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

    pub(crate) fn config(self) -> Option<NormConfig> {
        match self {
            Self::None => None,
            Self::GroupNorm { groups } => Some(NormConfig::GroupNorm { groups }),
        }
    }
}

//! Options that methods share.

use aweigh_backbone::NormConfig;
use serde::{Deserialize, Serialize};

use crate::DetectorConfigError;

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
    /// Checks that it fits towers of `channels`; `table` is the dotted path of the method's table.
    pub(crate) fn validate(self, table: &str, channels: usize) -> Result<(), DetectorConfigError> {
        if channels == 0 {
            let key = format!("{table}.feat_channels");
            return Err(DetectorConfigError::value(
                &key,
                "expected at least 1, found 0",
            ));
        }
        let norm = self.config().map(|norm| norm.check(channels));
        norm.transpose()
            .map(|_| ())
            .map_err(|e| DetectorConfigError::value(&format!("{table}.norm"), e.problem))
    }

    pub(crate) fn config(self) -> Option<NormConfig> {
        match self {
            Self::None => None,
            Self::GroupNorm { groups } => Some(NormConfig::GroupNorm { groups }),
        }
    }
}

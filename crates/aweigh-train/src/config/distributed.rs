//! How several processes train together.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::check::at_least_one;
use super::error::Problem;

/// How several processes train together; of no effect in one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DistributedConfig {
    /// Seconds that a process waits for the others before it says which one is missing and all end.
    /// Default: 300.
    pub timeout_s: u64,
    /// Gradients that are summed at once, in units of 2^20 bytes. Default: 25.
    pub bucket_mb: usize,
    /// Steps between two checks that all processes have the same weights, besides those at the start
    /// and before each checkpoint; 0 for these alone. Default: 500.
    pub check_every: usize,
}

impl Default for DistributedConfig {
    fn default() -> Self {
        Self {
            timeout_s: 300,
            bucket_mb: 25,
            check_every: 500,
        }
    }
}

impl DistributedConfig {
    /// How long a process waits for the others.
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout_s)
    }

    /// Gradients that are summed at once.
    pub(crate) fn bucket_values(&self) -> usize {
        (self.bucket_mb << 20) / size_of::<f32>()
    }

    pub(super) fn check(&self) -> Result<(), Problem> {
        let timeout_s = usize::try_from(self.timeout_s).unwrap_or(usize::MAX);
        at_least_one("distributed.timeout_s", timeout_s)?;
        at_least_one("distributed.bucket_mb", self.bucket_mb)
    }
}

//! What a feature map looks like to the module that consumes it.

use serde::{Deserialize, Serialize};

/// Width and resolution of one feature map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeatureSpec {
    /// Number of channels.
    pub channels: usize,
    /// Input pixels per step of the map.
    pub stride: usize,
}

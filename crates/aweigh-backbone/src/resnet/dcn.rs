//! Options of the deformable convolutions of a ResNet.

use serde::{Deserialize, Serialize};

use crate::convolution::DcnKind;

/// Deformable 3x3 convolutions in bottleneck blocks (mmdetection 3.x `resnet.py`, `dcn`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DcnConfig {
    /// Version: `v1` or `v2`.
    pub kind: DcnKind,
    /// Groups of channels that share one field of offsets. Default: 1.
    #[serde(default = "one")]
    pub deform_groups: usize,
    /// Whether the first of the deformable blocks keeps a plain convolution. Default: false.
    ///
    /// The reference's option of this name has that effect in a ResNet, whatever the strides are,
    /// and none in a ResNeXt.
    #[serde(default)]
    pub fallback_on_stride: bool,
}

fn one() -> usize {
    1
}

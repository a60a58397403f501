//! The small networks that devices are compared with.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use crate::config::{ConfigError, Experiment};

/// A small network of a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recipe {
    /// FCOS.
    Fcos,
    /// FoveaBox.
    Fovea,
    /// FoveaBox with a deformable convolution.
    FoveaAlign,
    /// RepPoints, whose convolutions are deformable too.
    RepPoints,
    /// FSAF.
    Fsaf,
    /// RetinaNet.
    Retina,
    /// RetinaNet joint with FSAF.
    RetinaFsaf,
}

impl Recipe {
    /// Every network.
    pub const ALL: [Self; 7] = [
        Self::Fcos,
        Self::Fovea,
        Self::FoveaAlign,
        Self::RepPoints,
        Self::Fsaf,
        Self::Retina,
        Self::RetinaFsaf,
    ];

    /// Name on the command line, and what its configurations in `configs/` begin with.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fcos => "fcos",
            Self::Fovea => "fovea",
            Self::FoveaAlign => "fovea_align",
            Self::RepPoints => "reppoints",
            Self::Fsaf => "fsaf",
            Self::Retina => "retina",
            Self::RetinaFsaf => "retina_fsaf",
        }
    }

    /// The table of the method, without what all have.
    fn table(self) -> &'static str {
        match self {
            Self::Fcos => {
                "[detector.fcos]
                regress_ranges = [[-1.0, 32.0], [32.0, 64.0], [64.0, 1e8]]"
            }
            Self::Fovea => {
                "[detector.fovea]
                base_edge_list = [16, 32, 64]
                scale_ranges = [[1, 48], [24, 96], [48, 1024]]"
            }
            Self::FoveaAlign => {
                "[detector.fovea]
                base_edge_list = [16, 32, 64]
                scale_ranges = [[1, 48], [24, 96], [48, 1024]]
                with_deform = true"
            }
            Self::RepPoints => {
                "[detector.reppoints]
                point_feat_channels = CHANNELS"
            }
            Self::Fsaf => "[detector.fsaf]",
            Self::Retina => {
                "[detector.retina]
                anchors = { octave_base_scale = 2 }"
            }
            Self::RetinaFsaf => {
                "[detector.retina]
                anchors = { octave_base_scale = 2 }
                fsaf = {}"
            }
        }
    }

    /// The network with `channels` channels, and how it is trained.
    ///
    /// # Errors
    ///
    /// When it cannot have so many channels.
    pub(super) fn experiment(self, channels: usize) -> Result<Experiment, ConfigError> {
        let text = COMMON.replace("METHOD", self.table());
        let text = text
            .replace("CHANNELS", &channels.to_string())
            .replace("HALF", &(channels / 2).to_string());
        Experiment::parse("the network of the comparison", &text, &[])
    }
}

/// What the networks of `configs/` are made of, each part once or twice, for every shape is a kernel
/// to compile: three stages, three levels of strides 8, 16 and 32. It reads no files; the rate is
/// small enough that five steps from random weights stay in reach of the first.
const COMMON: &str = r#"
[data]
train = { annotations = "none", images = "none" }
val = { annotations = "none", images = "none" }
[detector]
num_classes = 3
[detector.backbone]
depth = 18
base_channels = HALF
num_stages = 3
out_indices = [0, 1, 2]
frozen_stages = -1
norm = { frozen_bn = { affine = "trainable" } }
[detector.neck]
out_channels = CHANNELS
start_level = 1
num_outs = 3
add_extra_convs = "on_output"
METHOD
feat_channels = CHANNELS
stacked_convs = 2
norm = { group_norm = { groups = 4 } }
[train]
iterations = 5
lr = 1e-3
clip_norm = 10.0
[train.optimizer]
kind = "sgd"
"#;

impl fmt::Display for Recipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Recipe {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|recipe| recipe.name() == text);
        known.ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("unknown method `{text}`, expected one of {names}")
        })
    }
}

impl Serialize for Recipe {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use aweigh_detectors::DetectorConfig;

    use super::*;

    #[test]
    fn there_is_a_network_of_every_method() {
        let used: Vec<String> = Recipe::ALL
            .map(|recipe| recipe.experiment(16).expect("a valid network"))
            .iter()
            .filter_map(|experiment| experiment.detector.method_name())
            .map(|table| format!("[detector.{table}]"))
            .collect();
        let none = DetectorConfig::default().method().map(|_| ());
        let message = none.expect_err("no method").to_string();
        let tables = message.split(&[' ', ',', ';', ':'][..]);
        let tables: Vec<&str> = tables
            .filter(|word| word.starts_with("[detector."))
            .collect();
        assert!(tables.len() > 1, "{message}");
        for table in tables {
            assert!(used.iter().any(|used| used == table), "{table}");
        }
    }

    #[test]
    fn names_are_read_back() {
        for recipe in Recipe::ALL {
            assert_eq!(recipe.name().parse(), Ok(recipe));
        }
    }
}

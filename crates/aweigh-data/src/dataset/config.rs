//! Which dataset, and which of its images.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::DecodeConfig;

/// Where a dataset lies and which of its images are used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatasetConfig {
    /// The annotation file, COCO's JSON layout.
    pub annotations: PathBuf,
    /// The folder to which `file_name` in the annotation file is relative.
    pub images: PathBuf,
    /// Times that each image occurs in a pass of training over the dataset. Default: 1.
    /// Evaluation uses every image once.
    #[serde(default = "default_repeat")]
    pub repeat: usize,
    /// Leave images without any box or ignore region out of training. Default: true.
    /// Evaluation always uses every image.
    #[serde(default = "default_filter_empty")]
    pub filter_empty: bool,
    /// Leave images whose shorter side has fewer pixels than this out of training. Default: 32.
    /// Evaluation always uses every image.
    #[serde(default = "default_min_size")]
    pub min_size: u32,
    /// How files become pixels.
    #[serde(default)]
    pub decoding: DecodeConfig,
}

fn default_repeat() -> usize {
    1
}

fn default_filter_empty() -> bool {
    true
}

fn default_min_size() -> u32 {
    32
}

impl DatasetConfig {
    /// A dataset with the default filters, whose images occur once.
    pub fn new(annotations: impl Into<PathBuf>, images: impl Into<PathBuf>) -> Self {
        Self {
            annotations: annotations.into(),
            images: images.into(),
            repeat: default_repeat(),
            filter_empty: default_filter_empty(),
            min_size: default_min_size(),
            decoding: DecodeConfig::default(),
        }
    }
}

/// What a dataset is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The filters of [`DatasetConfig`] apply.
    Train,
    /// Every image is kept, since leaving one out would change the scores.
    Evaluate,
}

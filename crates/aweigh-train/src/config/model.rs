//! `[model]`: what a model starts from.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::Problem;
use super::train::TrainConfig;

/// What the model is made of besides its architecture.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelConfig {
    /// Weights to start from. Default: random ones.
    pub weights: WeightsConfig,
}

/// Files of weights: of the backbone, or of the whole detector.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WeightsConfig {
    /// Pretrained weights of the backbone: a `.pth` or `.safetensors` file, of a classifier or of a
    /// detector.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backbone: Option<PathBuf>,
    /// Weights of the whole detector, in place of `backbone`: a file or the folder of a checkpoint.
    /// Classes that both have by name keep what was learnt of them; the others start anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detector: Option<PathBuf>,
    /// SHA-256 of the file, or its first digits, at least 8. Default: not checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// Fewest digits of a checksum: those in the names of torchvision's and OpenMMLab's files.
const FEWEST_DIGITS: usize = 8;

/// Digits of a whole checksum.
const ALL_DIGITS: usize = 64;

/// The part of a model that starts from a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartsFrom<'a> {
    /// Nothing: weights are random.
    Random,
    /// The backbone alone.
    Backbone(&'a Path),
    /// The whole detector.
    Detector(&'a Path),
}

impl<'a> StartsFrom<'a> {
    /// What is said in `[model.weights]`, or with the older keys in `[train]`.
    pub(super) fn of(model: &'a ModelConfig, train: &'a TrainConfig) -> Self {
        let weights = &model.weights;
        let detector = weights.detector.as_ref().or(train.weights.as_ref());
        let backbone = weights
            .backbone
            .as_ref()
            .or(train.backbone_weights.as_ref());
        match (detector, backbone) {
            (Some(path), _) => Self::Detector(path),
            (None, Some(path)) => Self::Backbone(path),
            (None, None) => Self::Random,
        }
    }
}

impl ModelConfig {
    /// Checks every value and the combination with the older keys.
    pub(super) fn check(&self, train: &TrainConfig) -> Result<(), Problem> {
        let weights = &self.weights;
        let keys = [
            ("train.weights", train.weights.is_some()),
            ("train.backbone_weights", train.backbone_weights.is_some()),
            ("model.weights.backbone", weights.backbone.is_some()),
            ("model.weights.detector", weights.detector.is_some()),
        ];
        let given: Vec<&str> = keys.iter().filter(|key| key.1).map(|key| key.0).collect();
        if let [first, .., last] = given.as_slice() {
            let message = format!("given together with `{first}`; give one of the two");
            return Err(Problem::new(last, message));
        }
        match &weights.sha256 {
            Some(digits) => check_digits(digits, given.is_empty()),
            None => Ok(()),
        }
    }
}

fn check_digits(digits: &str, without_file: bool) -> Result<(), Problem> {
    let hexadecimal = digits.chars().all(|digit| digit.is_ascii_hexdigit());
    let fail = |message: String| Err(Problem::new("model.weights.sha256", message));
    if !hexadecimal || !(FEWEST_DIGITS..=ALL_DIGITS).contains(&digits.len()) {
        return fail(format!(
            "expected {FEWEST_DIGITS} to {ALL_DIGITS} hexadecimal digits, found {digits:?}"
        ));
    }
    if without_file {
        return fail("given without the file: set `model.weights.backbone` or `.detector`".into());
    }
    Ok(())
}

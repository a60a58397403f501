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
    /// Weights of the whole detector, in place of `backbone`: a file, or the folder of a checkpoint
    /// or of a run, whose best checkpoint it is.
    /// Classes that both have by name keep what was learnt of them; the others start anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detector: Option<PathBuf>,
    /// SHA-256 of the file, or of the one that it was imported from, or the first digits, at least 8.
    /// Default: not checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// The key of the backbone's weights.
const BACKBONE: &str = "model.weights.backbone";
/// The key of the detector's.
const DETECTOR: &str = "model.weights.detector";
/// Older names of both.
const OLD_BACKBONE: &str = "train.backbone_weights";
const OLD_DETECTOR: &str = "train.weights";
/// The key of the checksum of either.
pub(super) const CHECKSUM: &str = "model.weights.sha256";

/// Keys that name weights to start from, of which at most one is given.
pub(super) const WEIGHTS: [&str; 4] = [BACKBONE, DETECTOR, OLD_BACKBONE, OLD_DETECTOR];

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
    /// The keys that name weights to start from, of those that may, with the older ones.
    pub(super) fn given(&self, train: &TrainConfig) -> Vec<&'static str> {
        let weights = &self.weights;
        let keys = [
            (OLD_DETECTOR, train.weights.is_some()),
            (OLD_BACKBONE, train.backbone_weights.is_some()),
            (BACKBONE, weights.backbone.is_some()),
            (DETECTOR, weights.detector.is_some()),
        ];
        let given = keys.into_iter().filter(|(_, given)| *given);
        given.map(|(key, _)| key).collect()
    }

    /// Checks every value and the combination with the older keys.
    pub(super) fn check(&self, train: &TrainConfig) -> Result<(), Problem> {
        let given = self.given(train);
        if let [first, .., last] = given.as_slice() {
            let message = format!("given together with `{first}`; give one of the two");
            return Err(Problem::new(last, message));
        }
        match &self.weights.sha256 {
            Some(digits) => check_digits(digits, given.is_empty()),
            None => Ok(()),
        }
    }
}

fn check_digits(digits: &str, without_file: bool) -> Result<(), Problem> {
    let hexadecimal = digits.chars().all(|digit| digit.is_ascii_hexdigit());
    let fail = |message: String| Err(Problem::new(CHECKSUM, message));
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

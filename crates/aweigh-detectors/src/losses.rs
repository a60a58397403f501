//! What a training step minimises.

use aweigh_losses::FocalConfig;
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

/// The loss of one batch: the sum and its named parts.
#[derive(Debug, Clone)]
pub struct Losses {
    /// The sum of all parts, `[1]`.
    pub total: Tensor<1>,
    /// The parts as the reference names them, each `[1]`, weights included.
    pub parts: Vec<(&'static str, Tensor<1>)>,
    /// Number of positive points of the batch, `[1]`, without autodiff.
    pub positives: Tensor<1>,
}

impl Losses {
    pub(crate) fn new(parts: Vec<(&'static str, Tensor<1>)>, positives: Tensor<1>) -> Self {
        let total = parts
            .iter()
            .map(|(_, part)| part.clone())
            .reduce(|a, b| a + b)
            .expect("a detector has at least one loss");
        Self {
            total,
            parts,
            positives,
        }
    }
}

/// Parameters of the focal loss (RetinaNet, section 3).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FocalLoss {
    /// Exponent of the modulating factor. Default: 2.
    pub gamma: f64,
    /// Weight of positives; negatives weigh `1 - alpha`. Default: 0.25.
    pub alpha: f64,
    /// Factor of the whole term. Default: 1.
    pub weight: f64,
}

impl FocalLoss {
    /// The loss without its factor.
    pub(crate) fn config(&self) -> FocalConfig {
        FocalConfig {
            alpha: self.alpha,
            gamma: self.gamma,
        }
    }
}

impl Default for FocalLoss {
    fn default() -> Self {
        Self {
            gamma: 2.0,
            alpha: 0.25,
            weight: 1.0,
        }
    }
}

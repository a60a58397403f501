//! What a training step minimises.

use aweigh_losses::{FocalConfig, sigmoid_focal_loss, weighted_mean};
use burn::tensor::{Bool, Int, Tensor};
use serde::{Deserialize, Serialize};

use crate::DetectorConfigError;
use crate::checks::Table;

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
    /// Weight of positives; negatives weigh `1 - alpha`. Below 0 both weigh 1. Default: 0.25.
    pub alpha: f64,
    /// Factor of the whole term. Default: 1.
    pub weight: f64,
}

impl FocalLoss {
    /// Checks every value.
    pub(crate) fn validate(&self, table: Table<'_>) -> Result<(), DetectorConfigError> {
        table.not_negative("gamma", self.gamma)?;
        table.not_negative("weight", self.weight)?;
        let alpha = self.alpha;
        table.need(alpha <= 1.0, "alpha", || {
            format!("expected at most 1, below 0 for no balance, found {alpha}")
        })
    }

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

/// What the class logits of every point are compared with.
#[derive(Debug, Clone)]
pub(crate) struct ClassTargets {
    /// `[B, P]`: class of the point's box; only meaningful where positive.
    pub(crate) labels: Tensor<2, Int>,
    /// `[B, P]`: the point has a box.
    pub(crate) positive: Tensor<2, Bool>,
    /// `[B, P]`: the point is left out of the loss.
    pub(crate) ignored: Tensor<2, Bool>,
}

/// Focal loss of every point that is not ignored, summed over points and classes, over
/// `normaliser`. The factor of the term is the caller's.
///
/// # Shapes
///
/// - `logits`: `[B, C, P]`
pub(crate) fn class_loss(
    logits: Tensor<3>,
    target: ClassTargets,
    focal: &FocalLoss,
    normaliser: Tensor<1>,
) -> Tensor<1> {
    let [_, classes, _] = logits.dims();
    let wanted = one_hot(target.labels, target.positive, classes);
    let weight = target.ignored.bool_not().float(); // [B, P]
    let loss = sigmoid_focal_loss(logits, wanted, focal.config()); // [B, C, P]
    let loss = loss.sum_dim(1).squeeze_dim::<2>(1); // [B, P]
    weighted_mean(loss, Some(weight), normaliser)
}

/// 1 where a class is that of a positive point, 0 elsewhere: labels `[B, P]` to `[B, C, P]`.
pub(crate) fn one_hot(
    labels: Tensor<2, Int>,
    positive: Tensor<2, Bool>,
    classes: usize,
) -> Tensor<3> {
    let class: Tensor<3, Int> =
        Tensor::<1, Int>::arange(0..classes as i64, &labels.device()).reshape([1, classes, 1]);
    // A label no class equals marks the background.
    let labels = labels.mask_fill(positive.bool_not(), -1);
    labels.unsqueeze_dim::<3>(1).equal(class).float()
}

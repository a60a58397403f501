//! What a training step minimises.

use aweigh_assign::Matches;
use aweigh_losses::{FocalLoss, sigmoid_focal_loss, weighted_mean};
use burn::tensor::{Bool, Int, Tensor};

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

/// Focal loss of every point that is not ignored, summed over points and classes, over
/// `normaliser`; its weight included.
///
/// # Shapes
///
/// - `logits`: `[B, C, P]`
/// - `normaliser`: `[1]`
pub(crate) fn focal_class_loss(
    logits: Tensor<3>,
    matches: &Matches,
    focal: &FocalLoss,
    normaliser: Tensor<1>,
) -> Tensor<1> {
    let [_, classes, _] = logits.dims();
    let loss = sigmoid_focal_loss(logits, one_hot(matches, classes), focal); // [B, C, P]
    class_loss(loss, &matches.ignored, normaliser) * focal.weight
}

/// Losses of every class and point `[B, C, P]`, summed over those that are not ignored, over
/// `normaliser`.
pub(crate) fn class_loss(
    losses: Tensor<3>,
    ignored: &Tensor<2, Bool>,
    normaliser: Tensor<1>,
) -> Tensor<1> {
    let weight = ignored.clone().bool_not().float(); // [B, P]
    let of_points = losses.sum_dim(1).squeeze_dim::<2>(1); // [B, P]
    weighted_mean(of_points, Some(weight), normaliser)
}

/// 1 where a class is that of a positive point, 0 elsewhere, `[B, C, P]`. Times a quality
/// `[B, 1, P]` it is a soft target.
pub(crate) fn one_hot(matches: &Matches, classes: usize) -> Tensor<3> {
    let labels = &matches.labels;
    let class: Tensor<3, Int> =
        Tensor::<1, Int>::arange(0..classes as i64, &labels.device()).reshape([1, classes, 1]);
    // A label no class equals marks the background.
    let labels = labels
        .clone()
        .mask_fill(matches.positive.clone().bool_not(), -1);
    labels.unsqueeze_dim::<3>(1).equal(class).float()
}

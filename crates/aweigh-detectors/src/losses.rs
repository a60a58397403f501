//! What a training step minimises.

use aweigh_assign::Matches;
use aweigh_conv::{FocalCall, focal_sum, is_ours};
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

/// One of the normalisers `[N]` of a batch, `[1]`.
pub(crate) fn normaliser(normalisers: &Tensor<1>, index: usize) -> Tensor<1> {
    normalisers.clone().narrow(0, index, 1)
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
    if is_ours(&logits) {
        let counted = counted(&matches.ignored).unsqueeze_dim(1); // [B, 1, P]
        let sum = focal_class_sum(logits, matches, counted, focal);
        return weighted_mean(sum, None, normaliser) * focal.weight;
    }
    let losses = focal_class_losses(logits, matches, focal);
    class_loss(losses, &matches.ignored, normaliser) * focal.weight
}

/// Sum of the focal losses of all points and classes, times `counted`, as one operator where there
/// is one; the weight of `focal` is not applied.
///
/// # Shapes
///
/// - `logits`: `[B, C, P]`
/// - `counted`: `[B, C, P]`, or `[B, 1, P]` for all classes of a point
pub(crate) fn focal_class_sum(
    logits: Tensor<3>,
    matches: &Matches,
    counted: Tensor<3>,
    focal: &FocalLoss,
) -> Tensor<1> {
    if !is_ours(&logits) {
        return (focal_class_losses(logits, matches, focal) * counted).sum();
    }
    let call = FocalCall {
        gamma: focal.gamma,
        alpha: (focal.alpha >= 0.0).then_some(focal.alpha),
    };
    focal_sum(logits, present(matches), counted, call)
}

/// Focal losses of every class and point, `[B, C, P]` from logits `[B, C, P]`.
pub(crate) fn focal_class_losses(
    logits: Tensor<3>,
    matches: &Matches,
    focal: &FocalLoss,
) -> Tensor<3> {
    let [_, classes, _] = logits.dims();
    sigmoid_focal_loss(logits, one_hot(matches, classes), focal)
}

/// Losses of every class and point `[B, C, P]`, summed over those that are not ignored, over
/// `normaliser`.
pub(crate) fn class_loss(
    losses: Tensor<3>,
    ignored: &Tensor<2, Bool>,
    normaliser: Tensor<1>,
) -> Tensor<1> {
    let of_points = losses.sum_dim(1).squeeze_dim::<2>(1); // [B, P]
    weighted_mean(of_points, Some(counted(ignored)), normaliser)
}

/// 1 where a point is not ignored, `[B, P]`.
fn counted(ignored: &Tensor<2, Bool>) -> Tensor<2> {
    ignored.clone().bool_not().float()
}

/// The class of a positive point; of others -1, which no class equals, `[B, P]`.
fn present(matches: &Matches) -> Tensor<2, Int> {
    let background = matches.positive.clone().bool_not();
    matches.labels.clone().mask_fill(background, -1)
}

/// 1 where a class is that of a positive point, 0 elsewhere, `[B, C, P]`. Times a quality
/// `[B, 1, P]` it is a soft target.
pub(crate) fn one_hot(matches: &Matches, classes: usize) -> Tensor<3> {
    let labels = present(matches);
    let class: Tensor<3, Int> =
        Tensor::<1, Int>::arange(0..classes as i64, &labels.device()).reshape([1, classes, 1]);
    labels.unsqueeze_dim::<3>(1).equal(class).float()
}

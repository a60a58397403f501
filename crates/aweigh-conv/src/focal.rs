//! The focal loss of all classes and points as one operator.

use burn::backend::Dispatch;
use burn::tensor::{Int, Tensor};

use crate::ops::{FocalCall, LayerOps};

/// Sum of the sigmoid focal losses `a (1 - p_t)^gamma * -ln p_t` of all classes and points, times
/// their weights, which are constants (Lin et al., 2017, equation 5). For tensors that are
/// [ours](crate::is_ours) only; `aweigh_losses::sigmoid_focal_loss` is the same of plain tensors.
///
/// # Shapes
///
/// - `logits`: `[B, C, P]`
/// - `labels`: `[B, P]`, the class that is present, none where it is not one of `0..C`
/// - `weights`: `[B, C, P]`, or `[B, 1, P]` for all classes of a point
/// - result: `[1]`
///
/// # Panics
///
/// When the shapes do not fit each other, `gamma` is below 0, or the weights are tracked.
pub fn focal_sum(
    logits: Tensor<3>,
    labels: Tensor<2, Int>,
    weights: Tensor<3>,
    call: FocalCall,
) -> Tensor<1> {
    let (labels, weights) = (labels.into_dispatch(), weights.into_dispatch());
    let sum = Dispatch::focal_sum(logits.into_dispatch(), labels, weights, call);
    Tensor::from_dispatch(sum)
}

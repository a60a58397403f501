//! Who learns which box.

use aweigh_geometry::GroundTruth;
use burn::tensor::{Bool, Int, Tensor};

/// Which ground-truth box every candidate of a batch learns, a point or an anchor: what the targets
/// of all methods share. A candidate that is neither positive nor ignored is background.
#[derive(Debug, Clone)]
pub struct Matches {
    /// `[B, P]`: ground-truth slot of the candidate's box; only meaningful where positive.
    pub slot: Tensor<2, Int>,
    /// `[B, P]`: class of the candidate's box; only meaningful where positive.
    pub labels: Tensor<2, Int>,
    /// `[B, P]`: the candidate has a box.
    pub positive: Tensor<2, Bool>,
    /// `[B, P]`: the candidate is neither positive nor background: it lies in an ignore region, is
    /// not usable, or its overlap is between two thresholds.
    pub ignored: Tensor<2, Bool>,
}

impl Matches {
    /// Looks up the label of every slot.
    pub(crate) fn new(
        slot: Tensor<2, Int>,
        positive: Tensor<2, Bool>,
        ignored: Tensor<2, Bool>,
        truth: &GroundTruth,
    ) -> Self {
        Self {
            labels: truth.labels.clone().gather(1, slot.clone()),
            slot,
            positive,
            ignored,
        }
    }

    /// The box of every slot, `[B, P, 4]`, in pixels; only meaningful where positive.
    pub(crate) fn boxes(&self, truth: &GroundTruth) -> Tensor<3> {
        boxes_of(&self.slot, truth)
    }
}

/// The box of every slot `[B, P]`, `[B, P, 4]`.
pub(crate) fn boxes_of(slot: &Tensor<2, Int>, truth: &GroundTruth) -> Tensor<3> {
    let [batch, points] = slot.dims();
    let rows = slot.clone().unsqueeze_dim::<3>(2);
    let rows = rows.expand([batch, points, 4]);
    truth.boxes.clone().gather(1, rows)
}

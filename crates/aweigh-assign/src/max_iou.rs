//! Assignment by overlap (Faster R-CNN, Ren et al. 2015, section 3.1.2; mmdetection 3.x
//! `max_iou_assigner.py`).
//!
//! A box (an anchor, or a box that an earlier stage predicted) is positive when its best overlap
//! with a ground-truth box reaches one threshold, background when it stays below another, and in
//! between neither. Then every ground-truth box takes the boxes that overlap it most, however
//! little that is, so that each is trained.

use aweigh_geometry::{
    GroundTruth,
    boxes::{pairwise_iof, pairwise_iou},
};
use burn::tensor::{Bool, Int, Tensor};
use serde::{Deserialize, Serialize};

use crate::Matches;
use crate::order::{first, indices, last};

/// Overlap of a box that takes no part in the assignment: below every threshold.
const EXCLUDED: f32 = -1.0;

/// What happens to a ground-truth box that no box overlaps, when `min_pos_iou` is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ZeroOverlap {
    /// It trains no box.
    Skip,
    /// It trains every box that overlaps it by exactly zero, as the reference does.
    Match,
}

/// What an ignore region does to a box that lies in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InIgnoreRegion {
    /// The box is no background, but a ground-truth box may take it: a person in front of a crowd
    /// trains the boxes around it.
    NotBackground,
    /// The box takes no part, as in the reference.
    Excluded,
}

/// Gives each box at most one ground-truth box. The defaults are those of RetinaNet, but for
/// ignore regions, which the reference leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MaxIouAssigner {
    /// Smallest overlap of a positive box, inclusive. Default: 0.5.
    pub pos_iou_thr: f32,
    /// Smallest overlap of a box that is no longer background. Default: 0.4.
    pub neg_iou_thr: f32,
    /// Smallest overlap, inclusive, with which a ground-truth box takes its best boxes.
    /// Default: 0.
    pub min_pos_iou: f32,
    /// Whether a ground-truth box takes its best boxes below `pos_iou_thr` too. Default: true.
    pub match_low_quality: bool,
    /// Whether it takes all boxes of equally good overlap or the first only. Default: true.
    pub gt_max_assign_all: bool,
    /// A box of which a larger part than this lies in an ignore region lies in it; 0 or less
    /// switches ignore regions off. Default: 0.5.
    pub ignore_iof_thr: f32,
    /// Whether that part is of the box's own area, or of the ignore region's. Default: true.
    pub ignore_wrt_candidates: bool,
    /// What an ignore region does to a box in it. Default: the box is no background.
    pub in_ignore_region: InIgnoreRegion,
    /// What happens to a ground-truth box that no box overlaps. Default: skip.
    pub zero_overlap: ZeroOverlap,
}

impl Default for MaxIouAssigner {
    fn default() -> Self {
        Self {
            pos_iou_thr: 0.5,
            neg_iou_thr: 0.4,
            min_pos_iou: 0.0,
            match_low_quality: true,
            gt_max_assign_all: true,
            ignore_iof_thr: 0.5,
            ignore_wrt_candidates: true,
            in_ignore_region: InIgnoreRegion::NotBackground,
            zero_overlap: ZeroOverlap::Skip,
        }
    }
}

impl MaxIouAssigner {
    /// Checks the thresholds.
    ///
    /// # Errors
    ///
    /// The name of the field, and what was expected.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        let Self {
            pos_iou_thr: positive,
            neg_iou_thr: negative,
            min_pos_iou: lowest,
            ignore_iof_thr: inside,
            ..
        } = *self;
        if !(positive > 0.0 && positive <= 1.0) {
            let problem = format!("expected more than 0 and at most 1, found {positive}");
            return Err(("pos_iou_thr", problem));
        }
        if !(0.0..=positive).contains(&negative) {
            let problem = format!("expected 0 to pos_iou_thr = {positive}, found {negative}");
            return Err(("neg_iou_thr", problem));
        }
        if !(0.0..=1.0).contains(&lowest) {
            return Err(("min_pos_iou", format!("expected 0 to 1, found {lowest}")));
        }
        if inside.is_nan() || inside >= 1.0 {
            let problem = format!("expected less than 1, 0 or less for off, found {inside}");
            return Err(("ignore_iof_thr", problem));
        }
        Ok(())
    }

    /// Assigns `boxes` for every image of `truth`. Boxes outside of `usable` take no part.
    ///
    /// # Shapes
    ///
    /// - `boxes`: `[B, P, 4]`, or `[1, P, 4]` for boxes that all images share; without autodiff
    /// - `usable`: `[B, P]`
    pub fn assign(
        &self,
        boxes: Tensor<3>,
        usable: Option<Tensor<2, Bool>>,
        truth: &GroundTruth,
    ) -> Matches {
        let inside = self.inside_regions(&boxes, truth); // [B, 1, P]
        let unusable = usable.map(|usable| usable.bool_not().unsqueeze_dim::<3>(1)); // [B, 1, P]
        let (spared, excluded) = match self.in_ignore_region {
            InIgnoreRegion::NotBackground => (inside, unusable),
            InIgnoreRegion::Excluded => (None, either(inside, unusable)),
        };
        let overlaps = overlaps(boxes, excluded, truth); // [B, M, P]
        let best = overlaps.clone().max_dim(1); // [B, 1, P]
        let worse = overlaps.clone().lower(best.clone().expand(overlaps.dims()));
        let mut slot = first(worse, 1); // [B, 1, P]
        let mut positive = best.clone().greater_equal_elem(self.pos_iou_thr);
        let background = self.background(best, spared);
        if self.match_low_quality {
            let taken_by = self.last_taker(overlaps, truth); // [B, 1, P]
            let taken = taken_by.clone().greater_equal_elem(0);
            slot = slot.mask_where(taken.clone(), taken_by);
            positive = positive.bool_or(taken);
        }
        let ignored = positive.clone().bool_or(background).bool_not();
        Matches::new(
            slot.squeeze_dim(1),
            positive.squeeze_dim(1),
            ignored.squeeze_dim(1),
            truth,
        )
    }

    /// Boxes with a `best` overlap below the threshold that take part and are not spared, each
    /// `[B, 1, P]`.
    fn background(&self, best: Tensor<3>, spared: Option<Tensor<3, Bool>>) -> Tensor<3, Bool> {
        let low = best.clone().lower_elem(self.neg_iou_thr);
        let background = best.greater_equal_elem(0.0).bool_and(low);
        match spared {
            Some(spared) => background.bool_and(spared.bool_not()),
            None => background,
        }
    }

    /// Boxes of which too large a part lies in an ignore region, `[B, 1, P]`.
    fn inside_regions(&self, boxes: &Tensor<3>, truth: &GroundTruth) -> Option<Tensor<3, Bool>> {
        if self.ignore_iof_thr <= 0.0 {
            return None;
        }
        let (boxes, regions) = (boxes.clone(), truth.ignore_boxes.clone());
        let parts = if self.ignore_wrt_candidates {
            pairwise_iof(boxes, regions).swap_dims(1, 2)
        } else {
            pairwise_iof(regions, boxes)
        }; // [B, I, P]
        let full = parts.dims();
        let valid = truth.ignore_valid.clone().unsqueeze_dim::<3>(2); // [B, I, 1]
        let inside = parts
            .greater_elem(self.ignore_iof_thr)
            .bool_and(valid.expand(full));
        Some(inside.any_dim(1))
    }

    /// The last ground-truth slot that takes each box for being its best, -1 where none does,
    /// `[B, 1, P]`.
    fn last_taker(&self, overlaps: Tensor<3>, truth: &GroundTruth) -> Tensor<3, Int> {
        let full @ [_, _, points] = overlaps.dims();
        let device = overlaps.device();
        let best = overlaps.clone().max_dim(2); // [B, M, 1]
        let mut takes = best
            .clone()
            .greater_equal_elem(self.min_pos_iou)
            .bool_and(truth.valid.clone().unsqueeze_dim(2)); // [B, M, 1]
        if self.zero_overlap == ZeroOverlap::Skip {
            takes = takes.bool_and(best.clone().greater_elem(0.0));
        }
        let mut taken = overlaps
            .greater_equal(best.expand(full))
            .bool_and(takes.expand(full)); // [B, M, P]
        if !self.gt_max_assign_all {
            // P where the ground-truth box takes none.
            let first = first(taken.bool_not(), 2).expand(full);
            taken = indices(points, 2, &device).expand(full).equal(first);
        }
        last(taken.bool_not(), 1)
    }
}

/// Overlap of every ground-truth box with every box, `[B, M, P]`: [`EXCLUDED`] for boxes that take
/// no part `[B, 1, P]`, 0 in empty slots, whose boxes have no area.
fn overlaps(boxes: Tensor<3>, excluded: Option<Tensor<3, Bool>>, truth: &GroundTruth) -> Tensor<3> {
    let overlaps = pairwise_iou(truth.boxes.clone(), boxes);
    let full = overlaps.dims();
    match excluded {
        Some(excluded) => overlaps.mask_fill(excluded.expand(full), EXCLUDED),
        None => overlaps,
    }
}

/// Where one of the conditions holds that there are.
fn either(a: Option<Tensor<3, Bool>>, b: Option<Tensor<3, Bool>>) -> Option<Tensor<3, Bool>> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.bool_or(b)),
        (a, b) => a.or(b),
    }
}

#[cfg(test)]
mod tests;

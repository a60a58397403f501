//! FSAF assignment (Zhu et al. 2019, sections 3.2 and 3.4; mmdetection 3.x
//! `center_region_assigner.py`, `fsaf_head.py`).
//!
//! On every level, the points in the middle of a box are its effective points. A ring around them,
//! and the effective points that a smaller box takes away, are left out of the box's class: they
//! are shadowed. Which level really trains the box is chosen afterwards, from the losses of its
//! effective points ([`online_levels`]) or from its size ([`heuristic_levels`]).

mod levels;

use aweigh_geometry::{
    GroundTruth,
    boxes::{AREA_EPSILON, Corners},
};
use burn::tensor::{Bool, Int, Tensor};
use serde::{Deserialize, Serialize};

use crate::Matches;
use crate::order::{indices, last};

pub use levels::{FsafTargets, LevelChoice, heuristic_levels, online_levels};

/// Stands for "no box" among areas; larger than the area of any box, finite so that every
/// backend's shading language can write it.
const NO_BOX: f32 = 1e30;

/// Finds the effective and the shadowed points of every box. The defaults are the reference's;
/// the paper has a `neg_scale` of 0.5.
///
/// A point stands for the square around it, its prior.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CenterRegionAssigner {
    /// Sides of a box's effective region, relative to the box. Default: 0.2.
    pub pos_scale: f32,
    /// Sides of the region whose points are shadowed where they are not effective, relative to
    /// the box. Default: 0.2.
    pub neg_scale: f32,
    /// Part of a prior's area that must lie in a region, exclusive. Default: 0.01.
    pub min_pos_iof: f32,
    /// Sides of the part of an ignore region in which points are ignored, relative to the region.
    /// Default: 0.5.
    pub ignore_gt_scale: f32,
    /// Whether an effective point of one box that is shadowed by another box of the same class
    /// stays effective (or becomes background, shadowed for that class). Default: false.
    pub foreground_dominate: bool,
}

impl Default for CenterRegionAssigner {
    fn default() -> Self {
        Self {
            pos_scale: 0.2,
            neg_scale: 0.2,
            min_pos_iof: 0.01,
            ignore_gt_scale: 0.5,
            foreground_dominate: false,
        }
    }
}

/// What every point of a batch could predict, before one level is chosen for each box.
#[derive(Debug, Clone)]
pub struct CenterRegions {
    /// Which point is effective for which box: positive are the effective points of every level. A
    /// point is ignored where it lies in an ignore region or outside of its image.
    pub matches: Matches,
    /// `[B, P, 4]`: the point's box, in pixels; only meaningful where effective.
    pub boxes: Tensor<3>,
    /// `[B, C, P]`: the point is left out of the class.
    pub shadowed: Tensor<3, Bool>,
}

/// Where points stand to boxes, `[B, M, P]` each.
struct Regions {
    core: Tensor<3, Bool>,
    shadow: Tensor<3, Bool>,
}

impl CenterRegionAssigner {
    /// Checks the scales.
    ///
    /// # Errors
    ///
    /// The name of the field, and what was expected.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        let scales = [
            ("pos_scale", self.pos_scale),
            ("neg_scale", self.neg_scale),
            ("ignore_gt_scale", self.ignore_gt_scale),
        ];
        for (key, value) in scales {
            if !(value > 0.0 && value.is_finite()) {
                return Err((key, format!("expected more than 0, found {value}")));
            }
        }
        let part = self.min_pos_iof;
        if !(0.0..1.0).contains(&part) {
            return Err(("min_pos_iof", format!("expected 0 to 1, found {part}")));
        }
        Ok(())
    }

    /// Assigns the points with the given priors for every image of `truth`.
    ///
    /// Of several boxes whose effective region a point lies in, it learns the smallest, and of
    /// equally small ones the last. Points outside of `usable` take no part.
    ///
    /// # Shapes
    ///
    /// - `priors`: `[P, 4]`, in pixels
    /// - `usable`: `[B, P]`
    pub fn assign(
        &self,
        priors: &Tensor<2>,
        usable: Tensor<2, Bool>,
        num_classes: usize,
        truth: &GroundTruth,
    ) -> CenterRegions {
        let priors = in_row(priors); // [1, 1, P]
        let Regions { core, shadow } = self.regions(&priors, truth);
        let slot = smallest(&core, truth); // [B, 1, P]
        let shaded = shadow.bool_or(lost(&core, &slot)); // [B, M, P]

        let slot = slot.squeeze_dim::<2>(1);
        let labels = truth.labels.clone().gather(1, slot.clone()); // [B, P]
        let ignored = self.ignored(&priors, truth).bool_or(usable.bool_not());
        let effective = core.any_dim(1).squeeze_dim::<2>(1);
        let effective = effective.bool_and(ignored.clone().bool_not());
        let (effective, shaded) = self.settle(effective, shaded, &labels, truth);
        let matches = Matches {
            slot,
            labels,
            positive: effective,
            ignored,
        };
        CenterRegions {
            boxes: matches.boxes(truth),
            matches,
            shadowed: shadowed_classes(shaded, num_classes, truth),
        }
    }

    /// Effective and ring regions of every box. A point belongs to the effective region when it
    /// lies in the box and enough of its prior in the region, to the ring when enough of its prior
    /// does.
    fn regions(&self, priors: &Corners<3>, truth: &GroundTruth) -> Regions {
        let boxes = Corners::split(truth.boxes.clone()); // [B, M, 1]
        let covers = |scale: f32| {
            let part =
                priors.intersection(&scaled(&boxes, scale)) / priors.area().clamp_min(AREA_EPSILON); // [B, M, P]
            part.greater_elem(self.min_pos_iof)
        };
        let middle = covers(self.pos_scale);
        let around = if self.neg_scale == self.pos_scale {
            middle.clone()
        } else {
            covers(self.neg_scale)
        };
        let valid = truth.valid.clone().unsqueeze_dim::<3>(2);
        let valid = valid.expand(middle.dims());
        let core = middle
            .bool_and(centers_inside(priors, &boxes))
            .bool_and(valid.clone());
        let shadow = around.bool_and(core.clone().bool_not()).bool_and(valid);
        Regions { core, shadow }
    }

    /// Points in the middle of an ignore region, `[B, P]`.
    fn ignored(&self, priors: &Corners<3>, truth: &GroundTruth) -> Tensor<2, Bool> {
        let regions = Corners::split(truth.ignore_boxes.clone()); // [B, I, 1]
        let inside = centers_inside(priors, &scaled(&regions, self.ignore_gt_scale));
        let valid = truth.ignore_valid.clone().unsqueeze_dim::<3>(2);
        let full = inside.dims();
        inside
            .bool_and(valid.expand(full))
            .any_dim(1)
            .squeeze_dim(1)
    }

    /// Decides about points that are effective for a class and shadowed for the same.
    fn settle(
        &self,
        effective: Tensor<2, Bool>,
        shaded: Tensor<3, Bool>,
        labels: &Tensor<2, Int>,
        truth: &GroundTruth,
    ) -> (Tensor<2, Bool>, Tensor<3, Bool>) {
        let full = shaded.dims();
        let same_class = truth
            .labels
            .clone()
            .unsqueeze_dim::<3>(2)
            .expand(full)
            .equal(labels.clone().unsqueeze_dim::<3>(1).expand(full));
        let both = shaded.clone().bool_and(same_class); // [B, M, P]
        match self.foreground_dominate {
            false => {
                let contested = both.any_dim(1).squeeze_dim::<2>(1);
                (effective.bool_and(contested.bool_not()), shaded)
            }
            true => {
                let learning = effective.clone().unsqueeze_dim::<3>(1).expand(full);
                let lifted = both.bool_and(learning);
                (effective, shaded.bool_and(lifted.bool_not()))
            }
        }
    }
}

/// The classes of the boxes that shade each point, `[B, M, P]` to `[B, C, P]`.
fn shadowed_classes(
    shaded: Tensor<3, Bool>,
    num_classes: usize,
    truth: &GroundTruth,
) -> Tensor<3, Bool> {
    let members = class_is(&truth.labels, num_classes).float(); // [B, C, M]
    members.matmul(shaded.float()).greater_elem(0.5)
}

/// Coordinates `[1, 1, P]` of priors `[P, 4]`.
fn in_row(priors: &Tensor<2>) -> Corners<3> {
    let [points, _] = priors.dims();
    let side = |i: usize| priors.clone().narrow(1, i, 1).reshape([1, 1, points]);
    Corners {
        x1: side(0),
        y1: side(1),
        x2: side(2),
        y2: side(3),
    }
}

/// Boxes of `scale` times the size about the same centres, rounded as the reference rounds: a
/// part of exactly `min_pos_iof` is met by every prior at a corner of a box of its own size.
fn scaled(boxes: &Corners<3>, scale: f32) -> Corners<3> {
    let resize = |low: &Tensor<3>, high: &Tensor<3>| {
        let half = (high.clone() - low.clone()) * 0.5 * scale;
        let center = (high.clone() + low.clone()) * 0.5;
        (center.clone() - half.clone(), center + half)
    };
    let (x1, x2) = resize(&boxes.x1, &boxes.x2);
    let (y1, y2) = resize(&boxes.y1, &boxes.y2);
    Corners { x1, y1, x2, y2 }
}

/// Whether the centre of each prior `[1, 1, P]` lies strictly inside each box `[B, M, 1]`.
fn centers_inside(priors: &Corners<3>, boxes: &Corners<3>) -> Tensor<3, Bool> {
    let inside = |low: &Tensor<3>, high: &Tensor<3>, from: &Tensor<3>, to: &Tensor<3>| {
        let center = (low.clone() + high.clone()) * 0.5;
        (center.clone() - from.clone()).min_pair(to.clone() - center)
    };
    let across = inside(&priors.x1, &priors.x2, &boxes.x1, &boxes.x2);
    let down = inside(&priors.y1, &priors.y2, &boxes.y1, &boxes.y2);
    across.min_pair(down).greater_elem(0.0)
}

/// Slot of the smallest box that each point is in the core of, of equally small ones the last,
/// `[B, 1, P]`; 0 where there is none.
fn smallest(core: &Tensor<3, Bool>, truth: &GroundTruth) -> Tensor<3, Int> {
    let full = core.dims();
    let areas = Corners::split(truth.boxes.clone()).area().expand(full);
    let areas = areas.mask_fill(core.clone().bool_not(), NO_BOX);
    let larger = areas.clone().greater(areas.min_dim(1).expand(full));
    let outside = larger.bool_or(core.clone().bool_not());
    last(outside, 1).clamp_min(0)
}

/// Where a point is in the core of a box and learns another one, whose slot is `[B, 1, P]`:
/// `[B, M, P]`.
fn lost(core: &Tensor<3, Bool>, slot: &Tensor<3, Int>) -> Tensor<3, Bool> {
    let full @ [_, slots, _] = core.dims();
    let order = indices(slots, 1, &core.device()).expand(full);
    core.clone()
        .bool_and(order.not_equal(slot.clone().expand(full)))
}

/// Whether each label `[B, N]` is each class, `[B, C, N]`.
fn class_is(labels: &Tensor<2, Int>, num_classes: usize) -> Tensor<3, Bool> {
    let [batch, count] = labels.dims();
    let full = [batch, num_classes, count];
    let class = indices(num_classes, 1, &labels.device()).expand(full);
    labels
        .clone()
        .unsqueeze_dim::<3>(1)
        .expand(full)
        .equal(class)
}

#[cfg(test)]
mod tests;

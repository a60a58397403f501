//! RepPoints assignment (Yang et al. 2019, section 4; mmdetection 3.x `point_assigner.py` and
//! `reppoints_head.py`).
//!
//! The first stage learns boxes from points: a box belongs to one level, which the logarithm of
//! its size picks, and takes the points of that level that lie nearest to its centre, in widths
//! and heights of the box. A point that several boxes take learns the one it is nearest to; of
//! equally near boxes, the first. The second stage learns classes and better boxes, and assigns
//! the boxes that the first stage predicted by their overlap.

use aweigh_geometry::{
    GroundTruth,
    points::{LevelShape, PointOrigin, pyramid_points, square_anchors},
};
use burn::tensor::{Bool, Device, Int, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use crate::max_iou::MaxIouAssigner;
use crate::order::{first, indices};
use crate::{Matches, inside_any};

/// Stands for a point that a box cannot take; larger than any distance, finite so that every
/// backend's shading language can write it.
const FAR: f32 = 1e30;

/// Smallest side of a box that distances are measured in, in pixels.
const MIN_SIDE: f32 = 1e-6;

/// How far below the size at which a level begins a box may stay, relative to its area. Sides are
/// differences of rounded coordinates, and the reference rounds their logarithms too.
const BOUNDARY: f32 = 3.0 * f32::EPSILON;

/// What happens on a level with fewer points than a box takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShortLevel {
    /// The box takes all of them.
    TakeAll,
    /// The assignment panics; the reference fails likewise when a box belongs to such a level.
    Panic,
}

/// Gives each box the nearest points of one level. The defaults are those of the published recipe.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PointAssigner {
    /// Side of a box over the stride of the level it belongs to: level
    /// `l = floor(log2(sqrt(w h) / scale))` of stride `2^l`, or the nearest there is. Default: 4.
    pub scale: f32,
    /// Points that a box takes. Default: 1.
    pub pos_num: usize,
    /// What happens on a level with fewer points. Default: the box takes all of them.
    pub short_level: ShortLevel,
}

impl Default for PointAssigner {
    fn default() -> Self {
        Self {
            scale: 4.0,
            pos_num: 1,
            short_level: ShortLevel::TakeAll,
        }
    }
}

/// How boxes of the first stage are assigned.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InitAssigner {
    /// The points nearest to the centre of each box.
    Point(PointAssigner),
    /// The overlap of each box with a square around each point, of `base_scale` strides.
    MaxIou(MaxIouAssigner),
}

/// Assigns both stages.
#[derive(Debug, Clone, PartialEq)]
pub struct RepPointsAssigner {
    /// The first stage.
    pub init: InitAssigner,
    /// The second stage.
    pub refine: MaxIouAssigner,
    /// Side of the squares of [`InitAssigner::MaxIou`], in strides.
    pub base_scale: f32,
}

/// What every point of a batch should predict in one stage.
#[derive(Debug, Clone)]
pub struct StageTargets {
    /// Which point learns which box.
    pub matches: Matches,
    /// `[B, P, 4]`: the point's box in pixels; only meaningful where positive.
    pub boxes: Tensor<3>,
}

/// What every point of a batch should predict.
#[derive(Debug, Clone)]
pub struct RepPointsTargets {
    /// The first stage; its labels and ignored points are in no loss.
    pub init: StageTargets,
    /// The second stage.
    pub refine: StageTargets,
}

impl RepPointsAssigner {
    /// Assigns every point of the pyramid `levels` for every image of `truth`. Points outside of
    /// their image take no part.
    ///
    /// # Shapes
    ///
    /// - `init_boxes`: `[B, P, 4]`, the boxes that the first stage predicts, in pixels
    pub fn assign(
        &self,
        levels: &[LevelShape],
        init_boxes: Tensor<3>,
        truth: &GroundTruth,
    ) -> RepPointsTargets {
        let covered = truth.covers(levels); // [B, P]
        let init = self.first_stage(levels, covered.clone(), truth);
        let boxes = init_boxes.without_autodiff();
        let refine = self.refine.assign(boxes, Some(covered), truth);
        RepPointsTargets {
            init: StageTargets::new(init, truth),
            refine: StageTargets::new(refine, truth),
        }
    }

    /// Assigns the first stage alone, which depends on no prediction.
    pub fn assign_init(&self, levels: &[LevelShape], truth: &GroundTruth) -> Matches {
        self.first_stage(levels, truth.covers(levels), truth)
    }

    fn first_stage(
        &self,
        levels: &[LevelShape],
        covered: Tensor<2, Bool>,
        truth: &GroundTruth,
    ) -> Matches {
        match &self.init {
            InitAssigner::Point(assigner) => assigner.assign(levels, covered, truth),
            InitAssigner::MaxIou(assigner) => {
                let device = truth.boxes.device();
                let squares = square_anchors(levels, self.base_scale, PointOrigin::Corner, &device);
                let squares = squares.unsqueeze_dim(0); // [1, P, 4]
                assigner.assign(squares, Some(covered), truth)
            }
        }
    }
}

impl StageTargets {
    fn new(matches: Matches, truth: &GroundTruth) -> Self {
        let boxes = matches.boxes(truth);
        Self { matches, boxes }
    }
}

impl PointAssigner {
    /// Assigns every point of the pyramid `levels` for every image of `truth`. Points outside of
    /// `usable` take no part.
    ///
    /// # Shapes
    ///
    /// - `usable`: `[B, P]`
    ///
    /// # Panics
    ///
    /// With [`ShortLevel::Panic`], when a level has fewer than `pos_num` points.
    pub fn assign(
        &self,
        levels: &[LevelShape],
        usable: Tensor<2, Bool>,
        truth: &GroundTruth,
    ) -> Matches {
        self.check_levels(levels);
        let device = truth.boxes.device();
        let points = pyramid_points(levels, PointOrigin::Corner, &device); // [P, 2]
        let allowed = self
            .box_levels(levels, truth)
            .equal(point_levels(levels, &device))
            .bool_and(truth.valid.clone().unsqueeze_dim(2))
            .bool_and(usable.clone().unsqueeze_dim(1)); // [B, M, P]
        let distances = distances(&points, truth).mask_fill(allowed.bool_not(), FAR);
        let distances = self.nearest(distances);

        let smallest = distances.clone().min_dim(1); // [B, 1, P]
        let farther = distances
            .clone()
            .greater(smallest.clone().expand(distances.dims()));
        let slot = first(farther, 1);
        let positive = smallest.lower_elem(FAR).squeeze_dim::<2>(1);
        let left_out = inside_any(&points, truth).bool_or(usable.bool_not());
        let ignored = left_out.bool_and(positive.clone().bool_not());
        Matches::new(slot.squeeze_dim(1), positive, ignored, truth)
    }

    fn check_levels(&self, levels: &[LevelShape]) {
        if self.short_level == ShortLevel::TakeAll {
            return;
        }
        for (level, shape) in levels.iter().enumerate() {
            let (expected, found) = (self.pos_num, shape.points());
            assert!(
                found >= expected,
                "RepPoints: a box takes {expected} points, level {level} has {found}"
            );
        }
    }

    /// Logarithm of the stride of the level that each box belongs to, `[B, M, 1]`.
    fn box_levels(&self, levels: &[LevelShape], truth: &GroundTruth) -> Tensor<3, Int> {
        let [width, height] = sides(truth); // [B, M, 1]
        let area = width * height;
        let logs = || levels.iter().map(|level| level.stride.ilog2());
        let (lowest, highest) = (logs().min().unwrap_or(0), logs().max().unwrap_or(0));
        let smallest = Tensor::full(area.dims(), i64::from(lowest), &area.device());
        // Comparing areas, where the reference compares logarithms: these are not exact, and a box
        // whose side is a power of two lies on the boundary.
        (lowest + 1..=highest).fold(smallest, |level, log| {
            let side = self.scale * 2_f32.powi(log as i32);
            let begins = side * side * (1.0 - BOUNDARY);
            level + area.clone().greater_equal_elem(begins).int()
        })
    }

    /// Keeps the `pos_num` smallest distances of every box; the others become [`FAR`].
    fn nearest(&self, distances: Tensor<3>) -> Tensor<3> {
        let full @ [_, _, points] = distances.dims();
        let order = indices(points, 2, &distances.device()).expand(full);
        let mut rest = distances.clone(); // [B, M, P]
        // Few rounds over all points: sorting on a GPU would wait for the host.
        for _ in 0..self.pos_num.min(points) {
            let smallest = rest.clone().min_dim(2); // [B, M, 1]
            let first = first(rest.clone().greater(smallest.expand(full)), 2); // [B, M, 1]
            rest = rest.mask_fill(order.clone().equal(first.expand(full)), FAR);
        }
        distances.mask_fill(rest.lower_elem(FAR), FAR)
    }
}

/// Distance of every point from the centre of every box, in widths and heights of the box,
/// `[B, M, P]`.
fn distances(points: &Tensor<2>, truth: &GroundTruth) -> Tensor<3> {
    let [count, _] = points.dims();
    let sides = sides(truth);
    let offset = |axis: usize| {
        let point = points.clone().narrow(1, axis, 1).reshape([1, 1, count]);
        let side = |i: usize| truth.boxes.clone().narrow(2, i, 1); // [B, M, 1]
        let center = (side(axis) + side(axis + 2)) / 2.0;
        (point - center) / sides[axis].clone()
    };
    (offset(0).square() + offset(1).square()).sqrt()
}

/// Width and height of every box, at least [`MIN_SIDE`], each `[B, M, 1]`.
fn sides(truth: &GroundTruth) -> [Tensor<3>; 2] {
    let side = |i: usize| truth.boxes.clone().narrow(2, i, 1);
    [0, 1].map(|axis| (side(axis + 2) - side(axis)).clamp_min(MIN_SIDE))
}

/// Logarithm of the stride of the level of every point, rounded down, `[1, 1, P]`.
fn point_levels(levels: &[LevelShape], device: &Device) -> Tensor<3, Int> {
    let logs: Vec<i64> = levels
        .iter()
        .flat_map(|level| std::iter::repeat_n(i64::from(level.stride.ilog2()), level.points()))
        .collect();
    let count = logs.len();
    Tensor::from_data(TensorData::new(logs, [1, 1, count]), device)
}

#[cfg(test)]
mod tests;

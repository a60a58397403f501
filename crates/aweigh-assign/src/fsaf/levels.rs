//! Which level trains each box.

use aweigh_geometry::{GroundTruth, LevelShape, boxes::area};
use burn::tensor::{Bool, Device, Int, Tensor, TensorData};

use super::{CenterRegions, class_is};
use crate::Matches;
use crate::order::{first, indices};

/// Loss of a box on a level where it has no effective point: more than that of any other level.
pub(super) const UNTRAINED: f32 = 1e6;

/// Side of the box that the heuristic sends to the level of stride 32, and the side doubles with
/// the stride (paper, section 3.3, equation 3; Lin et al. 2017, equation 1).
const HEURISTIC_SIDE: f32 = 224.0;
const HEURISTIC_STRIDE: f32 = 32.0;

/// The level that fits each box best.
#[derive(Debug, Clone)]
pub struct LevelChoice {
    /// `[B, M, L]`: mean loss of the box's effective points on each level, 1e6 where it has none.
    pub losses: Tensor<3>,
    /// `[B, M]`: index of the level with the smallest loss; of equal ones the first.
    pub level: Tensor<2, Int>,
}

/// What every point of a batch should predict. A point that is neither positive nor ignored is
/// background for the classes it is not left out of.
#[derive(Debug, Clone)]
pub struct FsafTargets {
    /// Which point learns which box. A point is positive where it is effective for its box and on
    /// the level that the box trains, ignored where it lies in an ignore region or outside of its
    /// image. Slots and labels are meaningful on other levels too.
    pub matches: Matches,
    /// `[B, P, 4]`: the point's box, in pixels; only meaningful where positive.
    pub boxes: Tensor<3>,
    /// `[B, P]`: the point is effective for its box, which trains another level.
    pub other_level: Tensor<2, Bool>,
    /// `[B, C, P]`: the point is left out of the class, being shadowed, ignored or on another level
    /// than the one its box trains.
    pub left_out: Tensor<3, Bool>,
    /// `[B, M, L]`: the losses that levels were chosen by, if they were.
    pub level_losses: Option<Tensor<3>>,
}

/// Chooses the level on which the mean loss of a box's effective points is smallest
/// (paper, section 3.3, equations 1 and 2).
///
/// # Shapes
///
/// - `losses`: `[B, P]`, class and box loss of every point, finite and without autodiff
pub fn online_levels(
    losses: Tensor<2>,
    regions: &CenterRegions,
    levels: &[LevelShape],
    truth: &GroundTruth,
) -> LevelChoice {
    let (batch, slots) = (truth.images(), truth.slots());
    let [_, points] = losses.dims();
    let full = [batch, slots, points];
    let matches = &regions.matches;
    let effective = indices(slots, 1, &losses.device())
        .expand(full)
        .equal(matches.slot.clone().unsqueeze_dim::<3>(1).expand(full))
        .bool_and(matches.positive.clone().unsqueeze_dim::<3>(1).expand(full))
        .float(); // [B, M, P]
    let count = level_sums(&effective, levels); // [B, M, L]
    let sum = level_sums(&(effective * losses.unsqueeze_dim::<3>(1)), levels);
    let means = (sum / count.clone().clamp_min(1.0)).mask_fill(count.lower_elem(0.5), UNTRAINED);
    let smallest = means.clone().min_dim(2); // [B, M, 1]
    LevelChoice {
        // Of equal losses the first.
        level: first(means.clone().greater(smallest.expand(means.dims())), 2).squeeze_dim(2),
        losses: means,
    }
}

/// Sums of every level's points, `[B, M, P]` to `[B, M, L]`. Not a product with a table of the
/// points' levels: GPUs round the factors of products, and close losses would change places.
fn level_sums(values: &Tensor<3>, levels: &[LevelShape]) -> Tensor<3> {
    let mut start = 0;
    let of_level = levels.iter().map(|level| {
        let points = values.clone().narrow(2, start, level.points());
        start += level.points();
        points.sum_dim(2) // [B, M, 1]
    });
    Tensor::cat(of_level.collect(), 2)
}

/// Chooses the level by the size of each box: `floor(5 + log2(sqrt(w h) / 224))`, limited to the
/// levels there are, where level n has stride `2^n` (paper, equation 3).
///
/// # Shapes
///
/// Returns `[B, M]`, indices into `levels`.
pub fn heuristic_levels(levels: &[LevelShape], truth: &GroundTruth) -> Tensor<2, Int> {
    let areas: Tensor<2> = area(truth.boxes.clone()); // [B, M]
    let reached = levels.iter().skip(1).map(|level| {
        let side = HEURISTIC_SIDE / HEURISTIC_STRIDE * level.stride as f32;
        areas.clone().greater_equal_elem(side * side).int()
    });
    let first = truth.labels.clone().zeros_like();
    reached.fold(first, |index, reached| index + reached)
}

impl CenterRegions {
    /// Keeps the effective points on the level of their box; those on other levels stay background
    /// for every class but that of the box.
    ///
    /// # Shapes
    ///
    /// - `level`: `[B, M]`, index of the level of each box
    pub fn select(self, level: Tensor<2, Int>, levels: &[LevelShape]) -> FsafTargets {
        let full @ [_, num_classes, _] = self.shadowed.dims();
        let Matches {
            slot,
            labels,
            positive: effective,
            ignored,
        } = self.matches;
        let of_box = level.gather(1, slot.clone()); // [B, P]
        let chosen = level_of_points(levels, &of_box.device())
            .expand(of_box.dims())
            .equal(of_box);
        let other_level = effective.clone().bool_and(chosen.clone().bool_not());
        let wide = |flags: &Tensor<2, Bool>| flags.clone().unsqueeze_dim::<3>(1).expand(full);
        let own_class = class_is(&labels, num_classes).bool_and(wide(&other_level));
        FsafTargets {
            left_out: self.shadowed.bool_or(wide(&ignored)).bool_or(own_class),
            matches: Matches {
                slot,
                labels,
                positive: effective.bool_and(chosen),
                ignored,
            },
            boxes: self.boxes,
            other_level,
            level_losses: None,
        }
    }
}

/// Index of the level of each point, `[1, P]`.
fn level_of_points(levels: &[LevelShape], device: &Device) -> Tensor<2, Int> {
    let indices: Vec<i64> = levels
        .iter()
        .enumerate()
        .flat_map(|(l, level)| std::iter::repeat_n(l as i64, level.points()))
        .collect();
    let count = indices.len();
    Tensor::from_data(TensorData::new(indices, [1, count]), device)
}

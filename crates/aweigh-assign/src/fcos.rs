//! FCOS assignment (Tian et al., section 3.1 and 3.2; mmdetection 3.x `fcos_head.py`).
//!
//! A point belongs to a ground-truth box when it lies inside the box (or inside the box's centre
//! region) and the largest of its four distances to the sides is in the regression range of the
//! point's level. A point that belongs to several boxes is given to the smallest; of equally small
//! boxes, to the first.

use aweigh_geometry::{
    GroundTruth,
    codec::encode_distance,
    points::{LevelShape, PointOrigin, pyramid_points, pyramid_strides},
};
use burn::tensor::{Bool, Device, Int, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use crate::matches::boxes_of;
use crate::order::first;
use crate::{Matches, inside_any};

/// Stands for "no box" among areas; larger than the area of any box, finite so that every
/// backend's shading language can write it.
const NO_BOX: f32 = 1e30;

/// Keeps the centre-ness of points outside of their box defined; they are masked out afterwards.
const MIN_DISTANCE: f32 = 1e-6;

/// Which points inside a box may be positive.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Region {
    /// Every point strictly inside the box.
    Box,
    /// Points strictly inside the box and closer to its centre than the radius, in strides of the
    /// point's level along each axis.
    Center(f32),
}

/// The unit of the regression targets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DistanceUnit {
    /// Pixels of the network input.
    Pixel,
    /// Strides of the point's level (`norm_on_bbox`).
    Stride,
}

/// Gives each point at most one ground-truth box.
#[derive(Debug, Clone, PartialEq)]
pub struct FcosAssigner {
    /// Where in their cells the points lie.
    pub origin: PointOrigin,
    /// Smallest and largest distance, in pixels and both inclusive, that each level regresses.
    pub regress_ranges: Vec<[f32; 2]>,
    /// Which points inside a box may be positive.
    pub region: Region,
    /// Unit of the regression targets.
    pub unit: DistanceUnit,
}

/// What every point of a batch should predict.
#[derive(Debug, Clone)]
pub struct FcosTargets {
    /// Which point learns which box. A point is ignored where it is not positive and lies in an
    /// ignore region.
    pub matches: Matches,
    /// `[B, P, 4]`: distances to left, top, right and bottom side in the assigner's unit; only
    /// meaningful where positive.
    pub distances: Tensor<3>,
    /// `[B, P]`: `sqrt(min(l, r) / max(l, r) * min(t, b) / max(t, b))`, zero where not positive.
    pub centerness: Tensor<2>,
}

/// Per-point constants of the pyramid, each `[1, P, 1]`.
struct PointTable {
    points: Tensor<2>,
    x: Tensor<3>,
    y: Tensor<3>,
    lower: Tensor<3>,
    upper: Tensor<3>,
    stride: Tensor<3>,
}

/// Distances of every point to the sides of every box, each `[B, P, M]`.
struct Distances {
    left: Tensor<3>,
    top: Tensor<3>,
    right: Tensor<3>,
    bottom: Tensor<3>,
}

impl Distances {
    fn smallest(&self) -> Tensor<3> {
        let across = self.left.clone().min_pair(self.right.clone());
        across.min_pair(self.top.clone().min_pair(self.bottom.clone()))
    }

    fn largest(&self) -> Tensor<3> {
        let across = self.left.clone().max_pair(self.right.clone());
        across.max_pair(self.top.clone().max_pair(self.bottom.clone()))
    }
}

impl FcosAssigner {
    /// Assigns every point of the pyramid `levels` for every image of `truth`.
    ///
    /// # Panics
    ///
    /// When there is not one regression range per level.
    pub fn assign(&self, levels: &[LevelShape], truth: &GroundTruth) -> FcosTargets {
        assert_eq!(
            levels.len(),
            self.regress_ranges.len(),
            "FCOS: {} pyramid levels, but {} regression ranges",
            levels.len(),
            self.regress_ranges.len()
        );
        let device = truth.boxes.device();
        let table = self.table(levels, &device);
        let (slot, positive) = self.smallest_box(&table, truth);
        self.targets(&table, truth, slot, positive)
    }

    fn table(&self, levels: &[LevelShape], device: &Device) -> PointTable {
        let points = pyramid_points(levels, self.origin, device); // [P, 2]
        let column = |value: &dyn Fn(usize) -> f32| -> Tensor<3> {
            let values: Vec<f32> = levels
                .iter()
                .enumerate()
                .flat_map(|(l, shape)| vec![value(l); shape.height * shape.width])
                .collect();
            let count = values.len();
            Tensor::from_data(TensorData::new(values, [1, count, 1]), device)
        };
        PointTable {
            x: points.clone().narrow(1, 0, 1).unsqueeze_dim(0),
            y: points.clone().narrow(1, 1, 1).unsqueeze_dim(0),
            lower: column(&|l| self.regress_ranges[l][0]),
            upper: column(&|l| self.regress_ranges[l][1]),
            stride: pyramid_strides(levels, device).reshape([1, -1, 1]),
            points,
        }
    }

    /// Slot of the smallest eligible box of each point `[B, P, 1]` (0 where there is none), and
    /// whether there is one `[B, P, 1]`.
    fn smallest_box(
        &self,
        table: &PointTable,
        truth: &GroundTruth,
    ) -> (Tensor<3, Int>, Tensor<3, Bool>) {
        let side = |i: usize| truth.boxes.clone().narrow(2, i, 1).swap_dims(1, 2); // [B, 1, M]
        let [x1, y1, x2, y2] = [side(0), side(1), side(2), side(3)];
        let [batch, _, slots] = x1.dims();
        let [_, num_points, _] = table.x.dims();
        let full = [batch, num_points, slots];

        let distances = Distances {
            left: table.x.clone() - x1.clone(),
            top: table.y.clone() - y1.clone(),
            right: x2.clone() - table.x.clone(),
            bottom: y2.clone() - table.y.clone(),
        };
        let largest = distances.largest(); // [B, P, M]
        let outside_range = largest
            .clone()
            .lower(table.lower.clone())
            .bool_or(largest.greater(table.upper.clone()));
        let inner = match self.region {
            Region::Box => distances.smallest(),
            Region::Center(radius) => center_distance(table, radius, &[&x1, &y1, &x2, &y2]),
        };
        let unusable = truth.valid.clone().bool_not().unsqueeze_dim::<3>(1); // [B, 1, M]
        let rejected = inner
            .lower_equal_elem(0.0)
            .bool_or(outside_range)
            .bool_or(unusable.expand(full)); // [B, P, M]

        let areas = ((x2 - x1) * (y2 - y1))
            .expand(full)
            .mask_fill(rejected, NO_BOX);
        let smallest = areas.clone().min_dim(2); // [B, P, 1]
        // The first of equally small boxes wins.
        let slot = first(areas.greater(smallest.clone().expand(full)), 2);
        (slot, smallest.lower_elem(NO_BOX))
    }

    fn targets(
        &self,
        table: &PointTable,
        truth: &GroundTruth,
        slot: Tensor<3, Int>,
        positive: Tensor<3, Bool>,
    ) -> FcosTargets {
        let slot = slot.squeeze_dim::<2>(2);
        let points = table.points.clone().unsqueeze_dim::<3>(0); // [1, P, 2]
        let distances = encode_distance(points, boxes_of(&slot, truth)); // [B, P, 4]
        let side = |i: usize| distances.clone().narrow(2, i, 1); // [B, P, 1]
        let [left, top, right, bottom] = [side(0), side(1), side(2), side(3)];
        let centerness = (balance(&left, &right) * balance(&top, &bottom)).sqrt();
        let centerness = centerness * positive.clone().float();
        let distances = match self.unit {
            DistanceUnit::Pixel => distances,
            DistanceUnit::Stride => distances / table.stride.clone(),
        };
        let positive = positive.squeeze_dim::<2>(2);
        let ignored = inside_any(&table.points, truth).bool_and(positive.clone().bool_not());
        FcosTargets {
            matches: Matches::new(slot, positive, ignored, truth),
            distances,
            centerness: centerness.squeeze_dim(2),
        }
    }
}

/// Distance of every point to the nearest side of every box's centre region, negative outside.
///
/// The region reaches `radius` strides from the centre to each side, but not out of the box.
fn center_distance(table: &PointTable, radius: f32, sides: &[&Tensor<3>; 4]) -> Tensor<3> {
    let reach = table.stride.clone() * radius; // [1, P, 1]
    let axis = |point: &Tensor<3>, low: &Tensor<3>, high: &Tensor<3>| {
        let center = (low.clone() + high.clone()) / 2.0; // [B, 1, M]
        let from = (center.clone() - reach.clone()).max_pair(low.clone()); // [B, P, M]
        let to = (center + reach.clone()).min_pair(high.clone());
        (point.clone() - from).min_pair(to - point.clone())
    };
    axis(&table.x, sides[0], sides[2]).min_pair(axis(&table.y, sides[1], sides[3]))
}

/// `min / max` of two opposite distances, in [0, 1].
fn balance(a: &Tensor<3>, b: &Tensor<3>) -> Tensor<3> {
    let shorter = a.clone().min_pair(b.clone()).clamp_min(0.0);
    shorter / a.clone().max_pair(b.clone()).clamp_min(MIN_DISTANCE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use aweigh_geometry::HostTruth;
    use aweigh_testkit::device;

    /// Two levels: points at 4, 12, 20, 28 on the first, 8 and 24 on the second, along each axis.
    const LEVELS: [LevelShape; 2] = [LevelShape::new(4, 4, 8), LevelShape::new(2, 2, 16)];

    fn assigner(region: Region, unit: DistanceUnit) -> FcosAssigner {
        FcosAssigner {
            origin: PointOrigin::Center,
            regress_ranges: vec![[-1.0, 16.0], [16.0, 1e8]],
            region,
            unit,
        }
    }

    /// Label of every point, -1 for background.
    fn labels(region: Region, boxes: &[[f32; 4]]) -> Vec<i64> {
        let truth = HostTruth {
            boxes: boxes.to_vec(),
            labels: (0..boxes.len()).collect(),
            ignore: Vec::new(),
        };
        let truth = GroundTruth::from_host(&[truth], &device());
        let targets = assigner(region, DistanceUnit::Pixel).assign(&LEVELS, &truth);
        let Matches {
            labels, positive, ..
        } = targets.matches;
        let (labels, positive) = (labels.into_data(), positive.into_data());
        labels
            .iter::<i64>()
            .zip(positive.iter::<bool>())
            .map(|(label, positive)| if positive { label } else { -1 })
            .collect()
    }

    /// The positive points and their labels, by index.
    fn check(region: Region, boxes: &[[f32; 4]], expected: &[(usize, i64)]) {
        let found: Vec<(usize, i64)> = labels(region, boxes)
            .into_iter()
            .enumerate()
            .filter(|(_, label)| *label >= 0)
            .collect();
        assert_eq!(found, expected, "{region:?} {boxes:?}");
    }

    #[test]
    fn points_strictly_inside_learn_the_smallest_box() {
        let inside = Region::Box;
        check(inside, &[], &[]);
        check(inside, &[[0.0, 0.0, 8.0, 8.0]], &[(0, 0)]);
        // On the border is outside.
        check(inside, &[[4.0, 0.0, 11.0, 8.0]], &[]);
        // The second, smaller box takes the point they share.
        let large = [0.0, 0.0, 16.0, 8.0];
        check(inside, &[large, [0.0, 0.0, 8.0, 8.0]], &[(0, 1), (1, 0)]);
        // Of equal boxes the first.
        check(inside, &[large, large], &[(0, 0), (1, 0)]);
        // No area, no point.
        check(inside, &[[4.0, 4.0, 4.0, 4.0], [0.0, 4.0, 32.0, 4.0]], &[]);
    }

    #[test]
    fn the_largest_distance_picks_the_level() {
        // From (4, 4) the far side is 28 away: too far for the first level. The points of the
        // second level are 16 and more.
        let all: Vec<(usize, i64)> = [16, 17, 18, 19].map(|p| (p, 0)).to_vec();
        check(Region::Box, &[[-4.0, -4.0, 36.0, 36.0]], &all);
        // 16 is in both ranges, whose ends are inclusive.
        check(Region::Box, &[[0.0, 0.0, 20.0, 8.0]], &[(0, 0), (1, 0)]);
    }

    #[test]
    fn centre_sampling_keeps_points_near_the_centre() {
        let wide = [2.0, 0.0, 18.0, 8.0];
        check(Region::Box, &[wide], &[(0, 0), (1, 0)]);
        // Half a stride to both sides of the centre at 10.
        check(Region::Center(0.5), &[wide], &[(1, 0)]);
        check(Region::Center(0.1), &[wide], &[]);
    }

    #[test]
    fn more_boxes_than_points() {
        let boxes: Vec<[f32; 4]> = (0..40)
            .map(|i| [0.0, 0.0, 8.0 - 0.01 * i as f32, 8.0])
            .collect();
        check(Region::Box, &boxes, &[(0, 39)]);
    }

    #[test]
    fn points_in_ignore_regions_are_ignored_unless_positive() {
        let truth = HostTruth {
            boxes: vec![[0.0, 0.0, 8.0, 8.0]],
            labels: vec![0],
            ignore: vec![[0.0, 0.0, 16.0, 8.0]],
        };
        let truth = GroundTruth::from_host(&[truth], &device());
        let targets = assigner(Region::Box, DistanceUnit::Pixel).assign(&LEVELS, &truth);
        let ignored: Vec<bool> = targets.matches.ignored.into_data().iter::<bool>().collect();
        let indices: Vec<usize> = (0..ignored.len()).filter(|&i| ignored[i]).collect();
        assert_eq!(indices, [1]);
    }

    #[test]
    fn distances_and_centerness_of_a_point() {
        let truth = HostTruth {
            boxes: vec![[2.0, 1.0, 12.0, 8.0]],
            labels: vec![0],
            ignore: Vec::new(),
        };
        let truth = GroundTruth::from_host(&[truth], &device());
        for (unit, scale) in [(DistanceUnit::Pixel, 1.0), (DistanceUnit::Stride, 8.0)] {
            let targets = assigner(Region::Box, unit).assign(&LEVELS, &truth);
            let distances: Vec<f32> = targets.distances.into_data().iter::<f32>().collect();
            assert_eq!(distances[..4], [2.0, 3.0, 8.0, 4.0].map(|d| d / scale));
            let centerness: Vec<f32> = targets.centerness.into_data().iter::<f32>().collect();
            let expected = (2.0_f32 / 8.0 * 3.0 / 4.0).sqrt();
            // One rounding of the square root.
            assert!((centerness[0] - expected).abs() < 1e-6);
            assert!(centerness[1..].iter().all(|c| *c == 0.0));
        }
    }

    #[test]
    #[should_panic(expected = "2 pyramid levels, but 1 regression ranges")]
    fn every_level_needs_a_range() {
        let mut assigner = assigner(Region::Box, DistanceUnit::Pixel);
        assigner.regress_ranges.pop();
        let truth = GroundTruth::from_host(&[HostTruth::default()], &device());
        let _ = assigner.assign(&LEVELS, &truth);
    }
}

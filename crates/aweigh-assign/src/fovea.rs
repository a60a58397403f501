//! FoveaBox assignment (Kong et al., section III; mmdetection 3.x `fovea_head.py`).
//!
//! Every level learns the boxes whose size `sqrt(width * height)` is in the level's range; ranges
//! overlap, so that a box may belong to two levels. Positive are the cells of the box's fovea, the
//! box shrunk about its centre. A cell in several foveas is given to the smallest box; of equally
//! small boxes, to the last.

use aweigh_geometry::{
    GroundTruth,
    codec::encode_distance,
    points::{LevelShape, PointOrigin, pyramid_points},
};
use burn::tensor::{Bool, Device, Int, Tensor, TensorData};

use crate::matches::boxes_of;
use crate::order::last;
use crate::{Matches, inside_any};

/// Stands for "no box" among sizes; larger than the size of any box, finite so that every
/// backend's shading language can write it.
const NO_BOX: f32 = 1e30;

/// Smallest and largest target distance, in base edges, before the logarithm.
const DISTANCE_RANGE: [f64; 2] = [1.0 / 16.0, 16.0];

/// Gives each point at most one ground-truth box.
#[derive(Debug, Clone, PartialEq)]
pub struct FoveaAssigner {
    /// Smallest and largest box size `sqrt(width * height)`, in pixels and both inclusive, that
    /// each level learns.
    pub scale_ranges: Vec<[f32; 2]>,
    /// Unit of the distances of each level, in pixels.
    pub base_edges: Vec<f32>,
    /// Side of the fovea over the side of the box.
    pub sigma: f64,
}

/// What every point of a batch should predict.
#[derive(Debug, Clone)]
pub struct FoveaTargets {
    /// Which point learns which box. A point is ignored where it is not positive and lies in an
    /// ignore region.
    pub matches: Matches,
    /// `[B, P, 4]`: logarithm of the distances to left, top, right and bottom side, in base edges
    /// of the point's level and between 1/16 and 16; zero where not positive.
    pub distances: Tensor<3>,
}

/// How many rows, columns or points a level has.
type Count = fn(&LevelShape) -> usize;

/// The rows, or the columns, of all levels one after another, each `[1, N, 1]`.
struct Lines {
    /// Index in its level.
    index: Tensor<3>,
    /// Largest index of its level.
    last: Tensor<3>,
    stride: Tensor<3>,
}

impl Lines {
    fn new(levels: &[LevelShape], count: Count, device: &Device) -> Self {
        let index = |level| (0..count(level)).map(|index| index as f32);
        let last = levels.iter().map(|level| count(level) as f32 - 1.0);
        let stride = levels.iter().map(|level| level.stride as f32);
        Self {
            index: column(levels.iter().flat_map(index), device),
            last: spread(last, levels, count, device),
            stride: spread(stride, levels, count, device),
        }
    }

    /// Which lines cross the fovea of a box from `low` to `high` (`[B, 1, M]`, pixels): `[B, N, M]`.
    ///
    /// These are the lines whose centre is in the fovea; ends beyond the level are moved to its
    /// first or last line.
    fn crossing(&self, low: &Tensor<3>, high: &Tensor<3>, sigma: f64) -> Tensor<3, Bool> {
        let low = low.clone() / self.stride.clone(); // [B, N, M]
        let half = (high.clone() / self.stride.clone() - low.clone()) * 0.5;
        let first = (low.clone() + half.clone() * (1.0 - sigma) - 0.5).ceil();
        let last = (low + half * (1.0 + sigma) - 0.5).floor();
        let within = |line: Tensor<3>| line.clamp_min(0.0).min_pair(self.last.clone());
        let after = within(first).lower_equal(self.index.clone());
        after.bool_and(within(last).greater_equal(self.index.clone()))
    }
}

impl FoveaAssigner {
    /// Assigns every point of the pyramid `levels` for every image of `truth`.
    ///
    /// # Panics
    ///
    /// When there is not one range of sizes and one base edge per level.
    pub fn assign(&self, levels: &[LevelShape], truth: &GroundTruth) -> FoveaTargets {
        let given = [self.scale_ranges.len(), self.base_edges.len()];
        assert_eq!(
            given,
            [levels.len(); 2],
            "FoveaBox: ranges of sizes and base edges for {} pyramid levels",
            levels.len()
        );
        let (slot, positive) = self.smallest_box(levels, truth);
        self.targets(levels, truth, slot, positive)
    }

    /// Slot of the smallest box whose fovea holds the point `[B, P, 1]` (any where there is none),
    /// and whether there is one `[B, P, 1]`.
    fn smallest_box(
        &self,
        levels: &[LevelShape],
        truth: &GroundTruth,
    ) -> (Tensor<3, Int>, Tensor<3, Bool>) {
        let side = |i: usize| truth.boxes.clone().narrow(2, i, 1).swap_dims(1, 2); // [B, 1, M]
        let [x1, y1, x2, y2] = [side(0), side(1), side(2), side(3)];
        let sizes = ((x2.clone() - x1.clone()) * (y2.clone() - y1.clone())).sqrt();

        let device = truth.boxes.device();
        let columns = Lines::new(levels, |level| level.width, &device);
        let rows = Lines::new(levels, |level| level.height, &device);
        let learns = self.learning_rows(levels, truth, &sizes); // [B, N, M]
        let across = columns.crossing(&x1, &x2, self.sigma);
        let down = rows.crossing(&y1, &y2, self.sigma).bool_and(learns);
        let [row_of, column_of] = lines_of_points(levels, &device);
        let inside = down.select(1, row_of).bool_and(across.select(1, column_of)); // [B, P, M]

        let [batch, num_points, slots] = inside.dims();
        let full = [batch, num_points, slots];
        let sizes = sizes.expand(full).mask_fill(inside.bool_not(), NO_BOX);
        let smallest = sizes.clone().min_dim(2); // [B, P, 1]
        let slot = last(sizes.greater(smallest.clone().expand(full)), 2);
        (slot, smallest.lower_elem(NO_BOX))
    }

    /// Which rows belong to a level that learns the box, given the `sizes` `[B, 1, M]` of boxes:
    /// `[B, N, M]` for the N rows of all levels.
    fn learning_rows(
        &self,
        levels: &[LevelShape],
        truth: &GroundTruth,
        sizes: &Tensor<3>,
    ) -> Tensor<3, Bool> {
        let bound = |end: usize| {
            let of_level = self.scale_ranges.iter().map(|range| range[end]);
            spread(of_level, levels, |level| level.height, &sizes.device())
        };
        let in_range = sizes
            .clone()
            .greater_equal(bound(0))
            .bool_and(sizes.clone().lower_equal(bound(1)));
        let usable = truth.valid.clone().unsqueeze_dim::<3>(1); // [B, 1, M]
        let full = in_range.dims();
        in_range.bool_and(usable.expand(full))
    }

    fn targets(
        &self,
        levels: &[LevelShape],
        truth: &GroundTruth,
        slot: Tensor<3, Int>,
        positive: Tensor<3, Bool>,
    ) -> FoveaTargets {
        let slot = slot.squeeze_dim::<2>(2);
        let points = pyramid_points(levels, PointOrigin::Center, &slot.device()); // [P, 2]
        let distances = self.log_distances(levels, &points, &boxes_of(&slot, truth));
        let negative = positive.clone().bool_not().expand(distances.dims());
        let distances = distances.mask_fill(negative, 0.0);

        let positive = positive.squeeze_dim::<2>(2);
        let ignored = inside_any(&points, truth).bool_and(positive.clone().bool_not());
        FoveaTargets {
            matches: Matches::new(slot, positive, ignored, truth),
            distances,
        }
    }

    /// Logarithm of the distances from every point `[P, 2]` to the sides of its box `[B, P, 4]`, in
    /// base edges and in [`DISTANCE_RANGE`], `[B, P, 4]`.
    fn log_distances(
        &self,
        levels: &[LevelShape],
        points: &Tensor<2>,
        boxes: &Tensor<3>,
    ) -> Tensor<3> {
        let distances = encode_distance(points.clone().unsqueeze_dim::<3>(0), boxes.clone());
        let edges = self.base_edges.iter().copied();
        let edges = spread(edges, levels, LevelShape::points, &boxes.device());
        let [closest, farthest] = DISTANCE_RANGE;
        (distances / edges).clamp(closest, farthest).log()
    }
}

/// Constants `[1, N, 1]`.
fn column(values: impl Iterator<Item = f32>, device: &Device) -> Tensor<3> {
    let values: Vec<f32> = values.collect();
    let count = values.len();
    Tensor::from_data(TensorData::new(values, [1, count, 1]), device)
}

/// One value per level, for each of its rows, columns or points: `[1, N, 1]`.
fn spread(
    of_level: impl Iterator<Item = f32>,
    levels: &[LevelShape],
    count: Count,
    device: &Device,
) -> Tensor<3> {
    let repeated = |(value, level)| std::iter::repeat_n(value, count(level));
    column(of_level.zip(levels).flat_map(repeated), device)
}

/// Row and column of every point, among the rows and the columns of all levels, each `[P]`.
fn lines_of_points(levels: &[LevelShape], device: &Device) -> [Tensor<1, Int>; 2] {
    let (mut rows, mut columns) = (Vec::new(), Vec::new());
    let [mut first_row, mut first_column] = [0_i64, 0];
    for level in levels {
        let [height, width] = [level.height as i64, level.width as i64];
        for row in 0..height {
            rows.extend(std::iter::repeat_n(first_row + row, level.width));
            columns.extend(first_column..first_column + width);
        }
        [first_row, first_column] = [first_row + height, first_column + width];
    }
    [rows, columns].map(|lines| Tensor::from_data(lines.as_slice(), device))
}

#[cfg(test)]
mod tests {
    use super::*;
    use aweigh_geometry::HostTruth;
    use aweigh_testkit::device;

    /// Two levels: points at 4, 12, 20, 28 on the first, 8 and 24 on the second, along each axis.
    const LEVELS: [LevelShape; 2] = [LevelShape::new(4, 4, 8), LevelShape::new(2, 2, 16)];

    /// Sizes of 16 belong to both levels; the fovea has half the sides of the box.
    fn assigner() -> FoveaAssigner {
        FoveaAssigner {
            scale_ranges: vec![[1.0, 16.0], [16.0, 64.0]],
            base_edges: vec![16.0, 32.0],
            sigma: 0.5,
        }
    }

    fn truth(boxes: &[[f32; 4]], ignore: &[[f32; 4]]) -> GroundTruth {
        let truth = HostTruth {
            boxes: boxes.to_vec(),
            labels: (0..boxes.len()).collect(),
            ignore: ignore.to_vec(),
        };
        GroundTruth::from_host(&[truth], &device())
    }

    /// The positive points and their labels, by index.
    fn check(boxes: &[[f32; 4]], expected: &[(usize, i64)]) {
        let targets = assigner().assign(&LEVELS, &truth(boxes, &[]));
        let labels = targets.matches.labels.into_data();
        let positive = targets.matches.positive.into_data();
        let slots: Vec<i64> = targets.matches.slot.into_data().iter::<i64>().collect();
        let found: Vec<(usize, i64)> = labels
            .iter::<i64>()
            .zip(positive.iter::<bool>())
            .enumerate()
            .filter_map(|(point, (label, positive))| positive.then_some((point, label)))
            .collect();
        assert_eq!(found, expected, "{boxes:?}");
        // Labels count up from zero with the slots.
        assert!(found.iter().all(|(point, label)| slots[*point] == *label));
    }

    #[test]
    fn cells_in_the_fovea_learn_the_box() {
        check(&[], &[]);
        // The fovea spans 2 to 6 and holds the centre of the first cell.
        check(&[[0.0, 0.0, 8.0, 8.0]], &[(0, 0)]);
        // 4 to 12 along x: both centres are on its border.
        check(&[[0.0, 0.0, 16.0, 8.0]], &[(0, 0), (1, 0)]);
        // 5 to 11 along x lies between two centres.
        check(&[[2.0, 0.0, 14.0, 8.0]], &[]);
        check(&[[4.0, 4.0, 4.0, 4.0], [0.0, 4.0, 32.0, 4.0]], &[]);
    }

    #[test]
    fn the_size_picks_the_levels() {
        // Of size 16 and in both ranges: four cells of the first level, one of the second.
        let both = [(0, 0), (1, 0), (4, 0), (5, 0), (16, 0)];
        check(&[[0.0, 0.0, 16.0, 16.0]], &both);
        check(&[[0.0, 0.0, 17.0, 16.0]], &[(16, 0)]);
        check(&[[-40.0, -40.0, 40.0, 40.0]], &[]);
    }

    #[test]
    fn foveas_beyond_the_map_are_moved_to_its_border() {
        check(&[[40.0, 0.0, 48.0, 8.0]], &[(3, 0)]);
        check(&[[-48.0, 0.0, -40.0, 8.0]], &[(0, 0)]);
    }

    #[test]
    fn overlapping_foveas_go_to_the_smaller_box() {
        let (large, small) = ([0.0, 0.0, 16.0, 8.0], [0.0, 0.0, 8.0, 8.0]);
        check(&[large, small], &[(0, 1), (1, 0)]);
        check(&[small, large], &[(0, 0), (1, 1)]);
        // Of equal boxes the last.
        check(&[small, small], &[(0, 1)]);
        check(&[small, large, small, large], &[(0, 2), (1, 3)]);
    }

    #[test]
    fn more_boxes_than_points() {
        let boxes: Vec<[f32; 4]> = (0..40)
            .map(|i| [0.0, 0.0, 8.0 - 0.01 * i as f32, 8.0])
            .collect();
        check(&boxes, &[(0, 39)]);
    }

    #[test]
    fn points_in_ignore_regions_are_ignored_unless_positive() {
        let truth = truth(&[[0.0, 0.0, 8.0, 8.0]], &[[0.0, 0.0, 16.0, 8.0]]);
        let targets = assigner().assign(&LEVELS, &truth);
        let ignored: Vec<bool> = targets.matches.ignored.into_data().iter::<bool>().collect();
        let indices: Vec<usize> = (0..ignored.len()).filter(|&i| ignored[i]).collect();
        assert_eq!(indices, [1]);
    }

    #[test]
    fn distances_are_logarithms_in_base_edges() {
        // From (4, 4): 2, 3.5, 0.5 and 300 px, of which the last two are beyond the limits.
        let truth = truth(&[[2.0, 0.5, 4.5, 304.0]], &[]);
        let mut assigner = assigner();
        assigner.sigma = 1.0;
        assigner.scale_ranges = vec![[1.0, 1000.0], [2000.0, 3000.0]];
        let targets = assigner.assign(&LEVELS, &truth);
        let distances: Vec<f32> = targets.distances.into_data().iter::<f32>().collect();
        let expected = [2.0_f32 / 16.0, 3.5 / 16.0, 1.0 / 16.0, 16.0].map(f32::ln);
        for (got, expected) in distances.iter().zip(expected) {
            // Two logarithms of the same number.
            assert!((got - expected).abs() < 1e-6, "{got} is not {expected}");
        }
        let (next_point, second_level) = (&distances[4..8], &distances[64..]);
        assert!(next_point.iter().all(|d| *d == 0.0));
        assert!(second_level.iter().all(|d| *d == 0.0));
    }

    #[test]
    #[should_panic(expected = "ranges of sizes and base edges for 2 pyramid levels")]
    fn every_level_needs_a_range() {
        let mut assigner = assigner();
        assigner.scale_ranges.pop();
        let _ = assigner.assign(&LEVELS, &truth(&[], &[]));
    }
}

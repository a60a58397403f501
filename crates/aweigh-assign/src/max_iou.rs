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
use burn::tensor::{Bool, Device, Int, Tensor};
use serde::{Deserialize, Serialize};

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
    /// Boxes of which a larger part lies in an ignore region are neither positive nor background;
    /// 0 or less switches ignore regions off. Default: 0.5.
    pub ignore_iof_thr: f32,
    /// Whether that part is of the box's own area, or of the ignore region's. Default: true.
    pub ignore_wrt_candidates: bool,
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
            zero_overlap: ZeroOverlap::Skip,
        }
    }
}

/// Which ground-truth box every box of a batch learns. A box that is neither positive nor ignored
/// is background.
#[derive(Debug, Clone)]
pub struct MaxIouTargets {
    /// `[B, P]`: ground-truth slot of the box; only meaningful where positive.
    pub slot: Tensor<2, Int>,
    /// `[B, P]`: the box has a ground-truth box.
    pub positive: Tensor<2, Bool>,
    /// `[B, P]`: the box is neither positive nor background: between the thresholds, in an ignore
    /// region, or not usable.
    pub ignored: Tensor<2, Bool>,
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
    ) -> MaxIouTargets {
        let overlaps = self.overlaps(boxes, usable, truth); // [B, M, P]
        let best = overlaps.clone().max_dim(1); // [B, 1, P]
        let mut slot = first_slot(&overlaps, &best); // [B, 1, P]
        let mut positive = best.clone().greater_equal_elem(self.pos_iou_thr);
        let background = best
            .clone()
            .greater_equal_elem(0.0)
            .bool_and(best.lower_elem(self.neg_iou_thr));
        if self.match_low_quality {
            let taken_by = self.last_taker(overlaps, truth); // [B, 1, P]
            let taken = taken_by.clone().greater_equal_elem(0);
            slot = slot.mask_where(taken.clone(), taken_by);
            positive = positive.bool_or(taken);
        }
        MaxIouTargets {
            slot: slot.squeeze_dim(1),
            ignored: positive
                .clone()
                .bool_or(background)
                .bool_not()
                .squeeze_dim(1),
            positive: positive.squeeze_dim(1),
        }
    }

    /// Overlap of every ground-truth box with every box, `[B, M, P]`: 0 in empty slots,
    /// [`EXCLUDED`] for boxes in ignore regions or not usable.
    fn overlaps(
        &self,
        boxes: Tensor<3>,
        usable: Option<Tensor<2, Bool>>,
        truth: &GroundTruth,
    ) -> Tensor<3> {
        let overlaps = pairwise_iou(truth.boxes.clone(), boxes.clone());
        let full = overlaps.dims();
        let empty = truth.valid.clone().bool_not().unsqueeze_dim::<3>(2); // [B, M, 1]
        let overlaps = overlaps.mask_fill(empty.expand(full), 0.0);
        let unusable = usable.map(|usable| usable.bool_not().unsqueeze_dim::<3>(1)); // [B, 1, P]
        [self.in_ignore_region(boxes, truth), unusable]
            .into_iter()
            .flatten()
            .fold(overlaps, |overlaps, excluded| {
                overlaps.mask_fill(excluded.expand(full), EXCLUDED)
            })
    }

    /// Boxes of which too large a part lies in an ignore region, `[B, 1, P]`.
    fn in_ignore_region(&self, boxes: Tensor<3>, truth: &GroundTruth) -> Option<Tensor<3, Bool>> {
        if self.ignore_iof_thr <= 0.0 {
            return None;
        }
        let regions = truth.ignore_boxes.clone();
        let parts = match self.ignore_wrt_candidates {
            true => pairwise_iof(boxes, regions).swap_dims(1, 2),
            false => pairwise_iof(regions, boxes),
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
        let full @ [_, slots, points] = overlaps.dims();
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
            let order = Tensor::<1, Int>::arange(0..points as i64, &device);
            let order = order.reshape([1, 1, points]).expand(full);
            let first = order
                .clone()
                .mask_fill(taken.bool_not(), points as i64)
                .min_dim(2); // [B, M, 1], P where the ground-truth box takes none
            taken = order.equal(first.expand(full));
        }
        slot_order(slots, &device)
            .expand(full)
            .mask_fill(taken.bool_not(), -1)
            .max_dim(1)
    }
}

/// Indices of ground-truth slots, `[1, M, 1]`.
fn slot_order(slots: usize, device: &Device) -> Tensor<3, Int> {
    Tensor::<1, Int>::arange(0..slots as i64, device).reshape([1, slots, 1])
}

/// The first slot with the best overlap of each box, `[B, 1, P]`. An argmax's choice among equals
/// depends on the backend, the smallest index among equals does not.
fn first_slot(overlaps: &Tensor<3>, best: &Tensor<3>) -> Tensor<3, Int> {
    let full @ [_, slots, _] = overlaps.dims();
    slot_order(slots, &overlaps.device())
        .expand(full)
        .mask_fill(
            overlaps.clone().lower(best.clone().expand(full)),
            slots as i64,
        )
        .min_dim(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use aweigh_geometry::TruthHost;
    use aweigh_testkit::device;

    /// Three boxes in a row, ten pixels wide, and a fourth far away.
    const BOXES: [[f32; 4]; 4] = [
        [0.0, 0.0, 10.0, 10.0],
        [10.0, 0.0, 20.0, 10.0],
        [20.0, 0.0, 30.0, 10.0],
        [90.0, 90.0, 99.0, 99.0],
    ];

    /// Background, and neither positive nor background.
    const NONE: i64 = -1;
    const LEFT_OUT: i64 = -2;

    fn truth(boxes: &[[f32; 4]], ignore: &[[f32; 4]]) -> GroundTruth {
        let image = TruthHost {
            boxes: boxes.to_vec(),
            labels: vec![0; boxes.len()],
            ignore: ignore.to_vec(),
        };
        // A second image fixes that images do not mix.
        GroundTruth::from_host(&[image, TruthHost::default()], &device())
    }

    /// Slot of each of the boxes in the first image.
    fn slots(
        assigner: MaxIouAssigner,
        usable: Option<Tensor<2, Bool>>,
        truth: &GroundTruth,
    ) -> Vec<i64> {
        let boxes = Tensor::<2>::from_data(BOXES, &device()).unsqueeze_dim(0);
        let targets = assigner.assign(boxes, usable, truth);
        assert_eq!(targets.slot.dims(), [2, BOXES.len()]);
        let flags = |t: Tensor<2, Bool>| -> Vec<bool> { t.into_data().iter::<bool>().collect() };
        let (positive, ignored) = (flags(targets.positive), flags(targets.ignored));
        let slot: Vec<i64> = targets.slot.into_data().iter::<i64>().collect();
        let all = (0..slot.len()).map(|i| match (positive[i], ignored[i]) {
            (true, false) => slot[i],
            (false, true) => LEFT_OUT,
            (false, false) => NONE,
            (true, true) => panic!("box {i} is positive and ignored"),
        });
        let all: Vec<i64> = all.collect();
        all[..BOXES.len()].to_vec()
    }

    fn check(assigner: MaxIouAssigner, boxes: &[[f32; 4]], expected: [i64; 4]) {
        let found = slots(assigner, None, &truth(boxes, &[]));
        assert_eq!(found, expected, "{boxes:?} {assigner:?}");
    }

    #[test]
    fn thresholds_part_positives_from_background() {
        let strict = MaxIouAssigner {
            match_low_quality: false,
            ..Default::default()
        };
        check(strict, &[], [NONE; 4]);
        check(strict, &[BOXES[1]], [NONE, 0, NONE, NONE]);
        // Half of the first box: an overlap of exactly 0.5 is positive.
        check(strict, &[[0.0, 0.0, 10.0, 5.0]], [0, NONE, NONE, NONE]);
        let part = [0.0, 0.0, 10.0, 4.5];
        check(strict, &[part], [LEFT_OUT, NONE, NONE, NONE]);
        check(strict, &[[0.0, 0.0, 10.0, 3.9]], [NONE; 4]);
        // Of equally good boxes the first.
        check(strict, &[BOXES[0], BOXES[0]], [0, NONE, NONE, NONE]);
        // No area, no overlap.
        check(strict, &[[5.0, 5.0, 5.0, 5.0]], [NONE; 4]);
    }

    #[test]
    fn every_ground_truth_box_takes_its_best_boxes() {
        let all = MaxIouAssigner::default();
        check(all, &[[0.0, 0.0, 3.0, 3.0]], [0, NONE, NONE, NONE]);
        // Half in the first and half in the second.
        let between = [5.0, 0.0, 15.0, 10.0];
        check(all, &[between], [0, 0, NONE, NONE]);
        let first = MaxIouAssigner {
            gt_max_assign_all: false,
            ..all
        };
        check(first, &[between], [0, NONE, NONE, NONE]);
        // The later ground truth takes a box from the earlier, though that fits it better.
        check(
            all,
            &[BOXES[0], [0.0, 0.0, 3.0, 3.0]],
            [1, NONE, NONE, NONE],
        );
        let demanding = MaxIouAssigner {
            min_pos_iou: 0.2,
            ..all
        };
        check(demanding, &[[0.0, 0.0, 3.0, 3.0]], [NONE; 4]);
        check(demanding, &[[0.0, 0.0, 10.0, 2.5]], [0, NONE, NONE, NONE]);
        // More ground truth than boxes.
        let many: Vec<[f32; 4]> = (0..20).map(|_| BOXES[2]).collect();
        check(all, &many, [NONE, NONE, 19, NONE]);
    }

    #[test]
    fn a_box_that_overlaps_nothing_trains_nothing_unless_asked_to() {
        let nowhere = [40.0, 40.0, 50.0, 50.0];
        check(MaxIouAssigner::default(), &[nowhere], [NONE; 4]);
        let reference = MaxIouAssigner {
            zero_overlap: ZeroOverlap::Match,
            ..Default::default()
        };
        check(reference, &[nowhere], [0; 4]);
        // It takes the first box too: their overlap is as good as its best, zero.
        check(reference, &[BOXES[0], nowhere], [1; 4]);
    }

    #[test]
    fn ignore_regions_leave_boxes_out() {
        let region = [12.0, 0.0, 100.0, 100.0];
        let truth = truth(&[[10.0, 0.0, 20.0, 8.0]], &[region]);
        let check = |assigner, expected: [i64; 4]| {
            assert_eq!(slots(assigner, None, &truth), expected, "{assigner:?}");
        };
        let all = MaxIouAssigner::default();
        check(all, [NONE, LEFT_OUT, LEFT_OUT, LEFT_OUT]);
        let mostly = MaxIouAssigner {
            ignore_iof_thr: 0.8,
            ..all
        };
        check(mostly, [NONE, 0, LEFT_OUT, LEFT_OUT]);
        // A hundredth of the large region lies in the boxes.
        let of_region = MaxIouAssigner {
            ignore_wrt_candidates: false,
            ..all
        };
        check(of_region, [NONE, 0, NONE, NONE]);
        let off = MaxIouAssigner {
            ignore_iof_thr: -1.0,
            ..all
        };
        check(off, [NONE, 0, NONE, NONE]);
    }

    #[test]
    fn unusable_boxes_take_no_part() {
        let usable = [[true, false, true, true], [true; 4]];
        let usable = Tensor::<2, Bool>::from_data(usable, &device());
        let truth = truth(&[[9.0, 0.0, 20.0, 10.0]], &[]);
        let found = slots(MaxIouAssigner::default(), Some(usable), &truth);
        assert_eq!(found, [0, LEFT_OUT, NONE, NONE]);
    }

    #[test]
    fn thresholds_out_of_order_are_named() {
        let check = |assigner: MaxIouAssigner, key| {
            assert_eq!(assigner.check().map_err(|e| e.0), key, "{assigner:?}");
        };
        let all = MaxIouAssigner::default();
        check(all, Ok(()));
        check(
            MaxIouAssigner {
                pos_iou_thr: 0.0,
                ..all
            },
            Err("pos_iou_thr"),
        );
        check(
            MaxIouAssigner {
                neg_iou_thr: 0.6,
                ..all
            },
            Err("neg_iou_thr"),
        );
        check(
            MaxIouAssigner {
                min_pos_iou: f32::NAN,
                ..all
            },
            Err("min_pos_iou"),
        );
    }
}

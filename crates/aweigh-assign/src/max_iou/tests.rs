//! Cases of the assigner by overlap.

use super::*;
use aweigh_geometry::HostTruth;
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
    let image = HostTruth {
        boxes: boxes.to_vec(),
        labels: vec![0; boxes.len()],
        ignore: ignore.to_vec(),
    };
    // A second image fixes that images do not mix.
    GroundTruth::from_host(&[image, HostTruth::default()], &device())
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
    // The ground truth takes the box that it overlaps, in a region or not.
    let all = MaxIouAssigner::default();
    check(all, [NONE, 0, LEFT_OUT, LEFT_OUT]);
    let reference = MaxIouAssigner {
        in_ignore_region: InIgnoreRegion::Excluded,
        ..all
    };
    check(reference, [NONE, LEFT_OUT, LEFT_OUT, LEFT_OUT]);
    let mostly = MaxIouAssigner {
        ignore_iof_thr: 0.8,
        ..reference
    };
    check(mostly, [NONE, 0, LEFT_OUT, LEFT_OUT]);
    // A hundredth of the large region lies in the boxes.
    let of_region = MaxIouAssigner {
        ignore_wrt_candidates: false,
        ..reference
    };
    check(of_region, [NONE, 0, NONE, NONE]);
    let off = MaxIouAssigner {
        ignore_iof_thr: -1.0,
        ..reference
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
    check(
        MaxIouAssigner {
            ignore_iof_thr: 1.0,
            ..all
        },
        Err("ignore_iof_thr"),
    );
}

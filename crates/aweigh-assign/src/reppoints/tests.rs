use super::*;
use aweigh_geometry::HostTruth;
use aweigh_testkit::device;

/// Points at 0, 8, 16 and 24 on the first level, at 0 and 16 on the second, along each axis.
const LEVELS: [LevelShape; 2] = [LevelShape::new(4, 4, 8), LevelShape::new(2, 2, 16)];

/// A box around (8, 8), whose level is the first.
const FIRST: [f32; 4] = [0.0, 0.0, 16.0, 16.0];

fn truth(boxes: &[[f32; 4]], ignore: &[[f32; 4]]) -> GroundTruth {
    let image = HostTruth {
        boxes: boxes.to_vec(),
        labels: (0..boxes.len()).collect(),
        ignore: ignore.to_vec(),
    };
    GroundTruth::from_host(&[image], &device())
}

fn taking(pos_num: usize) -> PointAssigner {
    PointAssigner {
        pos_num,
        ..Default::default()
    }
}

fn assign(assigner: PointAssigner, truth: &GroundTruth) -> Matches {
    assigner.assign(&LEVELS, truth.covers(&LEVELS), truth)
}

fn indices(flags: Tensor<2, Bool>) -> Vec<usize> {
    let flags: Vec<bool> = flags.into_data().iter::<bool>().collect();
    (0..flags.len()).filter(|&i| flags[i]).collect()
}

/// The positive points and the slots of their boxes.
fn pairs(targets: Matches) -> Vec<(usize, i64)> {
    let slots: Vec<i64> = targets.slot.into_data().iter::<i64>().collect();
    let positive = indices(targets.positive);
    positive.into_iter().map(|p| (p, slots[p])).collect()
}

fn check(pos_num: usize, boxes: &[[f32; 4]], expected: &[(usize, i64)]) {
    let found = pairs(assign(taking(pos_num), &truth(boxes, &[])));
    assert_eq!(found, expected, "{pos_num} of {boxes:?}");
}

#[test]
fn a_box_takes_the_points_nearest_to_its_centre() {
    check(1, &[], &[]);
    check(1, &[FIRST], &[(5, 0)]);
    // Below the middle the columns are nearer, in heights of the box.
    check(3, &[[7.0, 0.0, 9.0, 16.0]], &[(1, 0), (5, 0), (9, 0)]);
    // Of equally near points the first.
    check(1, &[[4.0, 4.0, 20.0, 20.0]], &[(5, 0)]);
    check(2, &[[4.0, 4.0, 20.0, 20.0]], &[(5, 0), (6, 0)]);
    // No area.
    check(1, &[[9.0, 7.0, 9.0, 7.0]], &[(5, 0)]);
}

#[test]
fn the_size_of_a_box_picks_the_level() {
    check(1, &[[0.0, 0.0, 63.9, 63.9]], &[(15, 0)]);
    check(1, &[[0.0, 0.0, 64.0, 64.0]], &[(19, 0)]);
    // The geometric mean of the sides counts.
    check(1, &[[0.0, 0.0, 32.0, 128.0]], &[(19, 0)]);
    // Sides of 64 but for the rounding of the coordinates.
    check(1, &[[0.1, 0.1, 64.1, 64.1]], &[(19, 0)]);
    // Beyond the last level.
    check(1, &[[-9e3, -9e3, 9e3, 9e3]], &[(16, 0)]);
}

#[test]
fn a_point_learns_the_nearest_of_its_boxes() {
    let shifted = [1.0, 1.0, 17.0, 17.0];
    check(1, &[shifted, FIRST], &[(5, 1)]);
    check(1, &[FIRST, shifted], &[(5, 0)]);
    // Of equally near boxes the first.
    check(1, &[FIRST, [4.0, 4.0, 12.0, 12.0]], &[(5, 0)]);
    // Distances are in sides of the box: two pixels of a large box are less than one of a
    // small box.
    let large = [-10.0, -10.0, 30.0, 30.0];
    check(1, &[[8.5, 7.5, 9.5, 8.5], large], &[(5, 1)]);
    // More boxes than points.
    let many: Vec<[f32; 4]> = (0..40)
        .map(|i| [0.0, 0.0, 16.0, 16.0 + i as f32 / 99.0])
        .collect();
    check(1, &many, &[(5, 0)]);
}

#[test]
fn a_level_with_too_few_points_gives_all() {
    let large = [0.0, 0.0, 64.0, 64.0];
    check(9, &[large], &[(16, 0), (17, 0), (18, 0), (19, 0)]);
    check(100, &[], &[]);
}

#[test]
#[should_panic(expected = "a box takes 5 points, level 1 has 4")]
fn a_level_with_too_few_points_panics_if_asked_to() {
    let assigner = PointAssigner {
        short_level: ShortLevel::Panic,
        ..taking(5)
    };
    let _ = assign(assigner, &truth(&[], &[]));
}

#[test]
fn points_outside_of_an_image_take_no_part() {
    let truth = truth(&[[8.0, 8.0, 40.0, 40.0]], &[]).with_sizes(&[[16, 16]]);
    let targets = assign(taking(1), &truth);
    let ignored = indices(targets.ignored.clone());
    assert_eq!(
        ignored,
        [2, 3, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 17, 18, 19]
    );
    assert_eq!(pairs(targets), [(5, 0)]);
}

#[test]
fn points_in_ignore_regions_are_ignored_unless_positive() {
    let truth = truth(&[FIRST], &[[7.0, 7.0, 17.0, 9.0]]);
    let targets = assign(taking(1), &truth);
    assert_eq!(indices(targets.ignored), [6]);
}

#[test]
fn stages_have_targets_of_their_own() {
    let boxes = [[100.0, 100.0, 116.0, 116.0], FIRST];
    let truth = truth(&boxes, &[]);
    // Every point predicts the second box.
    let predicted = Tensor::<3>::from_data([[FIRST; 20]], &device());
    let check = |init, expected: &[usize]| {
        let assigner = RepPointsAssigner {
            init,
            refine: MaxIouAssigner::default(),
            base_scale: 4.0,
        };
        let targets = assigner.assign(&LEVELS, predicted.clone(), &truth);
        assert_eq!(indices(targets.init.matches.positive), expected, "{init:?}");
        let labels: Vec<i64> = targets
            .refine
            .matches
            .labels
            .into_data()
            .iter::<i64>()
            .collect();
        assert_eq!(labels, [1; 20]);
        let boxes: Vec<f32> = targets.refine.boxes.into_data().iter::<f32>().collect();
        assert_eq!(boxes, FIRST.repeat(20));
    };
    check(InitAssigner::Point(PointAssigner::default()), &[5, 15]);
    // A quarter of each square of the first level that holds it, and less of those above.
    let best = [0, 1, 2, 4, 5, 6, 8, 9, 10];
    check(InitAssigner::MaxIou(MaxIouAssigner::default()), &best);
}

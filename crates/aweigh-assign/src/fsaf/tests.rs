use super::levels::UNTRAINED;
use super::*;
use aweigh_geometry::{HostTruth, LevelShape, PointOrigin, points::square_anchors};
use aweigh_testkit::device;

/// Points at 0, 8, 16, 24 (0 to 15) and 0, 16 (16 to 19) along each axis.
const LEVELS: [LevelShape; 2] = [LevelShape::new(4, 4, 8), LevelShape::new(2, 2, 16)];
const CLASSES: usize = 3;

/// Its middle fifth lies around the points 10 and 19, both at (16, 16).
const MIDDLE: [f32; 4] = [0.0, 0.0, 32.0, 32.0];
/// Smaller, with the same middle.
const INNER: [f32; 4] = [8.0, 8.0, 24.0, 24.0];

fn scene(boxes: &[([f32; 4], usize)], ignore: &[[f32; 4]]) -> GroundTruth {
    let image = HostTruth {
        boxes: boxes.iter().map(|b| b.0).collect(),
        labels: boxes.iter().map(|b| b.1).collect(),
        ignore: ignore.to_vec(),
    };
    // A second image fixes that images do not mix.
    GroundTruth::from_host(&[image, HostTruth::default()], &device())
}

fn assign(assigner: CenterRegionAssigner, truth: &GroundTruth) -> CenterRegions {
    let priors = square_anchors(&LEVELS, 1.0, PointOrigin::Corner, &device());
    assigner.assign(&priors, truth.covers(&LEVELS), CLASSES, truth)
}

/// Indices of the points of the first image for which a flag is set.
fn where_set(flags: Tensor<2, Bool>) -> Vec<usize> {
    let [_, points] = flags.dims();
    let flags: Vec<bool> = flags.into_data().iter::<bool>().collect();
    assert!(flags[points..].iter().all(|f| !f), "the empty image");
    (0..points).filter(|&p| flags[p]).collect()
}

/// The effective points and the slots of their boxes.
fn effective(regions: &CenterRegions) -> Vec<(usize, usize)> {
    let slot: Vec<i64> = regions
        .matches
        .slot
        .clone()
        .into_data()
        .iter::<i64>()
        .collect();
    let points = where_set(regions.matches.positive.clone());
    points.into_iter().map(|p| (p, slot[p] as usize)).collect()
}

/// The points that are left out of a class.
fn shadowed(regions: &CenterRegions, class: usize) -> Vec<usize> {
    where_set(
        regions
            .shadowed
            .clone()
            .narrow(1, class, 1)
            .squeeze_dim::<2>(1),
    )
}

fn check(boxes: &[([f32; 4], usize)], expected: &[(usize, usize)]) {
    let regions = assign(CenterRegionAssigner::default(), &scene(boxes, &[]));
    assert_eq!(effective(&regions), expected, "{boxes:?}");
}

#[test]
fn points_in_the_middle_learn_the_smallest_box() {
    check(&[], &[]);
    check(&[(MIDDLE, 0)], &[(10, 0), (19, 0)]);
    check(&[(MIDDLE, 0), (INNER, 1)], &[(10, 1), (19, 1)]);
    // Of equal boxes the last.
    check(&[(INNER, 0), (INNER, 1)], &[(10, 1), (19, 1)]);
    // No area, no point.
    check(&[([16.0, 16.0, 16.0, 16.0], 0)], &[]);
    // Far from the middle of its priors, though these reach into the region.
    check(&[([19.0, 19.0, 23.0, 23.0], 0)], &[]);
    let many: Vec<_> = (0..40).map(|i| (INNER, usize::from(i == 39))).collect();
    check(&many, &[(10, 39), (19, 39)]);
}

#[test]
fn a_smaller_box_shades_the_larger_one() {
    let regions = assign(
        CenterRegionAssigner::default(),
        &scene(&[(MIDDLE, 0), (INNER, 1)], &[]),
    );
    assert_eq!(shadowed(&regions, 0), [10, 19]);
    assert_eq!(shadowed(&regions, 1), Vec::<usize>::new());
    let boxes: Vec<f32> = regions.boxes.into_data().iter::<f32>().collect();
    assert_eq!(boxes[40..44], INNER);
}

#[test]
fn two_boxes_of_a_class_settle_who_learns() {
    // Of one class, the smaller box's points are shadowed by the larger one's region.
    let truth = scene(&[(MIDDLE, 2), (INNER, 2)], &[]);
    let regions = assign(CenterRegionAssigner::default(), &truth);
    assert_eq!(effective(&regions), []);
    assert_eq!(shadowed(&regions, 2), [10, 19]);
    let dominate = CenterRegionAssigner {
        foreground_dominate: true,
        ..Default::default()
    };
    let regions = assign(dominate, &truth);
    assert_eq!(effective(&regions), [(10, 1), (19, 1)]);
    assert_eq!(shadowed(&regions, 2), Vec::<usize>::new());
}

#[test]
fn the_ring_is_left_out_of_the_class_of_the_box() {
    let ring = CenterRegionAssigner {
        neg_scale: 0.6,
        ..Default::default()
    };
    let regions = assign(ring, &scene(&[(MIDDLE, 1)], &[]));
    assert_eq!(effective(&regions), [(10, 0), (19, 0)]);
    // 6.4 to 25.6: every prior that reaches in, except those of effective points.
    let around = [5, 6, 7, 9, 11, 13, 14, 15, 16, 17, 18];
    assert_eq!(shadowed(&regions, 1), around);
    assert_eq!(shadowed(&regions, 0), Vec::<usize>::new());
}

#[test]
fn the_middle_of_ignore_regions_is_ignored() {
    // Half of the sides: 12 to 20.
    let truth = scene(&[(MIDDLE, 0)], &[[8.0, 8.0, 24.0, 24.0]]);
    let regions = assign(CenterRegionAssigner::default(), &truth);
    assert_eq!(effective(&regions), []);
    assert_eq!(where_set(regions.matches.ignored), [10, 19]);
}

#[test]
fn points_beyond_an_image_are_ignored() {
    let truth = scene(&[(MIDDLE, 0)], &[]).with_sizes(&[[32, 16], [32, 32]]);
    let regions = assign(CenterRegionAssigner::default(), &truth);
    assert_eq!(effective(&regions), []);
    let beyond = [2, 3, 6, 7, 10, 11, 14, 15, 17, 19];
    assert_eq!(where_set(regions.matches.ignored), beyond);
}

#[test]
fn the_level_with_the_smallest_mean_loss_trains_the_box() {
    let far = [100.0, 100.0, 120.0, 120.0];
    let truth = scene(&[(MIDDLE, 0), (far, 1)], &[]);
    let regions = assign(CenterRegionAssigner::default(), &truth);
    let check = |losses: Vec<f32>, means: [f32; 2], level: i64, kept: &[usize]| {
        let losses = Tensor::<1>::from_floats(losses.as_slice(), &device());
        let losses = losses.unsqueeze_dim::<2>(0).repeat_dim(0, 2);
        let choice = online_levels(losses, &regions, &LEVELS, &truth);
        let of_boxes: Vec<f32> = choice.losses.into_data().iter::<f32>().collect();
        assert_eq!(of_boxes[..2], means);
        assert_eq!(of_boxes[2..4], [UNTRAINED; 2], "a box without points");
        let levels: Vec<i64> = choice.level.clone().into_data().iter::<i64>().collect();
        assert_eq!(levels[..2], [level, 0]);
        let selected = regions.clone().select(choice.level, &LEVELS);
        assert_eq!(where_set(selected.matches.positive), kept);
        let elsewhere = where_set(selected.other_level);
        assert_eq!(elsewhere.len(), 2 - kept.len());
        let of_class = selected
            .left_out
            .clone()
            .narrow(1, 0, 1)
            .squeeze_dim::<2>(1);
        assert_eq!(where_set(of_class), elsewhere, "left out of its class");
        let of_other = selected.left_out.narrow(1, 1, 1).squeeze_dim::<2>(1);
        assert_eq!(where_set(of_other).len(), 0, "background for another class");
    };
    let rising: Vec<f32> = (0..20).map(|p| p as f32).collect();
    check(rising.clone(), [10.0, 19.0], 0, &[10]);
    check(rising.into_iter().rev().collect(), [9.0, 0.0], 1, &[19]);
    // Of equal levels the first.
    check(vec![0.5; 20], [0.5, 0.5], 0, &[10]);
}

#[test]
fn the_heuristic_level_doubles_with_the_side() {
    let levels = [8, 16, 32, 64, 128].map(|stride| LevelShape::new(1, 1, stride));
    let check = |width: f32, height: f32, level: i64| {
        let truth = scene(&[([0.0, 0.0, width, height], 0)], &[]);
        let found: Vec<i64> = heuristic_levels(&levels, &truth)
            .into_data()
            .iter::<i64>()
            .collect();
        assert_eq!(found[0], level, "{width} x {height}");
    };
    check(224.0, 224.0, 2);
    check(448.0, 112.0, 2);
    check(223.0, 223.0, 1);
    check(447.0, 447.0, 2);
    check(448.0, 448.0, 3);
    check(10.0, 10.0, 0);
    check(0.0, 0.0, 0);
    check(5000.0, 5000.0, 4);
}

#[test]
fn scales_out_of_range_are_named() {
    let check = |assigner: CenterRegionAssigner, key| {
        assert_eq!(assigner.check().map_err(|e| e.0), key, "{assigner:?}");
    };
    let all = CenterRegionAssigner::default();
    check(all, Ok(()));
    check(
        CenterRegionAssigner {
            neg_scale: -0.1,
            ..all
        },
        Err("neg_scale"),
    );
    check(
        CenterRegionAssigner {
            min_pos_iof: 1.0,
            ..all
        },
        Err("min_pos_iof"),
    );
}

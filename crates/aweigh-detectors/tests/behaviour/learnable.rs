//! Which boxes can be learnt is what the assigners do with them.

use aweigh_detectors::DetectorConfig;
use aweigh_detectors::fcos::FcosConfig;
use aweigh_detectors::fovea::FoveaConfig;
use aweigh_detectors::fsaf::{FsafBranch, FsafConfig, LevelSelection};
use aweigh_detectors::learnable::{
    Cause::{self, BetweenPoints, Hidden, Ignored, OutOfRange},
    Scene, unlearnt,
};
use aweigh_detectors::reppoints::{InitAssigner, PointAssigner, RepPointsConfig, ShortLevel};
use aweigh_detectors::retina::{MaxIouAssigner, RetinaConfig};
use aweigh_geometry::{GroundTruth, HostTruth};
use aweigh_testkit::device;

use super::{fcos, fovea, fsaf, images, recipes, reppoints, retina, title, truth};

/// `[height, width]` of the image, of which the batch has another as large as its input.
const SIZE: [usize; 2] = [48, 80];

/// The whole image.
const WHOLE: [f32; 4] = [0.0, 0.0, 80.0, 48.0];

fn scene(config: &DetectorConfig, truth: HostTruth) -> Scene {
    Scene {
        levels: config.level_shapes([64, 96]).expect("fits"),
        size: SIZE,
        truth,
    }
}

/// A box that must be between points of every level, two that hide each other, a thin one, and
/// boxes of several sizes all over the image.
fn mixture() -> HostTruth {
    let mut boxes = vec![
        [9.0, 9.0, 11.0, 11.0],
        [33.0, 9.0, 35.0, 11.0],
        [33.0, 9.0, 35.0, 11.0],
        [3.0, 41.0, 77.0, 43.0],
        [20.0, 20.0, 20.0, 20.0],
    ];
    for (i, side) in [2.0, 3.0, 5.0, 8.0, 13.0, 21.0, 34.0]
        .into_iter()
        .enumerate()
    {
        let [x, y] = [i as f32 * 6.5 + 1.0, i as f32 * 2.0];
        boxes.push([x, y, x + side, y + side]);
        boxes.push([x + 1.0, y + 1.0, x + side - 1.0, y + side]);
    }
    truth(&boxes, &[[40.0, 0.0, 80.0, 20.0]])
}

#[test]
fn boxes_that_are_not_learnt_have_no_positive_point() {
    let device = device();
    let joint = retina::tiny(RetinaConfig {
        fsaf: Some(FsafBranch::default()),
        ..RetinaConfig::default()
    });
    for config in recipes().into_iter().chain([joint]) {
        let title = title(&config);
        let detector = config.init(&device).expect("a detector");
        let scene = scene(&config, mixture());
        let batch = [scene.truth.clone(), truth(&[], &[])];
        let batch = GroundTruth::from_host(&batch, &device).with_sizes(&[SIZE, [64, 96]]);
        let predictions = detector.forward(images(&device));
        assert_eq!(scene.levels, predictions.levels(), "{title}");
        let found = predictions.explain(&batch);
        // What the second stage of RepPoints learns depends on predictions.
        let geometric = match config.reppoints {
            Some(_) => &found[0].stages[..1],
            None => &found[0].stages,
        };
        let levels = geometric.iter().flat_map(|stage| &stage.levels);
        let levels: Vec<_> = levels.collect();
        let causes = unlearnt(detector.method(), &scene, &device);
        assert_eq!(causes.len(), scene.truth.boxes.len());
        for (slot, cause) in causes.iter().enumerate() {
            let learnt = levels.iter().any(|level| level.trained_by(slot) > 0);
            let bbox = scene.truth.boxes[slot];
            assert_eq!(learnt, cause.is_none(), "{title}: {bbox:?} {cause:?}");
        }
        assert!(causes.iter().any(Option::is_some), "{title}");
    }
}

fn check(config: &DetectorConfig, boxes: &[[f32; 4]], expected: &[Option<Cause>]) {
    let causes = causes(config, truth(boxes, &[]));
    assert_eq!(causes, expected, "{}: {boxes:?}", title(config));
}

fn causes(config: &DetectorConfig, truth: HostTruth) -> Vec<Option<Cause>> {
    let method = config.method().expect("one method");
    unlearnt(method, &scene(config, truth), &device())
}

#[test]
fn small_boxes_lie_between_points() {
    let fcos = fcos::tiny(FcosConfig::default());
    let fovea = fovea::tiny(FoveaConfig::default());
    let fsaf = fsaf::tiny(FsafConfig::default());
    for config in [&fcos, &fovea, &fsaf] {
        check(config, &[[9.0, 9.0, 11.0, 11.0]], &[Some(BetweenPoints)]);
        check(config, &[[8.0, 8.0, 40.0, 40.0]], &[None]);
        check(config, &[], &[]);
    }
    // Around a point of stride 16, but of a size that stride 8 is for.
    check(&fcos, &[[7.0, 7.0, 9.0, 9.0]], &[Some(BetweenPoints)]);
}

#[test]
fn boxes_of_other_sizes_than_every_level_are_out_of_range() {
    let bounded = FcosConfig {
        regress_ranges: [8.0_f32, 9.0, 10.0, 11.0, 12.0]
            .map(|high| [high - 1.0, high])
            .to_vec(),
        ..FcosConfig::default()
    };
    check(&fcos::tiny(bounded), &[WHOLE], &[Some(OutOfRange)]);
    let bounded = FoveaConfig {
        scale_ranges: vec![[1.0, 8.0]; 5],
        ..FoveaConfig::default()
    };
    check(&fovea::tiny(bounded), &[WHOLE], &[Some(OutOfRange)]);
    // The second box has points of stride 8 only, and the size of stride 16.
    let by_size = FsafConfig {
        branch: FsafBranch {
            level_selection: LevelSelection::Heuristic,
            ..FsafBranch::default()
        },
        ..FsafConfig::default()
    };
    let wide = [1.0, 23.0, 79.0, 25.0];
    let high = [23.5, -9e3, 24.5, 9e3];
    let expected = [None, Some(OutOfRange)];
    check(&fsaf::tiny(by_size), &[wide, high], &expected);
}

#[test]
fn boxes_are_hidden_by_others() {
    let twice = [[8.0, 8.0, 16.0, 16.0]; 2];
    let first_wins = [None, Some(Hidden)];
    let last_wins = [Some(Hidden), None];
    check(&fcos::tiny(FcosConfig::default()), &twice, &first_wins);
    check(&fovea::tiny(FoveaConfig::default()), &twice, &last_wins);
    let near = [[9.0, 9.0, 11.0, 11.0], [10.0, 10.0, 12.0, 12.0]];
    let reppoints = RepPointsConfig::default();
    check(&reppoints::tiny(reppoints), &near, &first_wins);
    let small = [[9.0, 9.0, 11.0, 11.0]; 2];
    check(&retina::tiny(RetinaConfig::default()), &small, &last_wins);
}

#[test]
fn ignore_regions_take_the_points_of_fsaf() {
    let config = fsaf::tiny(FsafConfig::default());
    let truth = truth(&[[16.0, 8.0, 48.0, 40.0]], &[[-64.0, -64.0, 160.0, 128.0]]);
    assert_eq!(causes(&config, truth), [Some(Ignored)]);
}

#[test]
fn anchors_may_need_more_overlap_than_there_is() {
    let strict = RetinaConfig {
        assigner: MaxIouAssigner {
            match_low_quality: false,
            ..MaxIouAssigner::default()
        },
        ..RetinaConfig::default()
    };
    let boxes = [[9.0, 9.0, 11.0, 11.0], [16.0, 8.0, 48.0, 40.0]];
    check(&retina::tiny(strict), &boxes, &[Some(BetweenPoints), None]);
}

#[test]
fn levels_that_are_too_short_do_not_panic() {
    let many = PointAssigner {
        pos_num: 200,
        short_level: ShortLevel::Panic,
        ..PointAssigner::default()
    };
    let reppoints = RepPointsConfig {
        init_assigner: InitAssigner::Point(many),
        ..RepPointsConfig::default()
    };
    check(&reppoints::tiny(reppoints), &[WHOLE], &[None]);
}

#[test]
fn remedies_name_the_key() {
    let check = |config: DetectorConfig, cause, expected: Option<&str>| {
        let remedy = config.method().expect("one method").remedy(cause);
        assert_eq!(remedy.as_deref(), expected, "{}", title(&config));
    };
    let fcos = |radius| {
        fcos::tiny(FcosConfig {
            center_sample_radius: radius,
            ..FcosConfig::default()
        })
    };
    let joint = retina::tiny(RetinaConfig {
        fsaf: Some(FsafBranch::default()),
        ..RetinaConfig::default()
    });
    let fovea = fovea::tiny(FoveaConfig::default());
    let reppoints = reppoints::tiny(RepPointsConfig::default());
    check(
        fcos(1.5),
        OutOfRange,
        Some("widen detector.fcos.regress_ranges"),
    );
    check(fcos(1.5), BetweenPoints, None);
    check(
        fcos(0.25),
        BetweenPoints,
        Some("raise detector.fcos.center_sample_radius (now 0.25)"),
    );
    check(
        fovea,
        BetweenPoints,
        Some("raise detector.fovea.sigma (now 0.4)"),
    );
    check(
        reppoints,
        Hidden,
        Some("raise detector.reppoints.init_assigner.point.pos_num (now 1)"),
    );
    check(
        joint,
        BetweenPoints,
        Some("raise detector.retina.fsaf.assigner.pos_scale (now 0.2)"),
    );
}

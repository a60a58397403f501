//! Which points each box trains, as it is told to people.

use aweigh_detectors::DetectorConfig;
use aweigh_detectors::explain::{Explanation, Learns, PointRole, Stage};
use aweigh_detectors::fcos::FcosConfig;
use aweigh_detectors::fsaf::{FsafBranch, FsafConfig, LevelSelection};
use aweigh_detectors::retina::RetinaConfig;
use aweigh_geometry::{GroundTruth, HostTruth};
use aweigh_testkit::device;

use super::{fcos, fsaf, images, recipes, retina, title, truth};

/// One large box, one small, and none of an image.
const BOXES: [[f32; 4]; 2] = [[8.0, 8.0, 88.0, 60.0], [40.0, 4.0, 56.0, 20.0]];

fn joint() -> DetectorConfig {
    retina::tiny(RetinaConfig {
        fsaf: Some(FsafBranch::default()),
        ..RetinaConfig::default()
    })
}

fn explain(config: &DetectorConfig, batch: &[HostTruth; 2]) -> Vec<Explanation> {
    let device = device();
    let detector = config.init(&device).expect("a detector");
    let truth = GroundTruth::from_host(batch, &device);
    detector.forward(images(&device)).explain(&truth)
}

/// Number of points of a stage that learn a box.
fn trained(stage: &Stage, slot: usize) -> usize {
    stage
        .levels
        .iter()
        .map(|level| level.trained_by(slot))
        .sum()
}

#[test]
fn every_box_of_every_method_trains_points_of_its_own_image() {
    for config in recipes().into_iter().chain([joint()]) {
        let title = title(&config);
        let found = explain(&config, &[truth(&BOXES, &[]), truth(&[], &[])]);
        let [with, without] = found.as_slice() else {
            panic!("{title}: one explanation per image");
        };
        assert_eq!(with.stages.len(), without.stages.len());
        for (stage, empty) in with.stages.iter().zip(&without.stages) {
            let positive = |role| matches!(role, PointRole::Positive { .. });
            let all: usize = stage.levels.iter().map(|level| level.count(positive)).sum();
            assert_eq!(
                trained(stage, 0) + trained(stage, 1),
                all,
                "{title} {}",
                stage.name
            );
            assert!(all > 0, "{title} {}", stage.name);
            assert!(empty.levels.iter().all(|level| level.count(positive) == 0));
            for level in &stage.levels {
                assert_eq!(level.points.len(), level.roles.len());
                assert!(level.points.len().is_multiple_of(level.shape.points()));
            }
        }
    }
}

#[test]
fn stages_have_the_names_of_their_method() {
    let names: Vec<Vec<&str>> = recipes()
        .into_iter()
        .chain([joint()])
        .map(|config| explain(&config, &[truth(&BOXES, &[]), truth(&[], &[])]))
        .map(|found| found[0].stages.iter().map(|stage| stage.name).collect())
        .collect();
    for expected in [
        vec!["points"],
        vec!["init", "refine"],
        vec!["anchor-free"],
        vec!["anchor-based"],
        vec!["anchor-based", "anchor-free"],
    ] {
        assert!(names.contains(&expected), "{expected:?} of {names:?}");
    }
}

#[test]
fn points_and_roles_are_those_of_the_targets() {
    let boxes = [[8.0, 8.0, 32.0, 24.0]];
    let batch = [truth(&boxes, &[[60.0, 0.0, 96.0, 24.0]]), truth(&[], &[])];
    let found = explain(&fcos::tiny(FcosConfig::default()), &batch);
    let first = &found[0].stages[0].levels[0];
    assert_eq!((first.shape.height, first.shape.width), (8, 12));
    let at = |role: PointRole| -> Vec<[f32; 2]> {
        let points = first.points.iter().zip(&first.roles);
        points
            .filter(|(_, r)| **r == role)
            .map(|(p, _)| *p)
            .collect()
    };
    // Strictly closer than one and a half strides of eight pixels to the centre at (20, 16).
    let near = [
        [12.0, 12.0],
        [20.0, 12.0],
        [28.0, 12.0],
        [12.0, 20.0],
        [20.0, 20.0],
        [28.0, 20.0],
    ];
    assert_eq!(at(PointRole::Positive { slot: 0 }), near);
    // Four columns, since 60 is on the border, and three rows.
    assert_eq!(at(PointRole::Ignored).len(), 12);
    let others = first.points.len() - near.len() - 12;
    assert_eq!(at(PointRole::Background).len(), others);
    let of_second = &found[1].stages[0].levels[0];
    assert_eq!(of_second.count(|role| role == PointRole::Background), 96);
}

#[test]
fn a_stage_of_boxes_alone_ignores_nothing() {
    let whole = [-64.0, -64.0, 160.0, 128.0];
    for config in recipes() {
        let found = explain(&config, &[truth(&BOXES, &[whole]), truth(&[], &[])]);
        for stage in &found[0].stages {
            let ignored: usize = stage
                .levels
                .iter()
                .map(|level| level.count(|role| role == PointRole::Ignored))
                .sum();
            assert_eq!(
                ignored == 0,
                stage.learns == Learns::Boxes,
                "{}",
                stage.name
            );
        }
    }
}

#[test]
fn a_box_trains_the_level_of_its_smallest_loss() {
    for config in [fsaf::tiny(FsafConfig::default()), joint()] {
        let found = explain(&config, &[truth(&BOXES, &[]), truth(&[], &[])]);
        let stage = found[0].stages.last().expect("a stage");
        let losses = stage.level_losses.as_ref().expect("losses of levels");
        assert_eq!(losses.len(), BOXES.len());
        for (slot, row) in losses.iter().enumerate() {
            let smallest = row.iter().copied().fold(f32::INFINITY, f32::min);
            assert!(smallest.is_finite(), "{row:?}");
            for (level, loss) in stage.levels.iter().zip(row) {
                let elsewhere = level.count(|role| role == PointRole::OtherLevel { slot });
                let here = level.trained_by(slot);
                assert_eq!(here > 0, *loss == smallest, "{slot}: {row:?}");
                assert_eq!(here + elsewhere > 0, loss.is_finite(), "{slot}: {row:?}");
            }
        }
        let none = found[1].stages.last().expect("a stage");
        assert_eq!(none.level_losses.as_deref(), Some([].as_slice()));
    }
}

#[test]
fn only_losses_that_choose_levels_are_told() {
    let heuristic = FsafConfig {
        branch: FsafBranch {
            level_selection: LevelSelection::Heuristic,
            ..FsafBranch::default()
        },
        ..FsafConfig::default()
    };
    for config in [fsaf::tiny(heuristic), retina::tiny(RetinaConfig::default())] {
        let method = config.method().expect("one method");
        assert!(!method.assigns_by_predictions());
        let found = explain(&config, &[truth(&BOXES, &[]), truth(&[], &[])]);
        assert!(
            found[0]
                .stages
                .iter()
                .all(|stage| stage.level_losses.is_none())
        );
    }
}

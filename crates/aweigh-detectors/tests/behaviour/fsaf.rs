//! FSAF alone.

use aweigh_detectors::fsaf::{CenterRegionAssigner, FsafBranch, FsafConfig, LevelSelection};
use aweigh_detectors::{DetectorConfig, Score};

use super::{NORM, base, check, message, truth};

/// A detector of a few thousand parameters.
pub(super) fn tiny(fsaf: FsafConfig) -> DetectorConfig {
    DetectorConfig {
        fsaf: Some(FsafConfig {
            feat_channels: 8,
            stacked_convs: 1,
            norm: NORM,
            ..fsaf
        }),
        ..base()
    }
}

/// The reference's regions, the paper's, and levels by size.
pub(super) fn recipes() -> [FsafConfig; 3] {
    let with = |branch| FsafConfig {
        branch,
        ..FsafConfig::default()
    };
    let paper = CenterRegionAssigner {
        neg_scale: 0.5,
        ..CenterRegionAssigner::default()
    };
    [
        FsafConfig::default(),
        with(FsafBranch {
            assigner: paper,
            ..FsafBranch::default()
        }),
        with(FsafBranch {
            level_selection: LevelSelection::Heuristic,
            ..FsafBranch::default()
        }),
    ]
}

#[test]
fn boxes_of_zero_size_train_nothing() {
    let boxes = [[20.0, 20.0, 20.0, 20.0], [10.0, 4.0, 50.0, 4.0]];
    for fsaf in recipes() {
        let batch = [truth(&boxes, &[]), truth(&[], &[])];
        let (_, positives) = check(&tiny(fsaf), batch);
        assert_eq!(positives, 0.0);
    }
}

#[test]
fn every_box_trains_one_level() {
    // Its middle is around (32, 32), a point of the levels of stride 8, 16 and 32.
    let boxes = truth(&[[16.0, 16.0, 48.0, 48.0]], &[]);
    for fsaf in recipes() {
        let (_, positives) = check(&tiny(fsaf), [boxes.clone(), truth(&[], &[])]);
        assert_eq!(positives, 1.0);
    }
}

#[test]
fn errors_name_the_key() {
    let check = |change: fn(&mut FsafConfig), parts: [&str; 2]| {
        let mut config = tiny(FsafConfig::default());
        change(config.fsaf.as_mut().expect("a table"));
        let text = message(&config);
        for part in parts {
            assert!(text.contains(part), "{text}");
        }
    };
    check(|c| c.feat_channels = 0, ["fsaf.feat_channels", "0"]);
    check(|c| c.feat_channels = 7, ["fsaf.norm", "7"]);
    check(|c| c.test.nms_iou = 60.0, ["fsaf.test.nms_iou", "60"]);
    check(
        |c| c.branch.focal.gamma = -1.0,
        ["fsaf.branch.focal.gamma", "-1"],
    );
    check(
        |c| c.test.score = Score::Sqrt,
        ["fsaf.test.score", "product"],
    );
    check(
        |c| c.branch.box_weight = -2.0,
        ["fsaf.branch.box_weight", "-2"],
    );
    check(
        |c| c.branch.normalizer = 0.0,
        ["fsaf.branch.normalizer", "0"],
    );
    check(
        |c| c.branch.prior_scale = -2.0,
        ["fsaf.branch.prior_scale", "-2"],
    );
    check(
        |c| c.branch.assigner.pos_scale = 0.0,
        ["fsaf.branch.assigner.pos_scale", "0"],
    );
}

//! RetinaNet alone and joint with FSAF.

use aweigh_detectors::fsaf::FsafBranch;
use aweigh_detectors::retina::{DeltaLoss, RetinaConfig};
use aweigh_detectors::{DetectorConfig, Method, Pyramid, Score};
use aweigh_geometry::{GroundTruth, ImageFrame, LevelShape};
use aweigh_heads::{DenseHead, DenseHeadConfig};
use aweigh_testkit::device;
use burn::tensor::{Distribution, Tensor};

use super::{NORM, base, check, images, keeping_every_score, message, truth};

/// A detector of a few thousand parameters.
pub(super) fn tiny(retina: RetinaConfig) -> DetectorConfig {
    DetectorConfig {
        retina: Some(RetinaConfig {
            feat_channels: 8,
            stacked_convs: 1,
            norm: NORM,
            ..retina
        }),
        ..base()
    }
}

/// Alone with both box losses, and joint with FSAF.
pub(super) fn recipes() -> [RetinaConfig; 3] {
    let smooth = RetinaConfig {
        box_loss: DeltaLoss::SmoothL1 { beta: 0.11 },
        ..RetinaConfig::default()
    };
    [RetinaConfig::default(), smooth, joint()]
}

fn joint() -> RetinaConfig {
    RetinaConfig {
        fsaf: Some(FsafBranch::default()),
        ..RetinaConfig::default()
    }
}

#[test]
fn boxes_of_zero_size_train_nothing() {
    let boxes = [[20.0, 20.0, 20.0, 20.0], [10.0, 4.0, 50.0, 4.0]];
    for retina in recipes() {
        let batch = [truth(&boxes, &[]), truth(&[], &[])];
        let (_, positives) = check(&tiny(retina), batch);
        assert_eq!(positives, 0.0);
    }
}

#[test]
fn both_branches_train_on_any_batch() {
    let boxes = truth(&[[16.0, 16.0, 48.0, 48.0]], &[]);
    let empty = truth(&[], &[]);
    for (batch, trains) in [
        ([boxes, empty.clone()], true),
        ([empty.clone(), empty], false),
    ] {
        let (parts, positives) = check(&tiny(joint()), batch);
        assert_eq!(positives > 0.0, trains);
        let expected = [
            ("loss_cls", true),
            ("loss_bbox", trains),
            ("loss_fsaf_cls", true),
            ("loss_fsaf_bbox", trains),
        ];
        let found: Vec<_> = parts
            .iter()
            .map(|(name, part)| (*name, *part > 0.0))
            .collect();
        assert_eq!(found, expected, "{parts:?}");
    }
}

#[test]
fn candidates_are_those_of_both_branches() {
    let config = keeping_every_score(&tiny(joint()));
    let levels = config.level_shapes([64, 96]).expect("fits");
    let strides: Vec<usize> = levels.iter().map(|level| level.stride).collect();
    let map = |level: &LevelShape| {
        let shape = [2, 8, level.height, level.width];
        Tensor::random(shape, Distribution::Normal(0.0, 1.0), &device())
    };
    let features = Pyramid::new(levels.iter().map(map).collect(), &strides);
    let specs = config.levels().expect("fits");
    let method = config.retina.expect("the table");
    let head = method.head(3, &specs).init(&device());
    let mut predictions = features.map(|maps| head.forward(maps));
    let frame = ImageFrame {
        size: [64, 96],
        scale: [1.0, 1.0],
    };
    let merged = method.candidates(&predictions, &[frame; 2]);
    predictions.maps.anchor_free = None;
    let anchors = method.candidates(&predictions, &[frame; 2]);
    // Anchors and points of all levels, three classes, at most a thousand per level.
    let cells = levels.iter().map(|level| level.points());
    let free: usize = cells.map(|cells| (3 * cells).min(1000)).sum();
    for (merged, anchors) in merged.iter().zip(&anchors) {
        assert_eq!(merged[..anchors.len()], anchors[..]);
        let more = merged.len() - anchors.len();
        // Distances at the start are positive, so no box is without area.
        assert_eq!(more, free);
    }
}

#[test]
fn the_branch_shares_the_towers() {
    let device = device().autodiff();
    let detector = tiny(joint()).init(&device).expect("a detector");
    let batch = [truth(&[[16.0, 16.0, 48.0, 48.0]], &[]), truth(&[], &[])];
    let truth = GroundTruth::from_host(&batch, &device);
    let losses = detector.forward(images(&device)).losses(&truth);
    let free = losses
        .parts
        .iter()
        .find(|(name, _)| *name == "loss_fsaf_bbox")
        .expect("the branch's box loss");
    let gradients = aweigh_testkit::module::gradients(&detector, &free.1.backward());
    for (name, trained) in [
        ("bbox_head.reg_convs.0.conv.weight", true),
        ("bbox_head.fsaf_reg.weight", true),
        ("bbox_head.retina_reg.weight", false),
        ("bbox_head.fsaf_cls.weight", false),
    ] {
        let moves = gradients
            .get(name)
            .is_some_and(|values| values.iter().any(|g| *g != 0.0));
        assert_eq!(moves, trained, "{name}");
    }
}

#[test]
fn errors_name_the_key() {
    let check = |change: fn(&mut RetinaConfig), parts: [&str; 2]| {
        let mut config = tiny(joint());
        change(config.retina.as_mut().expect("a table"));
        let text = message(&config);
        for part in parts {
            assert!(text.contains(part), "{text}");
        }
    };
    check(
        |c| c.anchors.octave_base_scale = 0.0,
        ["retina.anchors.octave_base_scale", "0"],
    );
    check(
        |c| c.anchors.scales_per_octave = 0,
        ["retina.anchors.scales_per_octave", "0"],
    );
    check(
        |c| c.anchors.ratios.clear(),
        ["retina.anchors.ratios", "[]"],
    );
    check(
        |c| c.box_loss = DeltaLoss::SmoothL1 { beta: 0.0 },
        ["retina.box_loss", "0"],
    );
    check(
        |c| c.assigner.neg_iou_thr = 0.7,
        ["retina.assigner.neg_iou_thr", "0.7"],
    );
    check(|c| c.focal.gamma = -1.0, ["retina.focal.gamma", "-1"]);
    check(|c| c.box_weight = -2.0, ["retina.box_weight", "-2"]);
    check(|c| c.fsaf_weight = -2.0, ["retina.fsaf_weight", "-2"]);
    check(
        |c| c.test.score = Score::Sqrt,
        ["retina.test.score", "product"],
    );
    check(|c| c.test.nms_iou = 60.0, ["retina.test.nms_iou", "60"]);
    check(|c| c.feat_channels = 7, ["retina.norm", "7"]);
    check(
        |c| c.fsaf.as_mut().expect("a branch").assigner.neg_scale = -1.0,
        ["retina.fsaf.assigner.neg_scale", "-1"],
    );
}

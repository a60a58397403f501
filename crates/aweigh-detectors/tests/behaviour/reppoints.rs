//! RepPoints alone.

use aweigh_backbone::{ExtraLevels, FpnConfig, NormConfig};
use aweigh_detectors::reppoints::{
    InitAssigner, MaxIouAssigner, PointAssigner, RepPointsConfig, TransformMethod, ZeroOverlap,
};
use aweigh_detectors::{DetectorConfig, TowerNorm};

use super::{NORM, base, check, message, truth};

/// A detector of a few thousand parameters.
pub(super) fn tiny(reppoints: RepPointsConfig) -> DetectorConfig {
    DetectorConfig {
        reppoints: Some(RepPointsConfig {
            feat_channels: 8,
            // With few, ReLU leaves some points no feature at all: their boxes have no area, and
            // lie in no ignore region.
            point_feat_channels: 32,
            stacked_convs: 1,
            norm: NORM,
            ..reppoints
        }),
        ..base()
    }
}

/// Points from the centre, from a grid, and on boxes.
pub(super) fn recipes() -> [RepPointsConfig; 3] {
    let from_grid = RepPointsConfig {
        num_points: 25,
        center_init: false,
        transform_method: TransformMethod::PartialMinmax,
        ..RepPointsConfig::default()
    };
    let on_boxes = RepPointsConfig {
        use_grid_points: true,
        transform_method: TransformMethod::Minmax,
        init_assigner: InitAssigner::MaxIou(MaxIouAssigner::default()),
        ..RepPointsConfig::default()
    };
    [RepPointsConfig::default(), from_grid, on_boxes]
}

#[test]
fn boxes_of_zero_size_and_larger_than_the_image_train() {
    let empty = [20.0, 20.0, 20.0, 20.0];
    let line = [10.0, 4.0, 50.0, 4.0];
    let huge = [-9e3, -9e3, 9e3, 9e3];
    for reppoints in recipes() {
        let batch = [truth(&[empty, line], &[]), truth(&[huge], &[])];
        let _ = check(&tiny(reppoints), batch);
    }
}

#[test]
fn a_box_that_overlaps_nothing_trains_no_class_unless_asked_to() {
    let run = |zero_overlap| {
        let mut reppoints = RepPointsConfig::default();
        reppoints.refine_assigner.zero_overlap = zero_overlap;
        let far = truth(&[[900.0, 900.0, 940.0, 940.0]], &[]);
        check(&tiny(reppoints), [far, truth(&[], &[])])
    };
    let (parts, positives) = run(ZeroOverlap::Skip);
    assert_eq!(positives, 0.0);
    // Nearest points have no limit.
    assert!(parts[1].1 > 0.0, "{parts:?}");
    assert_eq!(parts[2].1, 0.0);
    // All points of the image: 8 x 12, 4 x 6, 2 x 3, 1 x 2 and 1.
    let (_, positives) = run(ZeroOverlap::Match);
    assert_eq!(positives, 96.0 + 24.0 + 6.0 + 2.0 + 1.0);
}

#[test]
fn absent_keys_of_a_table_have_the_defaults_of_the_method() {
    let read = |text: &str| serde_json::from_str::<RepPointsConfig>(text).expect("a table");
    assert_eq!(read("{}"), RepPointsConfig::default());
    let config = read(
        r#"{
            "test": {"max_per_image": 7},
            "init_loss": {"beta": 0.5},
            "refine_loss": {"beta": 0.5},
            "init_assigner": {"point": {"pos_num": 3}},
            "refine_assigner": {"zero_overlap": "match"}
        }"#,
    );
    assert_eq!((config.test.max_per_image, config.test.nms_iou), (7, 0.5));
    let losses = [&config.init_loss, &config.refine_loss];
    assert_eq!(
        losses.map(|loss| (loss.beta, loss.weight)),
        [(0.5, 0.5), (0.5, 1.0)]
    );
    let InitAssigner::Point(point) = config.init_assigner else {
        panic!("{config:?}");
    };
    assert_eq!((point.pos_num, point.scale), (3, 4.0));
    assert_eq!(config.refine_assigner.zero_overlap, ZeroOverlap::Match);
    assert_eq!(config.refine_assigner.pos_iou_thr, 0.5);
    let written = serde_json::to_string(&config).expect("JSON");
    assert_eq!(read(&written), config);
}

#[test]
fn errors_name_the_key() {
    let check = |change: fn(&mut RepPointsConfig), parts: [&str; 2]| {
        let mut config = tiny(RepPointsConfig::default());
        change(config.reppoints.as_mut().expect("a table"));
        let text = message(&config);
        for part in parts {
            assert!(text.contains(part), "{text}");
        }
    };
    check(|c| c.num_points = 16, ["reppoints.num_points", "found 16"]);
    check(|c| c.num_points = 1, ["reppoints.num_points", "found 1"]);
    check(|c| c.feat_channels = 0, ["reppoints.feat_channels", "0"]);
    check(|c| c.feat_channels = 7, ["reppoints.norm", "7"]);
    check(
        |c| c.point_feat_channels = 0,
        ["reppoints.point_feat_channels", "0"],
    );
    check(|c| c.gradient_mul = 2.0, ["reppoints.gradient_mul", "2"]);
    check(|c| c.moment_mul = -1.0, ["reppoints.moment_mul", "-1"]);
    check(
        |c| c.point_base_scale = 0.0,
        ["reppoints.point_base_scale", "0"],
    );
    check(|c| c.init_loss.weight = -2.0, ["init_loss.weight", "-2"]);
    check(|c| c.init_loss.beta = 0.0, ["init_loss.beta", "0"]);
    check(|c| c.refine_loss.beta = -1.0, ["refine_loss.beta", "-1"]);
    check(
        |c| {
            c.init_assigner = InitAssigner::Point(PointAssigner {
                pos_num: 0,
                ..PointAssigner::default()
            });
        },
        ["reppoints.init_assigner.point.pos_num", "0"],
    );
    check(
        |c| {
            c.init_assigner = InitAssigner::MaxIou(MaxIouAssigner {
                neg_iou_thr: 0.9,
                ..MaxIouAssigner::default()
            });
        },
        ["reppoints.init_assigner.max_iou.neg_iou_thr", "0.9"],
    );
    check(
        |c| c.refine_assigner.pos_iou_thr = 5.0,
        ["reppoints.refine_assigner.pos_iou_thr", "5"],
    );
    check(|c| c.focal.gamma = -1.0, ["reppoints.focal.gamma", "-1"]);
    check(|c| c.test.nms_iou = 60.0, ["reppoints.test.nms_iou", "60"]);
    check(
        |c| c.test.score = aweigh_detectors::Score::Sqrt,
        ["reppoints.test.score", "expected product"],
    );
}

#[test]
fn reppoints_r50_has_mmdetections_parameters() {
    let check = |reppoints: RepPointsConfig, norm: Option<NormConfig>, expected: usize| {
        let config = DetectorConfig {
            num_classes: Some(80),
            neck: FpnConfig {
                add_extra_convs: ExtraLevels::OnInput,
                norm,
                ..FpnConfig::default()
            },
            reppoints: Some(reppoints),
            ..DetectorConfig::default()
        };
        let layers = config.layers([512, 512]).expect("a valid detector");
        let params: usize = layers.iter().map(|layer| layer.params).sum();
        assert_eq!(params, expected);
    };
    let groups = NormConfig::GroupNorm { groups: 32 };
    check(RepPointsConfig::default(), Some(groups), 36_849_078);
    let plain = RepPointsConfig {
        norm: TowerNorm::None,
        ..RepPointsConfig::default()
    };
    check(plain, None, 36_845_494);
}

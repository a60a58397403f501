//! FoveaBox alone.

use aweigh_backbone::{ExtraLevels, FpnConfig};
use aweigh_detectors::fovea::FoveaConfig;
use aweigh_detectors::{DetectorConfig, Score, TowerNorm};

use super::{NORM, base, check, message, truth};

/// A detector of a few thousand parameters.
pub(super) fn tiny(fovea: FoveaConfig) -> DetectorConfig {
    DetectorConfig {
        fovea: Some(FoveaConfig {
            feat_channels: 8,
            stacked_convs: 1,
            norm: NORM,
            ..fovea
        }),
        ..base()
    }
}

/// The plain head, the same with deformable last convolutions, and the aligned head.
pub(super) fn recipes() -> [FoveaConfig; 3] {
    let aligned = FoveaConfig {
        with_deform: true,
        ..FoveaConfig::default()
    };
    let deformable = FoveaConfig {
        dcn_on_last_conv: true,
        ..FoveaConfig::default()
    };
    [FoveaConfig::default(), deformable, aligned]
}

#[test]
fn boxes_of_zero_size_and_larger_than_every_range_train() {
    let empty = [20.0, 20.0, 20.0, 20.0];
    let line = [10.0, 4.0, 50.0, 4.0];
    let huge = [-9e3, -9e3, 9e3, 9e3];
    for fovea in recipes() {
        let batch = [truth(&[empty, line], &[]), truth(&[huge], &[])];
        let (_, positives) = check(&tiny(fovea), batch);
        assert_eq!(positives, 0.0);
    }
}

#[test]
fn a_box_in_two_ranges_trains_two_levels() {
    // Of size 40: four cells around its centre on stride 8, the one at its centre on stride 16.
    let boxes = truth(&[[4.0, 4.0, 44.0, 44.0]], &[]);
    let fovea = FoveaConfig::default();
    let (_, positives) = check(&tiny(fovea), [boxes, truth(&[], &[])]);
    assert_eq!(positives, 4.0 + 1.0);
}

#[test]
fn errors_name_the_key() {
    let changed = |change: fn(&mut FoveaConfig)| {
        let mut config = tiny(FoveaConfig::default());
        change(config.fovea.as_mut().expect("a table"));
        message(&config)
    };
    let check = |change: fn(&mut FoveaConfig), parts: [&str; 2]| {
        let text = changed(change);
        for part in parts {
            assert!(text.contains(part), "{text}");
        }
    };
    check(
        |c| c.scale_ranges.truncate(4),
        ["fovea.scale_ranges", "4 ranges for 5 pyramid levels"],
    );
    check(
        |c| c.base_edge_list.push(512.0),
        ["fovea.base_edge_list", "6 edges for 5 pyramid levels"],
    );
    check(
        |c| c.scale_ranges[1] = [8.0, 4.0],
        ["fovea.scale_ranges", "[8, 4] is empty"],
    );
    check(|c| c.base_edge_list[2] = 0.0, ["fovea.base_edge_list", "0"]);
    check(|c| c.sigma = 1.5, ["fovea.sigma", "1.5"]);
    check(|c| c.smooth_l1_beta = 0.0, ["fovea.smooth_l1_beta", "0"]);
    check(|c| c.focal.gamma = -1.0, ["fovea.focal.gamma", "-1"]);
    check(|c| c.box_weight = -2.0, ["fovea.box_weight", "-2"]);
    check(
        |c| c.test.score = Score::Sqrt,
        ["fovea.test.score", "product"],
    );
    check(
        |c| (c.dcn_on_last_conv, c.stacked_convs) = (true, 0),
        ["fovea.dcn_on_last_conv", "stacked_convs is 0"],
    );
    check(|c| c.test.nms_iou = 60.0, ["fovea.test.nms_iou", "60"]);
    check(|c| c.feat_channels = 0, ["fovea.feat_channels", "0"]);
    check(|c| c.feat_channels = 7, ["fovea.norm", "7"]);
    check(
        |c| (c.with_deform, c.deform_groups) = (true, 3),
        ["fovea.deform_groups", "divisor of the 8 channels"],
    );
    check(
        |c| (c.with_deform, c.feat_channels) = (true, 16),
        ["fovea.feat_channels", "the 8 channels of the pyramid"],
    );
}

#[test]
fn fovea_r50_has_mmdetections_parameters() {
    let aligned = FoveaConfig {
        with_deform: true,
        norm: TowerNorm::GroupNorm { groups: 32 },
        ..FoveaConfig::default()
    };
    // Both towers have a convolution of 27 more outputs, for 256 channels and nine taps.
    let deformable = FoveaConfig {
        dcn_on_last_conv: true,
        ..FoveaConfig::default()
    };
    let offsets = 2 * (256 * 9 + 1) * 27;
    for (fovea, expected) in [
        (FoveaConfig::default(), 36_419_732),
        (deformable, 36_419_732 + offsets),
        (aligned, 38_615_476),
    ] {
        let config = DetectorConfig {
            num_classes: Some(80),
            neck: FpnConfig {
                add_extra_convs: ExtraLevels::OnInput,
                ..FpnConfig::default()
            },
            fovea: Some(fovea),
            ..DetectorConfig::default()
        };
        let layers = config.layers([512, 512]).expect("a valid detector");
        let params: usize = layers.iter().map(|layer| layer.params).sum();
        assert_eq!(params, expected);
    }
}

//! FCOS alone.

use aweigh_backbone::{Affine, BackboneConfig, FpnConfig, NormConfig, ResNetConfig};
use aweigh_detectors::DetectorConfig;
use aweigh_detectors::fcos::{BoxLossKind, FcosConfig};

use super::{NORM, base, check, message, truth};

/// A detector of a few thousand parameters.
pub(super) fn tiny(fcos: FcosConfig) -> DetectorConfig {
    DetectorConfig {
        fcos: Some(FcosConfig {
            feat_channels: 8,
            stacked_convs: 1,
            norm: NORM,
            ..fcos
        }),
        ..base()
    }
}

/// The improved recipe and the one first published.
pub(super) fn recipes() -> [FcosConfig; 2] {
    let baseline = FcosConfig {
        norm_on_bbox: false,
        center_sampling: false,
        centerness_on_reg: false,
        box_loss: BoxLossKind::Iou,
        ..FcosConfig::default()
    };
    [FcosConfig::default(), baseline]
}

#[test]
fn boxes_of_zero_size_and_larger_than_every_range_train() {
    let empty = [20.0, 20.0, 20.0, 20.0];
    let line = [10.0, 4.0, 50.0, 4.0];
    let huge = [-9e3, -9e3, 9e3, 9e3];
    for fcos in recipes() {
        let bounded = tiny(FcosConfig {
            regress_ranges: vec![
                [-1.0, 4.0],
                [4.0, 8.0],
                [8.0, 16.0],
                [16.0, 32.0],
                [32.0, 64.0],
            ],
            ..fcos
        });
        let (_, positives) = check(&bounded, [truth(&[empty, line], &[]), truth(&[huge], &[])]);
        assert_eq!(positives, 0.0);
    }
}

#[test]
fn errors_name_the_key() {
    let mut ranges = tiny(FcosConfig::default());
    ranges.neck.num_outs = 4;
    let text = message(&ranges);
    assert!(text.contains("detector.fcos.regress_ranges"), "{text}");
    assert!(text.contains("5 ranges for 4 pyramid levels"), "{text}");

    let radius = FcosConfig {
        center_sample_radius: 0.0,
        ..FcosConfig::default()
    };
    assert!(message(&tiny(radius)).contains("center_sample_radius"));

    let changed = |change: fn(&mut FcosConfig)| {
        let mut config = tiny(FcosConfig::default());
        change(config.fcos.as_mut().expect("a table"));
        message(&config)
    };
    assert!(changed(|c| c.test.nms_iou = 60.0).contains("detector.fcos.test.nms_iou"));
    assert!(changed(|c| c.test.nms_pre = 0).contains("detector.fcos.test.nms_pre"));
    assert!(changed(|c| c.focal.gamma = -1.0).contains("detector.fcos.focal.gamma"));
    assert!(changed(|c| c.focal.alpha = 1.5).contains("detector.fcos.focal.alpha"));
    assert!(changed(|c| c.focal.weight = -1.0).contains("detector.fcos.focal.weight"));
    assert!(changed(|c| c.box_weight = -1.0).contains("detector.fcos.box_weight"));
    let change = |c: &mut FcosConfig| c.centerness_weight = f64::NAN;
    assert!(changed(change).contains("detector.fcos.centerness_weight"));
    let change = |c: &mut FcosConfig| c.test.min_box_size = f32::NAN;
    assert!(changed(change).contains("detector.fcos.test.min_box_size"));

    let mut classes = tiny(FcosConfig::default());
    classes.num_classes = Some(0);
    assert!(message(&classes).contains("detector.num_classes"));
}

#[test]
fn fcos_r50_has_torchvisions_parameters() {
    let config = DetectorConfig {
        num_classes: Some(91),
        backbone: BackboneConfig::ResNet(ResNetConfig {
            norm: NormConfig::FrozenBn {
                affine: Affine::Frozen,
            },
            ..ResNetConfig::default()
        }),
        neck: FpnConfig::default(),
        fcos: Some(FcosConfig {
            conv_bias: Some(true),
            ..FcosConfig::default()
        }),
        ..DetectorConfig::default()
    };
    let layers = config.layers([512, 512]).expect("a valid detector");
    let params: usize = layers.iter().map(|layer| layer.params).sum();
    // `fcos_resnet50_fpn` has 32,269,600 and no factor per level; ours has one for each of five.
    assert_eq!(params, 32_269_600 + 5);
}

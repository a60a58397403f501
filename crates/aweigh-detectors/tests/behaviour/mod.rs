//! What every detector does on awkward input: losses and gradients stay finite.

use aweigh_backbone::{Affine, Depth, FpnConfig, NormConfig, ResNetConfig};
use aweigh_detectors::fcos::{BoxLossKind, FcosConfig, TowerNorm};
use aweigh_detectors::{Detector, DetectorConfig, ImageFrame};
use aweigh_geometry::{GroundTruth, TruthHost};
use aweigh_testkit::{device, module};
use burn::module::Module;
use burn::tensor::{Device, Distribution, Tensor};

/// A detector of a few thousand parameters on images of 64 pixels and more.
pub(crate) fn tiny(fcos: FcosConfig) -> DetectorConfig {
    DetectorConfig {
        num_classes: Some(3),
        backbone: ResNetConfig {
            depth: Depth::D18,
            base_channels: 4,
            frozen_stages: -1,
            norm: NormConfig::GroupNorm { groups: 2 },
            ..ResNetConfig::default()
        },
        neck: FpnConfig {
            out_channels: 8,
            num_outs: 5,
            ..FpnConfig::default()
        },
        fcos: Some(FcosConfig {
            feat_channels: 8,
            stacked_convs: 1,
            norm: TowerNorm::GroupNorm { groups: 2 },
            ..fcos
        }),
    }
}

fn images(device: &Device) -> Tensor<4> {
    Tensor::random([2, 3, 64, 96], Distribution::Normal(0.0, 1.0), device)
}

fn truth(boxes: &[[f32; 4]], ignore: &[[f32; 4]]) -> TruthHost {
    TruthHost {
        boxes: boxes.to_vec(),
        labels: vec![1; boxes.len()],
        ignore: ignore.to_vec(),
    }
}

/// Losses and every gradient of a step are finite; gives the named parts and the positives.
fn check(fcos: FcosConfig, batch: [TruthHost; 2]) -> (Vec<f32>, f32) {
    let device = device();
    let detector = tiny(fcos)
        .init(&device.clone().autodiff())
        .expect("a detector");
    let truth = GroundTruth::from_host(&batch, &device);
    let losses = detector.losses(detector.forward(images(&device)), &truth);
    let parts: Vec<f32> = losses
        .parts
        .iter()
        .map(|(_, p)| p.clone().into_scalar())
        .collect();
    let gradients = module::gradients(&detector, &losses.total.backward());
    assert!(parts.iter().all(|p| p.is_finite()), "losses {parts:?}");
    for (name, values) in gradients {
        assert!(values.iter().all(|g| g.is_finite()), "gradient of {name}");
    }
    (parts, losses.positives.into_scalar())
}

fn recipes() -> [FcosConfig; 2] {
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
fn an_image_without_boxes_trains() {
    for fcos in recipes() {
        let (_, positives) = check(
            fcos,
            [truth(&[[8.0, 8.0, 40.0, 40.0]], &[]), truth(&[], &[])],
        );
        assert!(positives > 0.0);
    }
}

#[test]
fn a_batch_without_positives_trains() {
    for fcos in recipes() {
        let (parts, positives) = check(fcos, [truth(&[], &[]), truth(&[], &[])]);
        assert_eq!(positives, 0.0);
        assert!(parts[0] > 0.0, "negatives have a class loss");
        assert_eq!(parts[1..], [0.0, 0.0]);
    }
}

#[test]
fn boxes_of_zero_size_and_larger_than_every_range_train() {
    let empty = [20.0, 20.0, 20.0, 20.0];
    let line = [10.0, 4.0, 50.0, 4.0];
    let huge = [-9e3, -9e3, 9e3, 9e3];
    for fcos in recipes() {
        let bounded = FcosConfig {
            regress_ranges: vec![
                [-1.0, 4.0],
                [4.0, 8.0],
                [8.0, 16.0],
                [16.0, 32.0],
                [32.0, 64.0],
            ],
            ..fcos
        };
        let (_, positives) = check(bounded, [truth(&[empty, line], &[]), truth(&[huge], &[])]);
        assert_eq!(positives, 0.0);
    }
}

#[test]
fn points_in_ignore_regions_have_no_class_loss() {
    let whole = [0.0, 0.0, 96.0, 64.0];
    let fcos = FcosConfig::default();
    let (parts, _) = check(fcos, [truth(&[], &[whole]), truth(&[], &[whole])]);
    // The coarsest level has its only point of stride 128 at (64, 64), on the region's border.
    let (all, _) = check(FcosConfig::default(), [truth(&[], &[]), truth(&[], &[])]);
    assert!(parts[0] < 0.1 * all[0], "{} of {}", parts[0], all[0]);
}

#[test]
fn detections_lie_in_the_original_image_best_first() {
    let device = device();
    let mut fcos = FcosConfig::default();
    fcos.test.score_threshold = 0.0;
    let detector: Detector = tiny(fcos).init(&device).expect("a detector");
    let frame = ImageFrame {
        size: [64, 90],
        scale: [0.5, 0.25],
    };
    let predictions = detector.valid().forward(images(&device));
    for found in detector.decode(&predictions, &[frame, frame]) {
        assert!(found.len() <= 100);
        assert!(found.windows(2).all(|pair| pair[0].score >= pair[1].score));
        for d in found {
            let [x1, y1, x2, y2] = d.bbox;
            assert!(0.0 <= x1 && x1 < x2 && x2 <= 180.0, "{d:?}");
            assert!(0.0 <= y1 && y1 < y2 && y2 <= 256.0, "{d:?}");
        }
    }
}

#[test]
fn errors_name_the_key() {
    let message = |config: DetectorConfig| config.validate().expect_err("a bad config").to_string();
    let mut none = tiny(FcosConfig::default());
    none.fcos = None;
    assert!(message(none).contains("[detector.fcos]"));

    let mut ranges = tiny(FcosConfig::default());
    ranges.neck.num_outs = 4;
    let text = message(ranges);
    assert!(text.contains("detector.fcos.regress_ranges"), "{text}");
    assert!(text.contains("5 ranges for 4 pyramid levels"), "{text}");

    let radius = FcosConfig {
        center_sample_radius: 0.0,
        ..FcosConfig::default()
    };
    assert!(message(tiny(radius)).contains("center_sample_radius"));

    let changed = |change: fn(&mut FcosConfig)| {
        let mut config = tiny(FcosConfig::default());
        change(config.fcos.as_mut().expect("a table"));
        message(config)
    };
    assert!(changed(|c| c.test.nms_iou = 60.0).contains("detector.fcos.test.nms_iou"));
    assert!(changed(|c| c.test.nms_pre = 0).contains("detector.fcos.test.nms_pre"));
    assert!(changed(|c| c.focal.gamma = -1.0).contains("detector.fcos.focal.gamma"));

    let mut classes = tiny(FcosConfig::default());
    classes.num_classes = Some(0);
    assert!(message(classes).contains("detector.num_classes"));
}

#[test]
fn fcos_r50_has_torchvisions_parameters() {
    let config = DetectorConfig {
        num_classes: Some(91),
        backbone: ResNetConfig {
            norm: NormConfig::FrozenBn {
                affine: Affine::Frozen,
            },
            ..ResNetConfig::default()
        },
        neck: FpnConfig::default(),
        fcos: Some(FcosConfig {
            conv_bias: Some(true),
            ..FcosConfig::default()
        }),
    };
    let layers = config.layers([512, 512]).expect("a valid detector");
    let params: usize = layers.iter().map(|layer| layer.params).sum();
    // `fcos_resnet50_fpn` has 32,269,600 and no factor per level; ours has one for each of five.
    assert_eq!(params, 32_269_600 + 5);
}

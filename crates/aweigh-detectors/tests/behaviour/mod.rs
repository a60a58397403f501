//! What every detector does on awkward input: losses and gradients stay finite.

mod classes;
mod explain;
mod fcos;
mod fovea;
mod fsaf;
mod learnable;
mod reppoints;
mod retina;

use aweigh_backbone::{BackboneConfig, Depth, FpnConfig, NormConfig, ResNetConfig};
use aweigh_detectors::fcos::FcosConfig;
use aweigh_detectors::fovea::FoveaConfig;
use aweigh_detectors::retina::RetinaConfig;
use aweigh_detectors::{DetectorConfig, TowerNorm};
use aweigh_geometry::{GroundTruth, HostTruth, ImageFrame};
use aweigh_testkit::{device, module};
use burn::module::Module;
use burn::tensor::{Device, Distribution, Tensor};

/// Normalisation of eight channels.
const NORM: TowerNorm = TowerNorm::GroupNorm { groups: 2 };

/// Backbone and neck of a few thousand parameters, for images of 64 pixels and more.
fn base() -> DetectorConfig {
    DetectorConfig {
        num_classes: Some(3),
        backbone: BackboneConfig::ResNet(ResNetConfig {
            depth: Depth::D18,
            base_channels: 4,
            frozen_stages: -1,
            norm: NormConfig::GroupNorm { groups: 2 },
            ..ResNetConfig::default()
        }),
        neck: FpnConfig {
            out_channels: 8,
            num_outs: 5,
            ..FpnConfig::default()
        },
        ..DetectorConfig::default()
    }
}

/// Tiny detectors of the variants of every method.
fn recipes() -> Vec<DetectorConfig> {
    let fcos = fcos::recipes().map(fcos::tiny).into_iter();
    let fovea = fovea::recipes().map(fovea::tiny).into_iter();
    let reppoints = reppoints::recipes().map(reppoints::tiny).into_iter();
    let fsaf = fsaf::recipes().map(fsaf::tiny).into_iter();
    let retina = retina::recipes().map(retina::tiny).into_iter();
    let points = fcos.chain(fovea).chain(reppoints).chain(fsaf);
    points.chain(retina).collect()
}

/// The name of a detector's method.
fn title(config: &DetectorConfig) -> &'static str {
    config.method().expect("one method").title()
}

/// The message about a configuration that is not valid.
fn message(config: &DetectorConfig) -> String {
    config.validate().expect_err("a bad config").to_string()
}

fn images(device: &Device) -> Tensor<4> {
    Tensor::random([2, 3, 64, 96], Distribution::Normal(0.0, 1.0), device)
}

fn truth(boxes: &[[f32; 4]], ignore: &[[f32; 4]]) -> HostTruth {
    HostTruth {
        boxes: boxes.to_vec(),
        labels: vec![1; boxes.len()],
        ignore: ignore.to_vec(),
    }
}

/// Losses and every gradient of a step are finite; gives the named parts and the positives.
fn check(config: &DetectorConfig, batch: [HostTruth; 2]) -> (Vec<(&'static str, f32)>, f32) {
    let device = device();
    let detector = config.init(&device.clone().autodiff()).expect("a detector");
    let truth = GroundTruth::from_host(&batch, &device);
    let losses = detector.forward(images(&device)).losses(&truth);
    let parts = losses.parts.iter();
    let parts: Vec<_> = parts
        .map(|(name, p)| (*name, p.clone().into_scalar::<f32>()))
        .collect();
    let gradients = module::gradients(&detector, &losses.total.backward());
    let finite = parts.iter().all(|(_, part)| part.is_finite());
    assert!(finite, "losses {parts:?}");
    for (name, values) in gradients {
        assert!(values.iter().all(|g| g.is_finite()), "gradient of {name}");
    }
    (parts, losses.positives.into_scalar())
}

#[test]
fn an_image_without_boxes_trains() {
    for config in recipes() {
        let boxes = [[8.0, 8.0, 40.0, 40.0]];
        let (_, positives) = check(&config, [truth(&boxes, &[]), truth(&[], &[])]);
        assert!(positives > 0.0);
    }
}

#[test]
fn a_batch_without_positives_trains() {
    for config in recipes() {
        let (parts, positives) = check(&config, [truth(&[], &[]), truth(&[], &[])]);
        assert_eq!(positives, 0.0);
        // Negatives have a class loss, and only that.
        for (name, part) in parts {
            assert_eq!(part > 0.0, name.ends_with("_cls"), "{name} {part}");
        }
    }
}

#[test]
fn points_in_ignore_regions_have_no_class_loss() {
    // Boxes and points on the border of the image reach over it.
    let whole = [-64.0, -64.0, 160.0, 128.0];
    for config in recipes() {
        let ignored = [truth(&[], &[whole]), truth(&[], &[whole])];
        let (parts, _) = check(&config, ignored);
        let (all, _) = check(&config, [truth(&[], &[]), truth(&[], &[])]);
        for ((name, part), (_, all)) in parts.into_iter().zip(all) {
            assert!(part <= 0.1 * all, "{name}: {part} of {all}, {config:?}");
        }
    }
}

#[test]
fn a_box_in_an_ignore_region_trains_as_elsewhere() {
    let whole = [-64.0, -64.0, 160.0, 128.0];
    let boxes = [[16.0, 16.0, 48.0, 48.0]];
    for config in recipes() {
        let batch = |ignore: &[[f32; 4]]| [truth(&boxes, ignore), truth(&[], ignore)];
        let (_, positives) = check(&config, batch(&[]));
        let (_, inside) = check(&config, batch(&[whole]));
        if config.fsaf.is_some() {
            // Its reference leaves all points in the middle of a region out.
            assert_eq!(inside, 0.0);
        } else if config.reppoints.is_some() {
            // Which boxes overlap depends on what the fresh weights predict.
            assert!(inside > 0.0);
        } else if let Some(joint) = config.retina.filter(|retina| retina.fsaf.is_some()) {
            // What the anchors alone learn elsewhere.
            let alone = retina::tiny(RetinaConfig {
                fsaf: None,
                ..joint
            });
            assert_eq!(inside, check(&alone, batch(&[])).1);
        } else {
            assert_eq!(inside, positives);
        }
    }
}

#[test]
fn detections_lie_in_the_original_image_best_first() {
    let device = device();
    for config in recipes() {
        let detector = keeping_every_score(&config).init(&device);
        let detector = detector.expect("a detector");
        let frame = ImageFrame {
            size: [64, 90],
            scale: [0.5, 0.25],
        };
        let predictions = detector.valid().forward(images(&device));
        for found in predictions.decode(&[frame, frame]) {
            assert!(!found.is_empty() && found.len() <= 100);
            assert!(found.windows(2).all(|pair| pair[0].score >= pair[1].score));
            for d in found {
                let [x1, y1, x2, y2] = d.bbox;
                assert!(0.0 <= x1 && x1 < x2 && x2 <= 180.0, "{d:?}");
                assert!(0.0 <= y1 && y1 < y2 && y2 <= 256.0, "{d:?}");
            }
        }
    }
}

/// The same detector without a threshold.
fn keeping_every_score(config: &DetectorConfig) -> DetectorConfig {
    let mut tables = serde_json::to_value(config).expect("JSON");
    let methods = tables.as_object_mut().expect("tables").values_mut();
    for test in methods.filter_map(|method| method.get_mut("test")) {
        test["score_threshold"] = 0.0.into();
    }
    serde_json::from_value(tables).expect("a configuration")
}

#[test]
fn a_method_table_is_needed() {
    let mut none = base();
    let text = message(&none);
    assert!(text.contains("[detector.fcos], [detector.fovea]"), "{text}");
    none.fcos = Some(FcosConfig::default());
    none.fovea = Some(FoveaConfig::default());
    assert!(message(&none).contains("found 2"));
}

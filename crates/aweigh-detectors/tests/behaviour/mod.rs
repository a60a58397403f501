//! What every detector does on awkward input: losses and gradients stay finite.

mod classes;
mod explain;
mod fcos;
mod fovea;
mod fsaf;
mod learnable;
mod reppoints;
mod retina;

use aweigh_backbone::{Depth, FpnConfig, NormConfig, ResNetConfig};
use aweigh_detectors::fcos::FcosConfig;
use aweigh_detectors::fovea::FoveaConfig;
use aweigh_detectors::fsaf::FsafConfig;
use aweigh_detectors::reppoints::RepPointsConfig;
use aweigh_detectors::retina::RetinaConfig;
use aweigh_detectors::{Detector, DetectorConfig, ImageFrame, Method, TowerNorm};
use aweigh_geometry::{GroundTruth, HostTruth};
use aweigh_testkit::{device, module};
use burn::module::Module;
use burn::tensor::{Device, Distribution, Tensor};

/// Normalisation of eight channels.
const NORM: TowerNorm = TowerNorm::GroupNorm { groups: 2 };

/// A detector of a few thousand parameters on images of 64 pixels and more.
fn tiny(method: Method) -> DetectorConfig {
    let mut config = DetectorConfig {
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
        ..DetectorConfig::default()
    };
    match method {
        Method::Fcos(fcos) => {
            config.fcos = Some(FcosConfig {
                feat_channels: 8,
                stacked_convs: 1,
                norm: NORM,
                ..fcos
            });
        }
        Method::Fovea(fovea) => {
            config.fovea = Some(FoveaConfig {
                feat_channels: 8,
                stacked_convs: 1,
                norm: NORM,
                ..fovea
            });
        }
        Method::RepPoints(reppoints) => {
            config.reppoints = Some(RepPointsConfig {
                feat_channels: 8,
                // With few, ReLU leaves some points no feature at all: their boxes have no area, and
                // lie in no ignore region.
                point_feat_channels: 32,
                stacked_convs: 1,
                norm: NORM,
                ..reppoints
            });
        }
        Method::Fsaf(fsaf) => {
            config.fsaf = Some(FsafConfig {
                feat_channels: 8,
                stacked_convs: 1,
                norm: NORM,
                ..fsaf
            });
        }
        Method::Retina(retina) => {
            config.retina = Some(RetinaConfig {
                feat_channels: 8,
                stacked_convs: 1,
                norm: NORM,
                ..retina
            });
        }
    }
    config
}

/// The variants of every method.
fn recipes() -> Vec<Method> {
    let fcos = fcos::recipes().into_iter().map(Method::Fcos);
    let fovea = fovea::recipes().into_iter().map(Method::Fovea);
    let reppoints = reppoints::recipes().into_iter().map(Method::RepPoints);
    let fsaf = fsaf::recipes().into_iter().map(Method::Fsaf);
    let retina = retina::recipes().into_iter().map(Method::Retina);
    let points = fcos.chain(fovea).chain(reppoints).chain(fsaf);
    points.chain(retina).collect()
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
fn check(method: Method, batch: [HostTruth; 2]) -> (Vec<(&'static str, f32)>, f32) {
    let device = device();
    let detector = tiny(method)
        .init(&device.clone().autodiff())
        .expect("a detector");
    let truth = GroundTruth::from_host(&batch, &device);
    let losses = detector.losses(detector.forward(images(&device)), &truth);
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
    for method in recipes() {
        let boxes = [[8.0, 8.0, 40.0, 40.0]];
        let (_, positives) = check(method, [truth(&boxes, &[]), truth(&[], &[])]);
        assert!(positives > 0.0);
    }
}

#[test]
fn a_batch_without_positives_trains() {
    for method in recipes() {
        let (parts, positives) = check(method, [truth(&[], &[]), truth(&[], &[])]);
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
    for method in recipes() {
        let ignored = [truth(&[], &[whole]), truth(&[], &[whole])];
        let (parts, _) = check(method.clone(), ignored);
        let (all, _) = check(method.clone(), [truth(&[], &[]), truth(&[], &[])]);
        for ((name, part), (_, all)) in parts.into_iter().zip(all) {
            assert!(part <= 0.1 * all, "{name}: {part} of {all}, {method:?}");
        }
    }
}

#[test]
fn a_box_in_an_ignore_region_trains_as_elsewhere() {
    let whole = [-64.0, -64.0, 160.0, 128.0];
    let boxes = [[16.0, 16.0, 48.0, 48.0]];
    for method in recipes() {
        let batch = |ignore: &[[f32; 4]]| [truth(&boxes, ignore), truth(&[], ignore)];
        let (_, positives) = check(method.clone(), batch(&[]));
        let (_, inside) = check(method.clone(), batch(&[whole]));
        match method {
            // Its reference leaves all points in the middle of a region out.
            Method::Fsaf(_) => assert_eq!(inside, 0.0),
            // Which boxes overlap depends on what the fresh weights predict.
            Method::RepPoints(_) => assert!(inside > 0.0),
            // What the anchors alone learn elsewhere.
            Method::Retina(joint) if joint.fsaf.is_some() => {
                let alone = Method::Retina(RetinaConfig {
                    fsaf: None,
                    ..joint
                });
                assert_eq!(inside, check(alone, batch(&[])).1);
            }
            _ => assert_eq!(inside, positives),
        }
    }
}

#[test]
fn detections_lie_in_the_original_image_best_first() {
    let device = device();
    for method in recipes() {
        let mut config = tiny(method);
        keep_every_score(&mut config);
        let detector: Detector = config.init(&device).expect("a detector");
        let frame = ImageFrame {
            size: [64, 90],
            scale: [0.5, 0.25],
        };
        let predictions = detector.valid().forward(images(&device));
        for found in detector.decode(&predictions, &[frame, frame]) {
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

fn keep_every_score(config: &mut DetectorConfig) {
    let tests = [
        config.fcos.as_mut().map(|table| &mut table.test),
        config.fovea.as_mut().map(|table| &mut table.test),
        config.reppoints.as_mut().map(|table| &mut table.test),
        config.fsaf.as_mut().map(|table| &mut table.test),
        config.retina.as_mut().map(|table| &mut table.test),
    ];
    for test in tests.into_iter().flatten() {
        test.score_threshold = 0.0;
    }
}

#[test]
fn a_method_table_is_needed() {
    let mut none = tiny(Method::Fcos(FcosConfig::default()));
    none.fcos = None;
    let text = message(&none);
    assert!(text.contains("[detector.fcos], [detector.fovea]"), "{text}");
    none.fcos = Some(FcosConfig::default());
    none.fovea = Some(FoveaConfig::default());
    assert!(message(&none).contains("found 2"));
}

#[test]
#[should_panic(expected = "predictions of another method")]
fn predictions_belong_to_their_detector() {
    let device = device();
    let build = |method| tiny(method).init(&device).expect("a detector");
    let fcos = build(Method::Fcos(FcosConfig::default()));
    let fovea = build(Method::Fovea(FoveaConfig::default()));
    let truth = GroundTruth::from_host(&[truth(&[], &[]), truth(&[], &[])], &device);
    let _ = fovea.losses(fcos.forward(images(&device)), &truth);
}

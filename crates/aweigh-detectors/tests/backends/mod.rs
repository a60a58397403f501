//! The same detector on wgpu and on the CPU: forward, losses, gradients, training steps.
//!
//! Runs on whatever wgpu finds, such as Mesa's lavapipe; without an adapter there is nothing to
//! compare and the test says so.

use std::collections::BTreeMap;

use aweigh_backbone::{BackboneConfig, Depth, FpnConfig, NormConfig, ResNetConfig};
use aweigh_detectors::fcos::FcosConfig;
use aweigh_detectors::fovea::FoveaConfig;
use aweigh_detectors::fsaf::{FsafBranch, FsafConfig};
use aweigh_detectors::reppoints::RepPointsConfig;
use aweigh_detectors::retina::RetinaConfig;
use aweigh_detectors::{Detector, DetectorConfig, Method, Pyramid, TowerNorm};
use aweigh_geometry::{GroundTruth, HostTruth, ImageFrame};
use aweigh_heads::fcos::FcosPredictions;
use aweigh_testkit::{device, module};
use burn::module::Module;
use burn::optim::{GradientsParams, SgdConfig};
use burn::tensor::{DType, Device, DeviceKind, DeviceType, Tensor, TensorData};

mod precision;

/// Two stages and two levels, few shapes: every shape is a kernel to compile.
fn tiny() -> DetectorConfig {
    DetectorConfig {
        num_classes: Some(3),
        backbone: BackboneConfig::ResNet(ResNetConfig {
            depth: Depth::D18,
            base_channels: 8,
            num_stages: 2,
            out_indices: vec![0, 1],
            frozen_stages: -1,
            norm: NormConfig::default(),
            ..ResNetConfig::default()
        }),
        neck: FpnConfig {
            out_channels: 8,
            start_level: 0,
            num_outs: 2,
            ..FpnConfig::default()
        },
        ..DetectorConfig::default()
    }
}

/// What a device computed: scalars, and by name gradients and raw predictions.
struct Run {
    losses: Vec<f32>,
    gradients: BTreeMap<String, Vec<f64>>,
    outputs: BTreeMap<String, Vec<f64>>,
}

/// The numbers that a network computes with.
#[derive(Debug, Clone, Copy)]
struct Numbers {
    dtype: DType,
    /// Factor of the loss, which keeps its gradients in the range of the type.
    loss_scale: f64,
}

const SINGLE: Numbers = Numbers {
    dtype: DType::F32,
    loss_scale: 1.0,
};

/// Three steps of plain SGD; losses of every step, gradients and raw predictions of the first.
fn run(detector: Detector, device: &Device, numbers: Numbers) -> Run {
    let image: Vec<f32> = (0..3 * 32 * 32_usize)
        .map(|i| ((i * 2_654_435_761) % 2039) as f32 / 1019.5 - 1.0)
        .collect();
    let image = Tensor::<4>::from_data(TensorData::new(image, [1, 3, 32, 32]), device);
    let image = image.cast(numbers.dtype);
    let truth = HostTruth {
        boxes: vec![[2.0, 3.0, 14.0, 12.0], [8.0, 4.0, 31.0, 30.0]],
        labels: vec![1, 2],
        ignore: vec![[0.0, 20.0, 8.0, 32.0]],
    };
    let truth = GroundTruth::from_host(&[truth], device);
    let mut optimizer = SgdConfig::new().init();
    let mut model = detector.to_device(device).train();
    let mut out = Run {
        losses: Vec::new(),
        gradients: BTreeMap::new(),
        outputs: BTreeMap::new(),
    };
    for step in 0..3 {
        let predictions = model.forward(image.clone());
        if step == 0 {
            let values = |map: &Tensor<4>| map.to_data().iter::<f64>().collect::<Vec<_>>();
            let outputs = predictions.outputs().into_iter();
            let outputs = outputs.map(|(name, maps)| (name.to_owned(), values(&maps[0])));
            out.outputs = outputs.collect();
        }
        let losses = predictions.losses(&truth);
        out.losses.extend(
            losses
                .parts
                .iter()
                .map(|(_, p)| p.clone().into_scalar::<f32>()),
        );
        let gradients = (losses.total * numbers.loss_scale).backward();
        if step == 0 {
            out.gradients = module::gradients(&model, &gradients);
            let values = out.gradients.values_mut().flatten();
            values.for_each(|value| *value /= numbers.loss_scale);
        }
        let gradients = GradientsParams::from_grads(gradients, &model);
        // Plain SGD is linear in the gradients.
        model = optimizer.step(0.01 / numbers.loss_scale, model, gradients);
    }
    out
}

/// Largest difference over the largest value.
fn relative(a: &[f64], b: &[f64]) -> f64 {
    let largest = b.iter().fold(1e-6_f64, |m, x| m.max(x.abs()));
    let worst = a
        .iter()
        .zip(b)
        .fold(0.0_f64, |m, (x, y)| m.max((x - y).abs()));
    worst / largest
}

fn fcos() -> DetectorConfig {
    DetectorConfig {
        fcos: Some(FcosConfig {
            feat_channels: 8,
            stacked_convs: 1,
            norm: TowerNorm::GroupNorm { groups: 2 },
            regress_ranges: vec![[-1.0, 12.0], [12.0, 1e8]],
            ..FcosConfig::default()
        }),
        ..tiny()
    }
}

#[test]
fn fcos_on_wgpu_equals_the_cpu() {
    check(&fcos());
}

fn fovea() -> DetectorConfig {
    DetectorConfig {
        fovea: Some(FoveaConfig {
            feat_channels: 8,
            stacked_convs: 1,
            norm: TowerNorm::GroupNorm { groups: 2 },
            with_deform: true,
            base_edge_list: vec![8.0, 16.0],
            scale_ranges: vec![[1.0, 16.0], [8.0, 64.0]],
            ..FoveaConfig::default()
        }),
        ..tiny()
    }
}

#[test]
fn fovea_on_wgpu_equals_the_cpu() {
    check(&fovea());
}

fn reppoints() -> DetectorConfig {
    DetectorConfig {
        reppoints: Some(RepPointsConfig {
            feat_channels: 8,
            point_feat_channels: 8,
            stacked_convs: 1,
            norm: TowerNorm::GroupNorm { groups: 2 },
            ..RepPointsConfig::default()
        }),
        ..tiny()
    }
}

#[test]
fn reppoints_on_wgpu_equals_the_cpu() {
    check(&reppoints());
}

fn fsaf() -> DetectorConfig {
    DetectorConfig {
        fsaf: Some(FsafConfig {
            feat_channels: 8,
            stacked_convs: 1,
            norm: TowerNorm::GroupNorm { groups: 2 },
            ..FsafConfig::default()
        }),
        ..tiny()
    }
}

#[test]
fn fsaf_on_wgpu_equals_the_cpu() {
    check(&fsaf());
}

fn retina_with_fsaf() -> DetectorConfig {
    DetectorConfig {
        retina: Some(RetinaConfig {
            feat_channels: 8,
            stacked_convs: 1,
            norm: TowerNorm::GroupNorm { groups: 2 },
            fsaf: Some(FsafBranch::default()),
            ..RetinaConfig::default()
        }),
        ..tiny()
    }
}

#[test]
fn retina_with_fsaf_on_wgpu_equals_the_cpu() {
    check(&retina_with_fsaf());
}

/// Decoding moves numbers and computes with them on the host: nothing may differ at all.
#[test]
fn decoding_on_wgpu_equals_the_cpu() {
    let Some(gpu) = gpu() else { return };
    let found = [device(), gpu].map(|device| {
        let predictions = scattered(&device);
        let frame = ImageFrame {
            size: [128, 190],
            scale: [0.5, 0.25],
        };
        let method = FcosConfig::default();
        let candidates = method.candidates(&predictions, &[frame; 2]);
        (candidates, method.decode(&predictions, &[frame; 2]))
    });
    let [cpu, gpu] = &found;
    assert!(cpu.0[0].len() > 20 && cpu.0[1].is_empty());
    assert_eq!(cpu, gpu);
}

/// Predictions for two images of 128 x 192 pixels, most of them below the threshold: all of the
/// second image.
fn scattered(device: &Device) -> Pyramid<FcosPredictions> {
    let noise = |i: usize| ((i * 2_654_435_761) % 4096) as f32 / 4096.0;
    let map = |[channels, height, width]: [usize; 3], value: &dyn Fn(usize) -> f32| {
        let count = channels * height * width;
        let values: Vec<f32> = (0..2 * count).map(value).collect();
        let shape = [2, channels, height, width];
        Tensor::<4>::from_data(TensorData::new(values, shape), device)
    };
    let levels = [[16, 24], [8, 12]];
    let maps = |channels: usize, value: &dyn Fn(usize, usize) -> f32| {
        let map = |[height, width]: [usize; 2]| {
            let in_image = channels * height * width;
            let value = |i: usize| value(i / in_image, i);
            map([channels, height, width], &value)
        };
        levels.map(map).to_vec()
    };
    let logit = |image: usize, i: usize| noise(i) * 7.0 - 9.5 - 20.0 * image as f32;
    let cls_score = maps(5, &logit);
    let features = Pyramid::new(cls_score.clone(), &[8, 16]);
    features.map(|_| FcosPredictions {
        cls_score,
        bbox_pred: maps(4, &|_, i| 4.0 * noise(i + 1)),
        centerness: maps(1, &|_, i| 4.0 * noise(i + 2) - 2.0),
    })
}

/// The device that the CPU is compared with; without one there is nothing to do.
#[allow(clippy::print_stdout)]
fn gpu() -> Option<Device> {
    if Device::enumerate(DeviceType::Wgpu).into_vec().is_empty() {
        println!("not run: no wgpu adapter");
        return None;
    }
    Some(Device::wgpu(DeviceKind::DefaultDevice))
}

/// Runs a detector on both and compares.
#[allow(clippy::print_stdout)]
fn check(config: &DetectorConfig) {
    let Some(gpu) = gpu() else { return };
    let cpu = device();
    let detector = config.init(&cpu).expect("a detector");
    let started = std::time::Instant::now();
    let gpu = run(detector.clone(), &gpu, SINGLE);
    println!("wgpu: {:.0} s", started.elapsed().as_secs_f64());
    let cpu = run(detector, &cpu, SINGLE);

    // Sums of a few hundred products in another order.
    assert!(relative(&gpu.outputs["cls_score"], &cpu.outputs["cls_score"]) < 1e-5);
    assert_eq!(gpu.losses.len(), cpu.losses.len());
    for (g, c) in gpu.losses.iter().zip(&cpu.losses) {
        assert!(
            (g - c).abs() < 1e-4 * c.abs().max(1.0),
            "{:?} {:?}",
            gpu.losses,
            cpu.losses
        );
    }
    assert!(!cpu.gradients.is_empty());
    assert_eq!(gpu.gradients.len(), cpu.gradients.len());
    for (name, expected) in &cpu.gradients {
        let error = relative(&gpu.gradients[name], expected);
        assert!(error < 1e-3, "gradient of {name}: {error}");
    }
}

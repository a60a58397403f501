//! Networks in `f16` and `bf16` under parameters, predictions and losses in `f32`.
//!
//! `f16` rounds by up to 2^-11 of a value and `bf16` by up to 2^-8. Every layer rounds its weights and
//! its sums: a dozen layers on the way to a prediction, twice as many on the way back to a weight.
//! Independent roundings would add up to a few times one, dependent ones to several dozen times.
//! Gradients are off by more than predictions, since a sample on the other side of a maximum, a ReLU
//! or a pixel takes another slope, and some are small differences of large sums: the bias before a
//! group norm has hardly any.

use std::collections::BTreeMap;

use aweigh_backbone::Upsampling;
use burn::module::{ModuleMapper, Param};

use super::*;

/// An adapter may take numbers of `f16` below 2^-14 for 0, and most gradients of a fresh detector's
/// classes are below that without a factor. Where one overflows with this one, half of it is taken.
const LOSS_SCALE: f64 = 16_384.0;

/// Gives every weight that is drawn the same value in every process. With some weights two boxes are as
/// good for a point, and a rounding decides which one it learns; with those from [`START`] on, none.
struct Fixed {
    drawn: usize,
}

const START: usize = 1_200;

impl ModuleMapper for Fixed {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|value| {
            let (shape, device) = (value.shape(), value.device());
            let values: Vec<f32> = value.to_data().iter().collect();
            if values.iter().all(|value| *value == values[0]) {
                return value;
            }
            // One of few deviations, whose limits (0.22, 0.055, 0.014) are far from those of the
            // initializers: which one it is does not depend on the draw.
            let mean_square = values.iter().map(|x| x * x).sum::<f32>() / values.len() as f32;
            let class = (mean_square.sqrt() / 0.22).log(4.0).ceil();
            let reach = 0.12 * 3.0_f32.sqrt() * 4.0_f32.powf(class);
            let noise = |i: usize| ((i * 2_654_435_761) % 8191) as f32 / 4095.5 - 1.0;
            let places = self.drawn..self.drawn + values.len();
            self.drawn = places.end;
            let values: Vec<f32> = places.map(|i| reach * noise(i)).collect();
            Tensor::from_data(TensorData::new(values, shape), &device)
        })
    }
}

type Named = BTreeMap<String, Vec<f64>>;

fn norm(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|x| x * x).sum::<f64>().sqrt()
}

/// The norm of all differences over that of what is expected.
fn distance(found: &Named, expected: &Named) -> f64 {
    let pairs = found.values().flatten().zip(expected.values().flatten());
    norm(pairs.map(|(a, b)| a - b)) / norm(expected.values().flatten().copied())
}

/// The largest norm of a difference over that of what is expected, and the name it belongs to. What
/// is expected counts as no smaller than a tenth of all together: the stem, before a maximum and
/// far from the losses, has hardly any gradient.
fn farthest(found: &Named, expected: &Named) -> (f64, String) {
    assert!(!expected.is_empty() && found.keys().eq(expected.keys()));
    let least = 0.1 * norm(expected.values().flatten().copied());
    let distance = |(name, values): (&String, &Vec<f64>)| {
        let difference = norm(found[name].iter().zip(values).map(|(a, b)| a - b));
        let size = norm(values.iter().copied()).max(least);
        (difference / size, name.clone())
    };
    let farthest = expected.iter().map(distance);
    let farthest = farthest.max_by(|a, b| a.0.total_cmp(&b.0));
    farthest.expect("there are values")
}

/// The run with the largest scale of the loss that lets no gradient overflow.
fn finite(detector: &Detector, device: &Device, dtype: DType) -> Run {
    let halves = std::iter::successors(Some(LOSS_SCALE), |scale| Some(scale / 2.0));
    let runs = halves.take(8).map(|loss_scale| {
        let numbers = Numbers { dtype, loss_scale };
        run(detector.clone(), device, numbers)
    });
    let is_finite = |run: &Run| {
        let values = run.gradients.values().flatten();
        values.copied().all(f64::is_finite) && run.losses.iter().all(|loss| loss.is_finite())
    };
    let mut runs = runs.filter(is_finite);
    runs.next().expect("gradients that are finite")
}

/// Runs a detector with narrow numbers on `device`, and in `f32` on the CPU. `rounding` is that of
/// one number.
#[allow(clippy::print_stdout)]
fn check(config: &DetectorConfig, device: &Device, dtype: DType, rounding: f64) {
    let cpu = aweigh_testkit::device();
    let detector = config.init(&cpu).expect("a detector");
    let detector = detector.map(&mut Fixed { drawn: START });
    let found = finite(&detector, device, dtype);
    let expected = run(detector, &cpu, SINGLE);
    let outputs = farthest(&found.outputs, &expected.outputs);
    let gradients = farthest(&found.gradients, &expected.gradients);
    let all = distance(&found.gradients, &expected.gradients);
    let losses = found.losses.iter().zip(&expected.losses);
    let losses = losses.map(|(a, b)| f64::from((a - b).abs() / b.abs().max(1.0)));
    let losses: Vec<f64> = losses.collect();
    let (first, later) = losses.split_at(losses.len() / 3);
    let [first, later] = [first, later].map(|losses| losses.iter().copied().fold(0.0, f64::max));
    println!(
        "{dtype:?}: outputs {outputs:?}, losses {first:.1e}, {later:.1e}, gradients {all:.1e}, \
         {gradients:?}"
    );
    assert!(outputs.0 < 16.0 * rounding, "outputs: {outputs:?}");
    assert!(first < 16.0 * rounding, "losses: {losses:?}");
    // A step changes a loss by up to a half, and that change is off as the gradients are.
    assert!(later < 100.0 * rounding, "losses: {losses:?}");
    assert!(all < 0.5_f64.min(200.0 * rounding), "gradients: {all}");
    // A gradient that is lost, or that of another layer, is off by all of it.
    assert!(gradients.0 < 0.5, "gradients: {gradients:?}");
}

#[allow(clippy::print_stdout)]
fn check_half(config: &DetectorConfig) {
    let Some(gpu) = gpu() else { return };
    if gpu.supports_dtype(DType::F16) {
        check(config, &gpu, DType::F16, 1.0 / 2048.0);
    } else {
        println!("not run: no F16 on this adapter");
    }
}

#[test]
fn fcos_in_half_precision() {
    check_half(&fcos());
}

#[test]
fn fovea_in_half_precision() {
    check_half(&fovea());
}

#[test]
fn reppoints_in_half_precision() {
    check_half(&reppoints());
}

#[test]
fn fsaf_in_half_precision() {
    check_half(&fsaf());
}

#[test]
fn retina_with_fsaf_in_half_precision() {
    check_half(&retina_with_fsaf());
}

/// What the methods above do not have: batch norm with the statistics of the batch and a modulated
/// deformable convolution.
fn improved() -> DetectorConfig {
    let mut config = fcos();
    if let Some(fcos) = &mut config.fcos {
        fcos.dcn_on_last_conv = true;
        fcos.norm_on_bbox = true;
    }
    if let BackboneConfig::ResNet(resnet) = &mut config.backbone {
        resnet.norm = NormConfig::BatchNorm;
    }
    config
}

/// Burn has the gradient of bilinear interpolation on the CPU alone.
fn bilinear() -> DetectorConfig {
    let mut config = improved();
    config.neck.upsampling = Upsampling::Bilinear;
    config
}

#[test]
fn every_kind_of_layer_in_half_precision() {
    check_half(&improved());
}

/// On the CPU the narrow types have Burn's operators alone. `bf16` is tested here, since not every
/// adapter has it.
#[test]
fn every_method_in_either_type_on_the_cpu() {
    let cpu = aweigh_testkit::device();
    let methods = [fcos(), fovea(), reppoints(), fsaf(), retina_with_fsaf()];
    for config in methods.into_iter().chain([bilinear()]) {
        check(&config, &cpu, DType::F16, 1.0 / 2048.0);
        check(&config, &cpu, DType::BF16, 1.0 / 256.0);
    }
}

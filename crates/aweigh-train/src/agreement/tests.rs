//! Bounds against what rounding does.

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Device, Tensor, TensorData};

use super::computed::compute;
use super::*;

const SIZE: [usize; 2] = [64, 96];
const CHANNELS: usize = 8;

#[test]
fn the_processor_agrees_with_itself_exactly() {
    let options = AgreementOptions {
        size: SIZE,
        channels: CHANNELS,
        arithmetic: Arithmetic::F32,
    };
    for recipe in Recipe::ALL {
        let reports = agreement(recipe, &options, &Device::flex()).expect("a valid network");
        let stages: Vec<Stage> = reports.iter().map(|report| report.stage).collect();
        assert_eq!(stages, Stage::ALL);
        for report in reports {
            assert!(report.ok && report.error == 0.0, "{report:?}");
        }
    }
}

/// Rounds every parameter to some bits, as tensor cores do with what they multiply.
struct Rounded {
    bits: u32,
}

impl ModuleMapper for Rounded {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|tensor| {
            let device = tensor.device();
            let data = tensor.into_data();
            let rounded = data.iter::<f32>().map(|value| round(value, self.bits));
            let rounded = TensorData::new(rounded.collect::<Vec<f32>>(), data.shape().clone());
            Tensor::from_data(rounded, &device)
        })
    }
}

/// `value` to the nearest number of `bits` bits.
fn round(value: f32, bits: u32) -> f32 {
    let dropped = 24 - bits;
    let half = 1 << (dropped - 1);
    f32::from_bits((value.to_bits() + half) >> dropped << dropped)
}

/// Errors of every stage when the device has weights of `bits` bits.
fn errors(recipe: Recipe, bits: u32) -> [f64; 4] {
    let experiment = recipe.experiment(CHANNELS).expect("a valid network");
    let cpu = Device::flex();
    let detector = fresh(&experiment.detector, SEED, &cpu).expect("a detector");
    let expected = compute(&experiment, detector.clone(), SIZE, &cpu);
    let rounded = detector.map(&mut Rounded { bits });
    let found = compute(&experiment, rounded, SIZE, &cpu);
    Stage::ALL.map(|stage| compare(stage, &found, &expected).error)
}

#[test]
fn bounds_hold_for_their_rounding() {
    for (arithmetic, bits) in [(Arithmetic::F32, 23), (Arithmetic::Tf32, 11)] {
        for recipe in Recipe::ALL {
            let errors = errors(recipe, bits);
            let bounds = Stage::ALL.map(|stage| arithmetic.bound(stage));
            let within = errors
                .iter()
                .zip(bounds)
                .all(|(error, bound)| *error <= bound);
            assert!(within, "{recipe}, {bits} bits: {errors:?} of {bounds:?}");
        }
    }
}

#[test]
fn bounds_tell_roundings_apart() {
    for recipe in Recipe::ALL {
        let errors = errors(recipe, 11);
        let bound = Arithmetic::F32.bound(Stage::Forward);
        assert!(errors[0] > bound, "{recipe}: {errors:?}");
    }
}

#[test]
fn numbers_are_rounded_to_the_nearest() {
    assert_eq!(round(1.0 + 1.0 / 1024.0, 11), 1.0 + 1.0 / 1024.0);
    assert_eq!(round(1.0 + 1.0 / 4096.0, 11), 1.0);
    assert_eq!(round(-1.0 - 3.0 / 4096.0, 11), -1.0 - 1.0 / 1024.0);
}

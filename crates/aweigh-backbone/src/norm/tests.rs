use super::*;
use crate::{Convolution, conv_norm};
use aweigh_conv::Activation;
use aweigh_testkit::{device, finite_difference};
use burn::nn::PaddingConfig2d;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::store::ModuleSnapshot;
use burn::tensor::{DType, TensorData};

const CHANNELS: usize = 4;
const INPUT: [usize; 4] = [2, 2, 4, 3];
const WEIGHT: [usize; 4] = [CHANNELS, 2, 3, 3];

/// Values in [-1, 1] without a pattern.
fn noise(count: usize, seed: f64) -> Vec<f64> {
    (0..count)
        .map(|i| ((i as f64 + seed) * 78.233).sin() * 43758.5453 % 1.0)
        .collect()
}

fn double<const D: usize>(values: &[f64], shape: [usize; D], device: &Device) -> Tensor<D> {
    let data = TensorData::new(values.to_vec(), shape);
    Tensor::from_data(data, (device, DType::F64))
}

/// Input, convolution and normalisation whose tensors are read from one vector.
struct Setup {
    x: Tensor<4>,
    conv: Convolution,
    norm: Norm,
}

const LENGTHS: [usize; 5] = [48, 72, CHANNELS, CHANNELS, CHANNELS];

impl Setup {
    fn new(config: &NormConfig, values: &[f64], device: &Device) -> Self {
        let mut rest = values;
        let mut take = |count| {
            let (taken, after) = rest.split_at(count);
            rest = after;
            taken
        };
        let [x, weight, bias, scale, shift] = LENGTHS.map(&mut take);
        let param = |values| Param::from_tensor(double(values, [CHANNELS], device));
        let conv = Conv2dConfig::new([2, CHANNELS], [3, 3])
            .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
            .init(device);
        let conv = Convolution::Plain(Conv2d {
            weight: Param::from_tensor(double(weight, WEIGHT, device)),
            bias: Some(param(bias)),
            ..conv
        });
        let statistic = |seed| {
            let values: Vec<f64> = noise(CHANNELS, seed).iter().map(|v| 1.5 + v).collect();
            Some(RunningStatistic::new(double(&values, [CHANNELS], device)))
        };
        let mut norm = config.init(CHANNELS, device);
        (norm.weight, norm.bias) = (param(scale), param(shift));
        (norm.running_mean, norm.running_var) = (statistic(7.0), statistic(8.0));
        let x = double(x, INPUT, device).set_require_grad(device.is_autodiff());
        Self { x, conv, norm }
    }

    /// `sum(u * f(norm(conv(x))))` with fixed u; the square keeps second derivatives alive.
    fn loss(&self) -> Tensor<1> {
        let y = conv_norm(&self.conv, &self.norm, self.x.clone(), Activation::None);
        let shape = y.dims();
        let upstream = double(&noise(shape.iter().product(), 3.0), shape, &y.device());
        (y.clone() * y * upstream).sum()
    }

    fn gradients(&self) -> Vec<f64> {
        let grads = self.loss().backward();
        let bias = self.conv.bias().expect("a bias");
        let of = |param: &Param<Tensor<1>>| param.grad(&grads).expect("a gradient").into_data();
        let all = [
            self.x.grad(&grads).expect("a gradient").into_data(),
            self.conv
                .weight()
                .grad(&grads)
                .expect("a gradient")
                .into_data(),
            of(bias),
            of(&self.norm.weight),
            of(&self.norm.bias),
        ];
        all.iter().flat_map(|data| data.iter::<f64>()).collect()
    }
}

fn check_gradients(config: &NormConfig) {
    let values = noise(LENGTHS.iter().sum(), 1.0);
    let device = device().autodiff();
    let analytic = Setup::new(config, &values, &device).gradients();
    let loss = |values: &[f64]| {
        let loss = Setup::new(config, values, &device).loss();
        loss.into_data().iter::<f64>().sum()
    };
    // Central differences in f64: truncation of about step^2 = 1e-10 on derivatives of about 10.
    let numeric = finite_difference(loss, &values, 1e-5);
    for (i, (a, n)) in analytic.iter().zip(&numeric).enumerate() {
        let error = (a - n).abs();
        assert!(
            error < 1e-6 * (1.0 + n.abs()),
            "{config:?}, {i}: {a} against {n}"
        );
    }
}

#[test]
fn gradients_of_folded_frozen_batch_norm() {
    check_gradients(&NormConfig::default());
}

#[test]
fn gradients_of_batch_norm() {
    check_gradients(&NormConfig::BatchNorm);
}

#[test]
fn gradients_of_group_norm() {
    check_gradients(&NormConfig::GroupNorm { groups: 2 });
}

fn run(f: impl FnOnce(&Setup) -> Tensor<4>, config: &NormConfig) -> Vec<f64> {
    let values = noise(LENGTHS.iter().sum(), 2.0);
    let setup = Setup::new(config, &values, &device());
    f(&setup).into_data().iter().collect()
}

#[test]
fn folding_changes_no_value() {
    let config = NormConfig::default();
    let folded = run(
        |s| conv_norm(&s.conv, &s.norm, s.x.clone(), Activation::None),
        &config,
    );
    let apart = run(
        |s| {
            s.norm.forward(
                s.conv.forward(s.x.clone(), Activation::None),
                Activation::None,
            )
        },
        &config,
    );
    let formula = run(
        |s| {
            let statistic = |s: &Option<RunningStatistic>| per_channel(s.as_ref().unwrap().value());
            let deviation = (statistic(&s.norm.running_var) + 1e-5).sqrt();
            let y = s.conv.forward(s.x.clone(), Activation::None) - statistic(&s.norm.running_mean);
            y / deviation * per_channel(s.norm.weight.val()) + per_channel(s.norm.bias.val())
        },
        &config,
    );
    for ((f, a), expected) in folded.iter().zip(&apart).zip(&formula) {
        assert!((f - expected).abs() < 1e-12 && (a - expected).abs() < 1e-12);
    }
}

/// Running mean and variance of a batch norm of one channel, as a record would save them.
fn saved(norm: &Norm) -> Vec<f32> {
    let tensors = norm.collect(None, None, true);
    let statistics = ["running_mean", "running_var"].map(|name| {
        let tensor = tensors.iter().find(|t| t.name == name).expect(name);
        burn::store::bridge::to_data(tensor).expect("resident data")
    });
    statistics.iter().flat_map(|s| s.iter::<f32>()).collect()
}

fn pair(device: &Device) -> Tensor<4> {
    Tensor::from_floats([[[[1.0, 3.0]]]], device)
}

#[test]
fn running_statistics_are_saved_at_once() {
    let device = device().autodiff();
    let norm = NormConfig::BatchNorm.init(1, &device);
    norm.forward(pair(&device), Activation::None);
    // Mean 2, unbiased variance 2: 0.9 * 0 + 0.1 * 2 and 0.9 * 1 + 0.1 * 2.
    assert_eq!(saved(&norm), [0.2, 1.1]);
}

#[test]
fn a_clone_keeps_its_statistics() {
    let device = device().autodiff();
    let norm = NormConfig::BatchNorm.init(1, &device);
    let before = norm.clone();
    norm.forward(pair(&device), Activation::None);
    assert_eq!(saved(&before), [0.0, 1.0]);
}

#[test]
fn evaluation_uses_running_statistics_and_keeps_them() {
    let norm = NormConfig::BatchNorm.init(1, &device().autodiff()).valid();
    let y = norm.forward(pair(&device()), Activation::None).into_data();
    let kept = (y.iter::<f32>().map(|v| v.round()).collect(), saved(&norm));
    assert_eq!(kept, (vec![1.0, 3.0], vec![0.0, 1.0]));
}

#[test]
fn statistics_survive_evaluation_and_return() {
    let device = device().autodiff();
    let norm = NormConfig::BatchNorm.init(1, &device);
    norm.forward(pair(&device), Activation::None);
    assert_eq!(saved(&norm.valid().train()), [0.2, 1.1]);
}

#[test]
fn statistics_are_never_trained() {
    let device = device().autodiff();
    let norm = NormConfig::BatchNorm
        .init(1, &device)
        .set_require_grad(true);
    let mean = norm.running_mean.expect("a running mean").value();
    assert!(!mean.is_require_grad());
}

#[test]
fn a_frozen_affine_has_no_gradient() {
    let device = device().autodiff();
    let affine = Affine::Frozen;
    let norm = NormConfig::FrozenBn { affine }.init(1, &device);
    let x = pair(&device).require_grad();
    let grads = norm.forward(x, Activation::None).sum().backward();
    assert!(norm.weight.grad(&grads).is_none());
}

#[test]
fn groups_that_do_not_divide_are_named() {
    let error = NormConfig::GroupNorm { groups: 3 }.check(8).unwrap_err();
    let expected = "`groups` is 3, which does not divide a layer's 8 channels";
    assert_eq!(error.to_string(), expected);
}

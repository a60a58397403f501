//! The layers: configuration, names of the parameters, and what a new layer computes.

use aweigh_deform_conv::{
    DEFAULT_COLUMN_BUDGET, DeformConv2d, DeformConv2dConfig, DeformConvOptions,
};
use aweigh_testkit::device;
use burn::config::Config;
use burn::module::{Initializer, Module};
use burn::nn::PaddingConfig2d;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::store::{ModuleSnapshot, SafetensorsStore};
use burn::tensor::{DType, Tensor};

use crate::support::{Random, Setup, values_of};

/// Options that differ from the defaults on every axis.
fn config() -> DeformConv2dConfig {
    DeformConv2dConfig::new([4, 6], [3, 2])
        .with_stride([2, 1])
        .with_padding([1, 2])
        .with_dilation([1, 2])
        .with_groups(2)
        .with_offset_groups(4)
}

fn map(shape: [usize; 4]) -> Tensor<4> {
    let values = Random::new(23).values(shape.iter().product(), 1);
    Setup::cpu(DType::F32).tensor(&values, shape)
}

/// Names and shapes of the parameters.
fn parameters<M: Module>(module: &M) -> Vec<(String, Vec<usize>)> {
    let tensors = module.collect(None, None, true).into_iter();
    tensors.map(|t| (t.name, t.shape.to_vec())).collect()
}

fn check_parameters<M: Module>(module: &M, expected: &[(&str, &[usize])]) {
    let found = parameters(module);
    let found: Vec<(&str, &[usize])> = found
        .iter()
        .map(|(name, shape)| (name.as_str(), shape.as_slice()))
        .collect();
    assert_eq!(found, expected);
}

/// Whether two maps agree up to the rounding of sums of a few dozen terms near 1.
fn assert_equal(got: Tensor<4>, expected: Tensor<4>) {
    assert_eq!(got.dims(), expected.dims());
    for (got, want) in values_of(got).iter().zip(values_of(expected)) {
        assert!((got - want).abs() < 1e-5, "{got} is not {want}");
    }
}

/// The plain convolution with the options and parameters of a deformable one.
fn plain(config: &DeformConv2dConfig, like: &DeformConv2d) -> Conv2d {
    let [vertical, horizontal] = config.padding;
    let padding = PaddingConfig2d::Explicit(vertical, horizontal, vertical, horizontal);
    let mut conv = Conv2dConfig::new(config.channels, config.kernel_size)
        .with_stride(config.stride)
        .with_padding(padding)
        .with_dilation(config.dilation)
        .with_groups(config.groups)
        .init(&device());
    conv.weight = like.weight.clone();
    conv.bias = like.bias.clone();
    conv
}

#[test]
fn defaults_are_those_of_burn() {
    let ours = DeformConv2dConfig::new([4, 6], [3, 3]);
    let burns = Conv2dConfig::new([4, 6], [3, 3]);
    assert_eq!(ours.options(), DeformConvOptions::default());
    assert_eq!(ours.column_budget, DEFAULT_COLUMN_BUDGET);
    assert_eq!(
        (ours.bias, ours.initializer),
        (burns.bias, burns.initializer)
    );
}

#[test]
fn configuration_survives_text() {
    let text = config().to_string();
    let read = DeformConv2dConfig::load_binary(text.as_bytes()).expect("a configuration");
    assert_eq!(read.to_string(), text);
    assert_eq!(read.options(), config().options());
}

#[test]
fn weights_start_within_the_fan_in() {
    let layer = config().init(&device());
    // Kaiming: 1 / sqrt(fan_in), over the two input channels of a group and six taps.
    let bound = 1.0 / 12.0_f64.sqrt();
    let bias = values_of(layer.bias.as_ref().expect("a bias").val());
    let largest = values_of(layer.weight.val())
        .into_iter()
        .chain(bias)
        .fold(0.0_f64, |largest, value| largest.max(value.abs()));
    assert!(
        (0.8 * bound..=bound).contains(&largest),
        "{largest} of {bound}"
    );
}

#[test]
fn parameters_have_the_names_of_the_reference() {
    let weight: (&str, &[usize]) = ("weight", &[6, 2, 3, 2]);
    let bias: (&str, &[usize]) = ("bias", &[6]);
    check_parameters(&config().init(&device()), &[weight, bias]);
    check_parameters(&config().with_bias(false).init(&device()), &[weight]);
    let predicted = |channels: &'static [usize; 1], shape: &'static [usize; 4]| {
        let weight: (&str, &[usize]) = ("conv_offset.weight", shape);
        let bias: (&str, &[usize]) = ("conv_offset.bias", channels);
        [weight, bias]
    };
    let [offset_weight, offset_bias] = predicted(&[48], &[48, 4, 3, 2]);
    check_parameters(
        &config().init_pack(&device()),
        &[weight, bias, offset_weight, offset_bias],
    );
    let [offset_weight, offset_bias] = predicted(&[72], &[72, 4, 3, 2]);
    check_parameters(
        &config().with_bias(false).init_modulated_pack(&device()),
        &[weight, offset_weight, offset_bias],
    );
}

#[test]
fn zero_offsets_are_the_plain_convolution() {
    let layer = config().init(&device());
    let x = map([2, 4, 9, 7]);
    let expected = plain(&config(), &layer).forward(x.clone());
    let [batch, _, height, width] = expected.dims();
    let offset = Tensor::zeros([batch, 48, height, width], &device());
    assert_equal(
        layer.forward(x.clone(), offset.clone(), None),
        expected.clone(),
    );
    let mask = Tensor::ones([batch, 24, height, width], &device());
    assert_equal(layer.forward(x, offset, Some(mask)), expected);
}

#[test]
fn a_new_pack_is_the_plain_convolution() {
    let pack = config().init_pack(&device());
    let mut layer = config().init(&device());
    (layer.weight, layer.bias) = (pack.weight.clone(), pack.bias.clone());
    let x = map([2, 4, 9, 7]);
    assert_equal(pack.forward(x.clone()), plain(&config(), &layer).forward(x));
}

#[test]
fn a_new_modulated_pack_is_half_the_plain_convolution() {
    let config = config().with_bias(false);
    let pack = config.init_modulated_pack(&device());
    let mut layer = config.init(&device());
    layer.weight = pack.weight.clone();
    let x = map([2, 4, 9, 7]);
    let expected = plain(&config, &layer).forward(x.clone()) * 0.5;
    assert_equal(pack.forward(x), expected);
}

/// Offsets are the first two thirds of the predicted channels, masks the sigmoid of the rest.
#[test]
fn a_modulated_pack_splits_its_prediction() {
    let mut pack = config().init_modulated_pack(&device());
    let random = Initializer::Uniform {
        min: -0.5,
        max: 0.5,
    };
    pack.conv_offset.weight = random.init([72, 4, 3, 2], &device());
    pack.conv_offset.bias = Some(random.init([72], &device()));
    let x = map([2, 4, 9, 7]);
    let predicted = pack.conv_offset.forward(x.clone());
    let [batch, _, height, width] = predicted.dims();
    let offset = predicted
        .clone()
        .slice([0..batch, 0..48, 0..height, 0..width]);
    let mask = predicted.slice([0..batch, 48..72, 0..height, 0..width]);
    let mask = ((-mask).exp() + 1.0).recip();
    let mut layer = config().init(&device());
    (layer.weight, layer.bias) = (pack.weight.clone(), pack.bias.clone());
    let expected = layer.forward(x.clone(), offset, Some(mask));
    assert_equal(pack.forward(x), expected);
}

#[test]
fn packs_learn_their_offsets() {
    let device = device().autodiff();
    let pack = config().init_modulated_pack(&device);
    let x = Tensor::from_inner(map([2, 4, 9, 7]));
    let gradients = pack.forward(x).square().sum().backward();
    let names: Vec<String> = aweigh_testkit::module::gradients(&pack, &gradients)
        .into_iter()
        .filter(|(_, values)| values.iter().any(|value| *value != 0.0))
        .map(|(name, _)| name)
        .collect();
    let all = ["bias", "conv_offset.bias", "conv_offset.weight", "weight"];
    assert_eq!(names, all);
}

#[test]
fn state_dicts_round_trip() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("pack.safetensors");
    let pack = config().init_modulated_pack(&device());
    let mut store = SafetensorsStore::from_file(&path);
    pack.save_into(&mut store).expect("a written state dict");
    let mut read = config().init_modulated_pack(&device());
    let mut store = SafetensorsStore::from_file(&path);
    read.load_from(&mut store).expect("a state dict that fits");
    let x = map([1, 4, 9, 7]);
    assert_eq!(
        values_of(read.forward(x.clone())),
        values_of(pack.forward(x))
    );
}

#[test]
fn records_round_trip() {
    let pack = config().init_pack(&device());
    let x = map([1, 4, 9, 7]);
    let expected = values_of(pack.forward(x.clone()));
    let read = config()
        .init_pack(&device())
        .load_record(pack.into_record());
    assert_eq!(values_of(read.forward(x)), expected);
}

use std::collections::BTreeMap;
use std::path::Path;

use super::*;
use crate::resnet::tests::tensors_with_gradient;
use crate::weights::StateDict;
use crate::{Affine, Backbone, BackboneConfig, FeatureSpec, LayerInfo, NormConfig};
use aweigh_testkit::device;
use burn::store::ModuleSnapshot;
use burn::tensor::{Distribution, TensorData};

fn wide(widen_factor: f64) -> MobileNetV2Config {
    MobileNetV2Config {
        widen_factor,
        ..MobileNetV2Config::default()
    }
}

/// The narrowest network up to a stage.
fn narrow(last: usize) -> MobileNetV2Config {
    MobileNetV2Config {
        out_indices: vec![last],
        ..wide(0.1)
    }
}

/// Names and shapes of every tensor of a network.
fn shapes<M: Module>(net: &M) -> BTreeMap<String, Vec<usize>> {
    let tensors = net.collect(None, None, true).into_iter();
    tensors.map(|t| (t.name, t.shape.to_vec())).collect()
}

/// Parameters, by the options and of the module, and multiply-adds of an image of 224 x 224.
fn check_cost(config: &MobileNetV2Config, params: usize, mega_macs: f64) {
    let layers = config.layers([224, 224]);
    let counted: usize = layers.iter().map(|l| l.params).sum();
    assert_eq!(counted, params, "{config:?}, from the options");
    let tensors = shapes(&config.init(&device())).into_iter();
    let own = tensors.filter(|(name, _)| !name.contains("running_"));
    let own: usize = own.map(|(_, shape)| shape.iter().product::<usize>()).sum();
    assert_eq!(own, params, "{config:?}, of the module");
    let macs: u64 = layers.iter().map(|l| l.macs).sum();
    // Published with one decimal.
    assert!((macs as f64 / 1e6 - mega_macs).abs() < 0.06, "{macs}");
}

#[test]
fn cost_equals_torchvisions() {
    // Of torchvision's 300.8 million multiply-adds 1.3 million are the classifier's.
    check_cost(&wide(1.0), 2_223_872, 299.5);
}

#[test]
fn features_of_the_reference() {
    let spec = |channels, stride| FeatureSpec { channels, stride };
    let expected = [spec(24, 4), spec(32, 8), spec(96, 16), spec(1280, 32)];
    assert_eq!(wide(1.0).features(), expected);
    let taps = MobileNetV2Config {
        out_indices: vec![0, 3, 5, 6],
        ..wide(0.5)
    };
    let expected = [spec(8, 2), spec(32, 16), spec(80, 32), spec(160, 32)];
    assert_eq!(taps.features(), expected);
    assert_eq!(wide(1.4).features()[3], spec(1792, 32));
}

#[test]
fn nothing_is_built_behind_the_last_output() {
    let names = shapes(&narrow(2).init(&device()));
    assert!(names.contains_key("features.6.conv.3.weight"));
    assert!(names.keys().all(|name| !name.starts_with("features.7.")));
}

#[test]
fn names_are_torchvisions() {
    let names = shapes(&narrow(1).init(&device()));
    let of = |prefix: &str| -> Vec<&str> {
        let own = names.keys().filter_map(|name| name.strip_prefix(prefix));
        own.filter(|name| name.ends_with("weight")).collect()
    };
    assert_eq!(of("features.0."), ["0.weight", "1.weight"]);
    let plain = ["0.0.weight", "0.1.weight", "1.weight", "2.weight"];
    assert_eq!(of("features.1.conv."), plain);
    let expanded = [
        "0.0.weight",
        "0.1.weight",
        "1.0.weight",
        "1.1.weight",
        "2.weight",
        "3.weight",
    ];
    assert_eq!(of("features.2.conv."), expanded);
    assert_eq!(names["features.2.conv.1.0.weight"], [48, 1, 3, 3]);
}

/// Maps, predicted sizes and predicted layers agree, for a size that no stride divides.
fn check_shapes(config: &MobileNetV2Config) {
    let image = [75, 49];
    let x = Tensor::zeros([1, 3, image[0], image[1]], &device());
    let maps = config.init(&device()).forward(x);
    let got: Vec<[usize; 3]> = maps
        .iter()
        .map(|m| [m.dims()[1], m.dims()[2], m.dims()[3]])
        .collect();
    let predicted = config.features().into_iter().zip(config.sizes(image));
    let expected: Vec<[usize; 3]> = predicted.map(|(f, [h, w])| [f.channels, h, w]).collect();
    assert_eq!(got, expected, "{config:?}");
    let last = config.layers(image).pop().map(|layer| layer.output);
    assert_eq!(last, expected.last().copied(), "{config:?}");
}

#[test]
fn shapes_follow_the_options() {
    check_shapes(&wide(0.1));
    check_shapes(&narrow(0));
    check_shapes(&MobileNetV2Config {
        out_indices: vec![1, 2, 4, 6],
        ..wide(0.35)
    });
}

/// Every trained parameter has a gradient and no other, by the layers that the options predict.
fn check_frozen(config: MobileNetV2Config) {
    let device = device().autodiff();
    let net = config.init(&device);
    let images = Tensor::random([2, 3, 64, 64], Distribution::Default, &device);
    let map = net.forward(images).pop().expect("a map");
    let layer = |name: &String| name.rsplit_once('.').map(|(layer, _)| layer.to_owned());
    let got = tensors_with_gradient(&net, map.square().sum());
    let mut got: Vec<String> = got.iter().filter_map(layer).collect();
    got.sort();
    got.dedup();
    let layers: Vec<LayerInfo> = config.layers([64, 64]);
    let trained = layers.into_iter().filter(|layer| layer.trainable);
    let mut expected: Vec<String> = trained.map(|layer| layer.name).collect();
    expected.sort();
    assert_eq!(got, expected, "{config:?}");
}

#[test]
fn frozen_parts_have_no_gradient() {
    for frozen_stages in -1..=7 {
        check_frozen(MobileNetV2Config {
            frozen_stages,
            ..narrow(7)
        });
    }
    for affine in [Affine::Trainable, Affine::Frozen] {
        let norm = NormConfig::FrozenBn { affine };
        check_frozen(MobileNetV2Config { norm, ..narrow(3) });
    }
    let norm = NormConfig::GroupNorm { groups: 2 };
    check_frozen(MobileNetV2Config { norm, ..narrow(3) });
}

#[test]
fn a_shortcut_adds_the_input() {
    let net = narrow(1).init(&device());
    let x = Tensor::random([1, 8, 5, 7], Distribution::Default, &device());
    // Stride 2 first, then the same channels in and out.
    let blocks = net.features.iter().filter_map(|layer| match layer {
        Layer::Block(block) => Some(block),
        Layer::Conv(_) => None,
    });
    let [_, down, same]: [&InvertedResidual; 3] =
        blocks.collect::<Vec<_>>().try_into().expect("three blocks");
    assert_eq!(down.forward(x.clone()).dims(), [1, 8, 3, 4]);
    let zero = StateDict::from_tensors(
        Path::new("zeros"),
        shapes(same)
            .into_iter()
            .map(|(name, shape)| {
                let count = shape.iter().product();
                (name, TensorData::new(vec![0.0f32; count], shape))
            })
            .collect(),
    );
    let zero = zero.load_into(same.clone()).expect("its own tensors");
    let y = zero.forward(x.clone()).into_data();
    assert_eq!(y, x.into_data());
}

#[test]
fn what_lies_behind_the_last_output_is_left_out() {
    let whole = BackboneConfig::MobileNetV2(narrow(7)).init(&device());
    let tensors = |net: &Backbone| -> BTreeMap<String, TensorData> {
        let shapes = shapes(net).into_iter();
        let ones = |shape: Vec<usize>| vec![1.0f32; shape.iter().product()];
        let data = shapes.map(|(name, shape)| (name, TensorData::new(ones(shape.clone()), shape)));
        data.collect()
    };
    let file = StateDict::from_tensors(Path::new("whole.pth"), tensors(&whole));
    let short = BackboneConfig::MobileNetV2(narrow(6)).init(&device());
    let expected = [
        "0.weight",
        "1.bias",
        "1.running_mean",
        "1.running_var",
        "1.weight",
    ];
    let expected = expected.map(|name| format!("features.18.{name}"));
    assert_eq!(short.left_out(&file), expected);
    short.load(file).expect("the rest is the network's");
    let mut other = tensors(&whole);
    let extra = TensorData::new(vec![1.0f32], [1]);
    other.insert("features.19.0.weight".to_owned(), extra);
    let file = StateDict::from_tensors(Path::new("other.pth"), other);
    let error = whole.load(file).unwrap_err().to_string();
    assert!(
        error.contains("1 unknown to the model: features.19.0.weight"),
        "{error}"
    );
}

fn check_error(config: MobileNetV2Config, expected: &str) {
    let error = config.check().map_err(|e| e.to_string());
    assert_eq!(error, Err(expected.to_owned()));
}

#[test]
fn wrong_values_are_named() {
    let base = MobileNetV2Config::default;
    check_error(wide(0.0), "`widen_factor` is 0, expected a number above 0");
    check_error(
        wide(f64::NAN),
        "`widen_factor` is NaN, expected a number above 0",
    );
    check_error(
        MobileNetV2Config {
            out_indices: vec![2, 8],
            ..base()
        },
        "`out_indices` is [2, 8], expected rising stages out of 0 to 7",
    );
    check_error(
        MobileNetV2Config {
            out_indices: Vec::new(),
            ..base()
        },
        "`out_indices` is [], expected rising stages out of 0 to 7",
    );
    check_error(
        MobileNetV2Config {
            frozen_stages: 8,
            ..base()
        },
        "`frozen_stages` is 8, expected -1 (none), 0 (the stem) or up to 7 stages",
    );
    check_error(
        MobileNetV2Config {
            norm: NormConfig::GroupNorm { groups: 32 },
            ..base()
        },
        "`groups` is 32, which does not divide a layer's 16 channels",
    );
}

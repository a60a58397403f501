mod dcn;
mod options;

use std::path::Path;

use super::*;
use crate::weights::StateDict;
use crate::{Affine, DcnKind, FeatureSpec, LayerInfo, NormConfig};
use aweigh_testkit::device;
use burn::module::ParamId;
use burn::optim::GradientsParams;
use burn::store::ModuleSnapshot;
use burn::tensor::{Distribution, Int, TensorData};

fn narrow(depth: Depth) -> ResNetConfig {
    ResNetConfig {
        depth,
        base_channels: 4,
        ..ResNetConfig::default()
    }
}

fn full(depth: Depth) -> ResNetConfig {
    ResNetConfig {
        depth,
        ..ResNetConfig::default()
    }
}

/// Parameters of the module itself, without running statistics.
fn parameters(net: &ResNet) -> usize {
    let tensors = net.collect(None, None, true);
    let trained = tensors.iter().filter(|t| !t.name.contains("running_"));
    trained.map(|t| t.shape.num_elements()).sum()
}

/// Parameters and multiply-adds as torchvision publishes them, less those of `fc`.
fn check_cost(config: ResNetConfig, params: usize, giga_macs: f64) {
    let classifier = 512 * config.depth.expansion() * 1000;
    let layers = config.layers([224, 224]);
    let counted: usize = layers.iter().map(|l| l.params).sum();
    assert_eq!(
        counted,
        params - classifier - 1000,
        "{config:?}, from the options"
    );
    assert_eq!(
        parameters(&config.init(&device())),
        counted,
        "{config:?}, of the module"
    );
    let macs: u64 = layers.iter().map(|l| l.macs).sum();
    let published = giga_macs - classifier as f64 / 1e9;
    // Published with three decimals.
    assert!(
        (macs as f64 / 1e9 - published).abs() < 6e-4,
        "{config:?}: {macs}"
    );
}

#[test]
fn cost_equals_torchvisions() {
    check_cost(full(Depth::D18), 11_689_512, 1.814);
    check_cost(full(Depth::D34), 21_797_672, 3.664);
    check_cost(full(Depth::D50), 25_557_032, 4.089);
    check_cost(full(Depth::D101), 44_549_160, 7.801);
    check_cost(full(Depth::D152), 60_192_808, 11.514);
}

#[test]
fn cost_of_resnexts_equals_torchvisions() {
    let resnext = |depth, groups, base_width| ResNetConfig {
        groups,
        base_width,
        ..full(depth)
    };
    check_cost(resnext(Depth::D50, 32, 4), 25_028_904, 4.23);
    check_cost(resnext(Depth::D101, 64, 4), 83_455_272, 15.46);
}

/// Maps, predicted sizes and predicted layers agree, for a size that no stride divides.
fn check_shapes(config: &ResNetConfig) {
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
    let last = config
        .layers(image)
        .into_iter()
        .rfind(|l| !l.name.contains("downsample"));
    assert_eq!(
        last.map(|l| l.output),
        expected.last().copied(),
        "{config:?}"
    );
}

#[test]
fn shapes_follow_the_options() {
    check_shapes(&narrow(Depth::D18));
    check_shapes(&ResNetConfig {
        style: Style::Caffe,
        ..narrow(Depth::D50)
    });
    check_shapes(&ResNetConfig {
        num_stages: 2,
        out_indices: vec![1],
        ..narrow(Depth::D34)
    });
    check_shapes(&ResNetConfig {
        groups: 4,
        base_width: 1,
        ..narrow(Depth::D50)
    });
    check_shapes(&ResNetConfig {
        strides: vec![1, 2, 2, 1],
        dilations: vec![1, 1, 1, 2],
        ..narrow(Depth::D50)
    });
}

#[test]
fn features_of_resnet_50() {
    let spec = |channels, stride| FeatureSpec { channels, stride };
    let expected = [spec(256, 4), spec(512, 8), spec(1024, 16), spec(2048, 32)];
    assert_eq!(full(Depth::D50).features(), expected);
}

/// Names of the tensors of a network that have a gradient.
pub(crate) fn tensors_with_gradient<M: Module>(net: &M, loss: Tensor<1>) -> Vec<String> {
    // Where everything is frozen there is no graph to go back through.
    if !loss.is_tracked() {
        return Vec::new();
    }
    let grads = GradientsParams::from_grads(loss.backward(), net);
    let tensors = net.collect(None, None, true).into_iter();
    let with = tensors.filter(|t| {
        let id = ParamId::from(t.param_id.expect("a tensor of a module"));
        match t.shape.num_dims() {
            1 => grads.get::<1>(id).is_some(),
            _ => grads.get::<4>(id).is_some(),
        }
    });
    with.map(|t| t.name).collect()
}

/// Names of the tensors that get a gradient in one step.
fn with_gradient(config: &ResNetConfig) -> Vec<String> {
    let device = device().autodiff();
    let net = config.init(&device);
    let images = Tensor::random([1, 3, 64, 64], Distribution::Default, &device);
    let squares = net
        .forward(images)
        .into_iter()
        .map(|map| map.square().sum());
    let loss = squares.reduce(|a, b| a + b).expect("a map");
    tensors_with_gradient(&net, loss)
}

/// Every trained parameter has a gradient and no other, by the layers that the options predict.
fn check_frozen(config: ResNetConfig) {
    let trained: Vec<LayerInfo> = config
        .layers([32, 32])
        .into_iter()
        .filter(|l| l.trainable)
        .collect();
    let mut got: Vec<String> = with_gradient(&config)
        .iter()
        .filter_map(|n| n.rsplit_once('.').map(|(layer, _)| layer.to_owned()))
        .collect();
    got.sort();
    got.dedup();
    let mut expected: Vec<String> = trained.into_iter().map(|l| l.name).collect();
    expected.sort();
    assert_eq!(got, expected, "{config:?}");
}

#[test]
fn frozen_parts_have_no_gradient() {
    let base = || ResNetConfig {
        zero_init_residual: false,
        ..narrow(Depth::D50)
    };
    for frozen_stages in -1..=4 {
        let norm = NormConfig::BatchNorm;
        check_frozen(ResNetConfig {
            frozen_stages,
            norm,
            ..base()
        });
    }
    let affine = Affine::Frozen;
    check_frozen(ResNetConfig {
        norm: NormConfig::FrozenBn { affine },
        ..base()
    });
    check_frozen(ResNetConfig {
        norm: NormConfig::GroupNorm { groups: 2 },
        ..base()
    });
}

#[test]
fn frozen_stages_keep_their_statistics() {
    let device = device().autodiff();
    let norm = NormConfig::BatchNorm;
    let net = ResNetConfig {
        norm,
        frozen_stages: 2,
        ..narrow(Depth::D18)
    }
    .init(&device);
    net.forward(Tensor::random(
        [2, 3, 64, 64],
        Distribution::Default,
        &device,
    ));
    let tensors = net.collect(None, None, true);
    let means = tensors.iter().filter(|t| t.name.ends_with("running_mean"));
    let moved = means.filter(|t| {
        let data = burn::store::bridge::to_data(t).expect("resident data");
        data.iter::<f32>().any(|v| v != 0.0)
    });
    let parts: Vec<&str> = moved.filter_map(|t| t.name.split('.').next()).collect();
    assert!(
        parts.iter().all(|p| ["layer3", "layer4"].contains(p)) && parts.len() == 10,
        "{parts:?}"
    );
}

/// Gradient of the image after a step on `device`, with the same weights on every device.
fn image_gradient(config: &ResNetConfig, device: &Device) -> Vec<f32> {
    let fresh = config.init(device);
    let shapes = fresh.collect(None, None, true).into_iter();
    let tensors = shapes.map(|t| {
        let values = (0..t.shape.num_elements()).map(|i| 0.6 + 0.5 * (i as f32 * 12.9).sin());
        let data = TensorData::new(values.collect(), t.shape);
        (t.name, data)
    });
    let state_dict = StateDict::from_tensors(Path::new("formula"), tensors.collect());
    let net = state_dict
        .load_into(fresh)
        .expect("the network's own tensors");
    let image = Tensor::<1, Int>::arange(0..6144, device).float().sin();
    let image = image.reshape([1, 3, 64, 32]).require_grad();
    let means = net.forward(image.clone()).into_iter().map(|map| map.mean());
    let loss = means.reduce(|a, b| a + b).expect("a map");
    let grad = image.grad(&loss.backward()).expect("a gradient");
    grad.into_data().iter().collect()
}

#[test]
fn gradient_checkpointing_changes_no_gradient() {
    let norms = [
        NormConfig::default(),
        NormConfig::BatchNorm,
        NormConfig::GroupNorm { groups: 2 },
    ];
    let of_norm = |norm| ResNetConfig {
        norm,
        ..narrow(Depth::D18)
    };
    let deformable = [DcnKind::V1, DcnKind::V2].map(|kind| ResNetConfig {
        dcn: Some(DcnConfig {
            kind,
            deform_groups: 2,
            fallback_on_stride: false,
        }),
        stage_with_dcn: vec![false, true, false, false],
        ..narrow(Depth::D50)
    });
    for config in norms.map(of_norm).into_iter().chain(deformable) {
        let device = device().autodiff();
        let kept = image_gradient(&config, &device);
        let recomputed = image_gradient(&config, &device.gradient_checkpointing());
        assert_eq!(kept, recomputed, "{config:?}");
    }
}

/// Whether every value of the scale that ends the first block of a stage is 0.
fn ends_at_zero(config: ResNetConfig, name: &str) -> bool {
    let net = config.init(&device());
    let tensors = net.collect(None, None, true);
    let scale = tensors.iter().find(|t| t.name == name).expect(name);
    let data = burn::store::bridge::to_data(scale).expect("resident data");
    data.iter::<f32>().all(|v| v == 0.0)
}

#[test]
fn blocks_start_as_the_identity_where_they_can_leave_it() {
    let last = "layer2.0.bn3.weight";
    assert!(ends_at_zero(narrow(Depth::D50), last), "trained");
    assert!(
        ends_at_zero(narrow(Depth::D18), "layer2.0.bn2.weight"),
        "basic"
    );
    assert!(
        !ends_at_zero(narrow(Depth::D50), "layer1.0.bn3.weight"),
        "frozen stage"
    );
    let affine = Affine::Frozen;
    let frozen = ResNetConfig {
        norm: NormConfig::FrozenBn { affine },
        ..narrow(Depth::D50)
    };
    assert!(!ends_at_zero(frozen, last), "frozen affine");
}

#[test]
fn weights_start_normal_with_fan_out() {
    let device = device();
    device.seed(5);
    let net = full(Depth::D18).init(&device);
    let tensors = net.collect(None, None, true);
    let weight = tensors
        .iter()
        .find(|t| t.name == "layer4.1.conv2.weight")
        .expect("a weight");
    let values: Vec<f64> = burn::store::bridge::to_data(weight)
        .expect("resident data")
        .iter()
        .collect();
    let variance = values.iter().map(|v| v * v).sum::<f64>() / values.len() as f64;
    let expected = 2.0 / (512.0 * 9.0);
    // 2.4 million samples: the variance's own deviation is sqrt(2 / n) = 0.1 %.
    assert!(
        (variance / expected - 1.0).abs() < 0.005,
        "{variance} against {expected}"
    );
}

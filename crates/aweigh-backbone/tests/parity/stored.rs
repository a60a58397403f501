//! Narrow networks with stored weights: maps, gradients, running statistics.

use std::collections::BTreeMap;

use aweigh_backbone::{
    Affine, Backbone, BackboneConfig, MobileNetV2Config, NormConfig, ResNetConfig,
};
use aweigh_testkit::module::gradients;
use aweigh_testkit::{Case, Report, cases, device};
use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Device, Tensor};

use super::options::{self, Mode};
use super::{Comparison, Limits};

/// A network and what it is compared with.
struct Network {
    config: BackboneConfig,
    norm: NormConfig,
    /// Whether scale and shift of norms are trained.
    affine: Affine,
}

impl Network {
    /// The same with another norm.
    fn with_norm(&self, norm: NormConfig) -> Self {
        let config = match self.config.clone() {
            BackboneConfig::ResNet(config) => BackboneConfig::ResNet(ResNetConfig {
                norm: norm.clone(),
                ..config
            }),
            BackboneConfig::MobileNetV2(config) => BackboneConfig::MobileNetV2(MobileNetV2Config {
                norm: norm.clone(),
                ..config
            }),
        };
        let affine = self.affine;
        Self {
            config,
            norm,
            affine,
        }
    }
}

#[test]
fn resnets_equal_mmdetections() {
    for case in cases(env!("CARGO_MANIFEST_DIR"), |m| m["kind"] == "resnet_stored") {
        super::understand_note(&case, &["mmdet_config", "mode", "frozen_parameters"]);
        let (config, affine) = options::resnet(&case, options::mode(&case));
        let network = Network {
            norm: config.norm.clone(),
            config: BackboneConfig::ResNet(config),
            affine,
        };
        check_modes(&case, &network);
    }
}

#[test]
fn mobilenets_equal_torchvisions_and_mmdetections() {
    for case in cases(env!("CARGO_MANIFEST_DIR"), |m| {
        m["kind"] == "mobilenet_stored"
    }) {
        let known = ["mmdet_config", "torchvision", "mode", "frozen_parameters"];
        super::understand_note(&case, &known);
        let (config, affine) = match case.meta.get("torchvision") {
            Some(given) => options::torchvision_mobilenet(&case, given),
            None => options::mobilenet(&case, options::mode(&case)),
        };
        let network = Network {
            norm: config.norm.clone(),
            config: BackboneConfig::MobileNetV2(config),
            affine,
        };
        check_modes(&case, &network);
    }
}

fn check_modes(case: &Case, network: &Network) {
    let train = options::mode(case) == Mode::Train;
    if train || !case.names("grad/").is_empty() {
        return check(case, network, &device().autodiff());
    }
    check(case, network, &device());
    // Batch norm off an autodiff device is batch norm in evaluation.
    if matches!(network.norm, NormConfig::FrozenBn { .. }) {
        check(case, &network.with_norm(NormConfig::BatchNorm), &device());
    }
}

fn build(case: &Case, network: &Network, device: &Device) -> Backbone {
    let net = network.config.init(device);
    let net = net.load(super::backbone_parameters(case));
    let net = net.unwrap_or_else(|e| panic!("{e}"));
    match network.affine {
        Affine::Trainable => net,
        Affine::Frozen => net.map(&mut FreezeNorms::default()),
    }
}

/// Takes scale and shift of every norm out of training.
#[derive(Default)]
struct FreezeNorms {
    /// Kinds of the modules around the parameter.
    containers: Vec<String>,
}

impl ModuleMapper for FreezeNorms {
    fn enter_module(&mut self, _: &str, container: &str) {
        self.containers.push(container.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.containers.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        match self.containers.last() {
            Some(container) if container.ends_with("Norm") => param.set_require_grad(false),
            _ => param,
        }
    }
}

fn check(case: &Case, network: &Network, device: &Device) {
    let net = build(case, network, device);
    let mut input = case.tensor::<4>("input", device);
    if case.has("grad/input") {
        input = input.require_grad();
    }
    let maps = net.forward(input.clone());
    let names = case.names("c");
    assert_eq!(maps.len(), names.len(), "{}: number of maps", case.name);
    let mut report = Report::new(case);
    let limits = Limits::of(Some(&network.norm));
    for (map, name) in maps.iter().zip(&names) {
        let tolerance = super::of_largest(&case.f64s(name), limits.outputs);
        report.tensor(map.clone(), name, tolerance);
    }
    let own: BTreeMap<String, String> = super::own_names(case);
    let comparison = Comparison {
        case,
        limits,
        rename: |stored: &str| own[stored].clone(),
    };
    if !case.names("grad/").is_empty() {
        let run = Run {
            net: &net,
            input,
            maps,
        };
        compare_gradients(&comparison, &mut report, run);
    }
    comparison.statistics(&mut report, &super::statistics(&net));
    report.finish();
}

/// A forward pass whose gradients are compared.
struct Run<'a> {
    net: &'a Backbone,
    input: Tensor<4>,
    maps: Vec<Tensor<4>>,
}

fn compare_gradients(
    comparison: &Comparison<impl Fn(&str) -> String>,
    report: &mut Report,
    run: Run,
) {
    let Run { net, input, maps } = run;
    let (case, limits) = (comparison.case, comparison.limits);
    let device = input.device();
    let weighted = maps.into_iter().zip(case.names("c")).map(|(map, name)| {
        let upstream = case.tensor::<4>(&format!("upstream/{name}"), &device);
        (map * upstream).sum()
    });
    let loss = weighted.reduce(|a, b| a + b).expect("a map");
    let grads = loss.backward();
    let got = gradients(net, &grads);
    comparison.gradients(report, &got);
    if case.has("grad/input") {
        let tolerance = super::of_largest(&case.f64s("grad/input"), limits.gradients);
        let grad = input.grad(&grads).expect("a gradient of the input");
        report.tensor(grad, "grad/input", tolerance);
    }
    let frozen = case.meta["frozen_parameters"].as_array();
    for name in frozen.into_iter().flatten().filter_map(|n| n.as_str()) {
        let tracked = got.contains_key(&(comparison.rename)(name));
        assert!(!tracked, "{}: frozen `{name}` has a gradient", case.name);
    }
}

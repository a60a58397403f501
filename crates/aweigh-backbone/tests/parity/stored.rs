//! Narrow ResNets of mmdetection with stored weights: maps, gradients, running statistics.

use aweigh_backbone::{Affine, Backbone, BackboneConfig, NormConfig, ResNetConfig};
use aweigh_testkit::module::gradients;
use aweigh_testkit::{Case, Report, cases, device};
use burn::module::{Module, ParamGroup};
use burn::tensor::{Device, Tensor};

use super::options::{self, Mode};
use super::{Comparison, Limits};

#[test]
fn resnets_equal_mmdetections() {
    for case in cases(env!("CARGO_MANIFEST_DIR"), |m| m["kind"] == "resnet_stored") {
        super::understand_note(&case, &["mmdet_config", "mode", "frozen_parameters"]);
        let mode = options::mode(&case);
        let (config, affine) = options::resnet(&case, mode);
        let differentiated = mode == Mode::Train || !case.names("grad/").is_empty();
        if differentiated {
            check(&case, &config, affine, &device().autodiff());
        } else {
            check(&case, &config, affine, &device());
            // Batch norm off an autodiff device is batch norm in evaluation.
            if matches!(config.norm, NormConfig::FrozenBn { .. }) {
                let norm = NormConfig::BatchNorm;
                check(&case, &ResNetConfig { norm, ..config }, affine, &device());
            }
        }
    }
}

fn build(case: &Case, config: &ResNetConfig, affine: Affine, device: &Device) -> Backbone {
    let net = BackboneConfig::ResNet(config.clone()).init(device);
    let net = net.load(super::backbone_parameters(case));
    let net = net.unwrap_or_else(|e| panic!("{e}"));
    match affine {
        Affine::Trainable => net,
        Affine::Frozen => {
            let norms = ParamGroup::from_regex(r"bn\d\.|downsample\.1\.").expect("a pattern");
            net.set_require_grad_group(norms, false)
        }
    }
}

fn check(case: &Case, config: &ResNetConfig, affine: Affine, device: &Device) {
    let net = build(case, config, affine, device);
    let mut input = case.tensor::<4>("input", device);
    if case.has("grad/input") {
        input = input.require_grad();
    }
    let maps = net.forward(input.clone());
    let names = case.names("c");
    assert_eq!(maps.len(), names.len(), "{}: number of maps", case.name);
    let mut report = Report::new(case);
    let limits = Limits::of(Some(&config.norm));
    for (map, name) in maps.iter().zip(&names) {
        let tolerance = super::of_largest(&case.f64s(name), limits.outputs);
        report.tensor(map.clone(), name, tolerance);
    }
    let comparison = Comparison {
        case,
        limits,
        rename: bn as fn(&str) -> String,
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

fn compare_gradients(comparison: &Comparison<fn(&str) -> String>, report: &mut Report, run: Run) {
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
        let tracked = got.contains_key(&bn(name));
        assert!(!tracked, "{}: frozen `{name}` has a gradient", case.name);
    }
}

/// mmdetection numbers group norms as `gn1`, this crate every norm as `bn1`.
fn bn(name: &str) -> String {
    let numbered = ["1", "2", "3"].map(|n| (format!("gn{n}."), format!("bn{n}.")));
    numbered
        .iter()
        .fold(name.to_owned(), |name, (gn, bn)| name.replace(gn, bn))
}

//! Feature pyramids of mmdetection and torchvision.

use aweigh_backbone::{Affine, ExtraLevels, FeatureSpec, Fpn, FpnConfig};
use aweigh_testkit::module::gradients;
use aweigh_testkit::{Case, Report, cases, device};
use burn::module::{Module, ParamGroup};
use burn::tensor::Tensor;

use super::options::{self, Mode};
use super::{Comparison, Limits};

#[test]
fn pyramids_equal_the_references() {
    for case in cases(env!("CARGO_MANIFEST_DIR"), |m| m["kind"] == "fpn") {
        super::understand_note(
            &case,
            &[
                "mmdet_config",
                "extra_blocks",
                "in_channels",
                "sizes",
                "mode",
            ],
        );
        let (config, affine) = match case.meta.get("mmdet_config") {
            Some(_) => options::fpn(&case, options::mode(&case)),
            None => (torchvision(&case), Affine::Trainable),
        };
        check(&case, &config, affine);
    }
}

/// `torchvision.ops.FeaturePyramidNetwork` with its extra blocks.
fn torchvision(case: &Case) -> FpnConfig {
    assert_eq!(options::mode(case), Mode::Train, "{}: mode", case.name);
    let maps = inputs(case).len();
    let (extra, add_extra_convs) = match case.meta.get("extra_blocks").map(|e| e.as_str()) {
        None | Some(None) => (0, ExtraLevels::None),
        Some(Some("tv_pool")) => (1, ExtraLevels::None),
        Some(Some("tv_p6p7_on_p5")) => (2, ExtraLevels::OnOutput),
        Some(Some("tv_p6p7_on_c5")) => (2, ExtraLevels::OnInput),
        Some(Some(other)) => panic!("{}: extra blocks {other} are not understood", case.name),
    };
    FpnConfig {
        out_channels: case.shape("param/layer_blocks.0.0.weight")[0],
        start_level: 0,
        num_outs: maps + extra,
        add_extra_convs,
        relu_before_extra_convs: true,
        ..FpnConfig::default()
    }
}

/// torchvision's parameter names as mmdetection's.
fn name(case: &Case, stored: &str) -> String {
    let levels = inputs(case).len();
    let parts: Vec<&str> = stored.split('.').collect();
    match parts.as_slice() {
        ["inner_blocks", level, "0", kind] => format!("lateral_convs.{level}.conv.{kind}"),
        ["layer_blocks", level, "0", kind] => format!("fpn_convs.{level}.conv.{kind}"),
        ["extra_blocks", "p6", kind] => format!("fpn_convs.{levels}.conv.{kind}"),
        ["extra_blocks", "p7", kind] => format!("fpn_convs.{}.conv.{kind}", levels + 1),
        _ => stored.to_owned(),
    }
}

fn inputs(case: &Case) -> Vec<FeatureSpec> {
    let channels = options::counts(case, &case.meta["in_channels"]);
    let spec = |(i, channels)| FeatureSpec {
        channels,
        stride: 4_usize << i,
    };
    channels.into_iter().enumerate().map(spec).collect()
}

fn build(case: &Case, config: &FpnConfig, affine: Affine) -> Fpn {
    let fpn = config.init(&inputs(case), &device().autodiff());
    let parameters = super::parameters(case, |stored| name(case, stored));
    let fpn = parameters.load_into(fpn).unwrap_or_else(|e| panic!("{e}"));
    match affine {
        Affine::Trainable => fpn,
        Affine::Frozen => {
            let norms = ParamGroup::from_regex(r"\.(bn|gn)\.").expect("a pattern");
            fpn.set_require_grad_group(norms, false)
        }
    }
}

fn check(case: &Case, config: &FpnConfig, affine: Affine) {
    let fpn = build(case, config, affine);
    let device = device().autodiff();
    let maps: Vec<Tensor<4>> = (0..inputs(case).len())
        .map(|i| {
            case.tensor::<4>(&format!("input/{i}"), &device)
                .require_grad()
        })
        .collect();
    let outputs = fpn.forward(maps.clone());
    let stored = case.names("output/");
    assert_eq!(outputs.len(), stored.len(), "{}: outputs", case.name);
    let mut report = Report::new(case);
    let limits = Limits::of(config.norm.as_ref());
    for (output, name) in outputs.iter().zip(&stored) {
        let tolerance = super::of_largest(&case.f64s(name), limits.outputs);
        report.tensor(output.clone(), name, tolerance);
    }
    let weighted = outputs.into_iter().enumerate().map(|(i, output)| {
        let upstream = case.tensor::<4>(&format!("upstream/{i}"), &device);
        (output * upstream).sum()
    });
    let loss = weighted.reduce(|a, b| a + b).expect("an output");
    let grads = loss.backward();
    let comparison = Comparison {
        case,
        limits,
        rename: |stored: &str| name(case, stored),
    };
    comparison.gradients(&mut report, &gradients(&fpn, &grads));
    for stored in case.names("grad/input/") {
        let level = stored.rsplit('/').next().and_then(|l| l.parse().ok());
        let map: &Tensor<4> = &maps[level.unwrap_or(usize::MAX)];
        let grad = map.grad(&grads).expect("a gradient of a used map");
        let tolerance = super::of_largest(&case.f64s(&stored), limits.gradients);
        report.tensor(grad, &stored, tolerance);
    }
    comparison.statistics(&mut report, &super::statistics(&fpn));
    report.finish();
}

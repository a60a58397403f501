//! Full ResNets and ResNeXts of torchvision whose weights come from a formula over their names.

use std::collections::BTreeMap;
use std::path::Path;

use aweigh_backbone::weights::StateDict;
use aweigh_backbone::{Backbone, BackboneConfig, ResNetConfig};
use aweigh_testkit::{Case, Report, Tolerance, cases, device};
use burn::store::ModuleSnapshot;
use burn::tensor::{Tensor, TensorData};

use super::options::{self, Mode};

/// The reference's own f32 run is 5e-6 off its f64 run where maps reach 13.
const MAPS: Tolerance = Tolerance::new(5e-5, 1e-5);
/// Sums of 512 to 2048 products of maps with weights of 0.05.
const LOGITS: Tolerance = Tolerance::new(2e-5, 1e-5);
/// The formula is computed in f64 and rounded once, here as there.
const EXACT: Tolerance = Tolerance::new(0.0, 0.0);

#[test]
fn resnets_equal_torchvisions() {
    for case in cases(env!("CARGO_MANIFEST_DIR"), |m| {
        m["kind"] == "resnet_formula"
    }) {
        super::understand_note(&case, &["model", "input_shape", "mode", "weights", "noise"]);
        assert_eq!(options::mode(&case), Mode::Eval, "{}: mode", case.name);
        check(&case);
    }
}

fn check(case: &Case) {
    let seed = case.meta["seed"].as_u64().expect("a seed");
    let mut report = Report::new(case);
    check_formula(case, &mut report, seed);
    let net = build(case, seed);
    let maps = net.forward(case.tensor::<4>("input", &device()));
    for (map, name) in maps.iter().zip(["c2", "c3", "c4", "c5"]) {
        report.tensor(map.clone(), name, MAPS);
    }
    let last = maps.last().expect("four maps").clone();
    let logits = classify(case, seed, last);
    report.close("logits", &logits, &case.f64s("logits_f64"), LOGITS);
    report.finish();
}

/// The image and the stored beginnings of some tensors.
fn check_formula(case: &Case, report: &mut Report, seed: u64) {
    let draw = |name: &str, shape: &[usize], stored: &str| -> Vec<f64> {
        let count = case.f64s(stored).len();
        let values = (0..count).map(|i| value(name, shape, seed, i));
        values.map(|v| f64::from(v as f32)).collect()
    };
    let input = draw("input", &[], "input");
    report.close("formula/input", &input, &case.f64s("input"), EXACT);
    let shapes = shapes(&config(case).init(&device()));
    for stored in case.names("probe/") {
        let name = stored.strip_prefix("probe/").expect("the prefix");
        let Some(shape) = shapes.get(name) else {
            continue;
        };
        let values = draw(name, shape, &stored);
        report.close(
            &format!("formula/{name}"),
            &values,
            &case.f64s(&stored),
            EXACT,
        );
    }
}

fn config(case: &Case) -> BackboneConfig {
    let model = case.meta["model"].as_str().unwrap_or_default();
    let parsed = parse(model);
    let parsed = parsed.unwrap_or_else(|| panic!("{}: model {model} is not understood", case.name));
    let [depth, groups, base_width] = parsed;
    BackboneConfig::ResNet(ResNetConfig {
        depth: options::depth(case, depth),
        groups,
        base_width,
        ..ResNetConfig::default()
    })
}

/// Depth, groups and base width of `resnet50` or `resnext50_32x4d`.
fn parse(model: &str) -> Option<[usize; 3]> {
    if let Some(depth) = model.strip_prefix("resnet") {
        return Some([depth.parse().ok()?, 1, 4]);
    }
    let (depth, width) = model.strip_prefix("resnext")?.split_once('_')?;
    let (groups, width) = width.strip_suffix('d')?.split_once('x')?;
    Some([
        depth.parse().ok()?,
        groups.parse().ok()?,
        width.parse().ok()?,
    ])
}

fn shapes(net: &Backbone) -> BTreeMap<String, Vec<usize>> {
    let tensors = net.collect(None, None, true).into_iter();
    tensors.map(|t| (t.name, t.shape.to_vec())).collect()
}

fn build(case: &Case, seed: u64) -> Backbone {
    let net = config(case).init(&device());
    let tensors = shapes(&net).into_iter().map(|(name, shape)| {
        let count = shape.iter().product();
        let values = (0..count).map(|i| value(&name, &shape, seed, i) as f32);
        let data = TensorData::new(values.collect(), shape.clone());
        (name, data)
    });
    let state_dict = StateDict::from_tensors(Path::new(&case.name), tensors.collect());
    state_dict.load_into(net).unwrap_or_else(|e| panic!("{e}"))
}

/// Element `i` of the tensor `name`, in f64.
fn value(name: &str, shape: &[usize], seed: u64, i: usize) -> f64 {
    let u = uniform(name, seed, i);
    let signed = 2.0 * u - 1.0;
    match (name, name.rsplit('.').next().unwrap_or_default(), shape) {
        ("input", ..) => signed * 2.0,
        ("fc.weight", ..) => signed * 0.05,
        (_, "weight", [_, fan_in @ ..]) if !fan_in.is_empty() => {
            signed * (6.0 / fan_in.iter().product::<usize>() as f64).sqrt()
        }
        (_, "weight", _) => 0.3 + 0.6 * u,
        (_, "bias" | "running_mean", _) => signed * 0.2,
        (_, "running_var", _) => 0.5 + u,
        other => panic!("no formula for {other:?}"),
    }
}

/// FNV-1a of the name, mixed with seed and position by SplitMix64, as 24 bits in [0, 1).
fn uniform(name: &str, seed: u64, i: usize) -> f64 {
    const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    });
    let z = hash
        .wrapping_add(seed.wrapping_mul(GOLDEN))
        .wrapping_add((i as u64 + 1).wrapping_mul(GOLDEN));
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    let z = z ^ (z >> 31);
    (z >> 40) as f64 / f64::from(1 << 24)
}

/// The classifier that torchvision puts on the last map, in f64: mean over the map, then `fc`.
fn classify(case: &Case, seed: u64, map: Tensor<4>) -> Vec<f64> {
    let [batch, channels, height, width] = map.dims();
    let values: Vec<f64> = map.into_data().iter().collect();
    let area = height * width;
    let means: Vec<f64> = values
        .chunks(area)
        .map(|m| m.iter().sum::<f64>() / area as f64)
        .collect();
    let classes = case.shape("logits_f64")[1];
    let rounded = |name: &str, i| f64::from(value(name, &[], seed, i) as f32);
    let weight: Vec<f64> = (0..classes * channels)
        .map(|i| rounded("fc.weight", i))
        .collect();
    let logit = |image: usize, class: usize| {
        let features = &means[image * channels..][..channels];
        let row = &weight[class * channels..][..channels];
        let products = features.iter().zip(row).map(|(f, w)| f * w);
        products.sum::<f64>() + rounded("fc.bias", class)
    };
    (0..batch * classes)
        .map(|i| logit(i / classes, i % classes))
        .collect()
}

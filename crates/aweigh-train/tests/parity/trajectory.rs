//! Whole detectors against mmdetection: preprocessing, and steps of SGD with momentum, weight
//! decay, multipliers for biases and clipping.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use aweigh_data::{ChannelOrder, DecodeConfig, HostBatch, TransformConfig, read_picture};
use aweigh_detectors::Detector;
use aweigh_geometry::{GroundTruth, HostTruth};
use aweigh_testkit::options::{flag, size};
use aweigh_testkit::{Case, Report, Tolerance, cases, device, module, understand};
use aweigh_train::clip::clip_gradients;
use aweigh_train::config::OptimizerConfig;
use aweigh_train::optimizer::{Multipliers, Optimizer};
use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Tensor, TensorData};
use serde_json::Value;

use super::mmdet::detector;
use crate::truth;

/// One subtraction and one division of small integers.
const BATCH: Tolerance = Tolerance::new(1e-6, 1e-6);
/// The reference's losses move by up to 5e-6 when parameters move by 1e-6 of themselves.
const LOSS: Tolerance = Tolerance::new(1e-5, 1e-5);
/// Norms of gradients, a sum over thousands of f32 values.
const NORM: Tolerance = Tolerance::new(1e-5, 2e-5);
/// Gradients, relative to values up to 10; sums over a batch run in another order.
const GRADIENT: Tolerance = Tolerance::new(1e-5, 1e-4);
/// Parameters after five steps of at most 0.02 times a gradient with the error above.
const PARAMETER: Tolerance = Tolerance::new(2e-6, 2e-5);
/// Outputs of a network with those parameters; distances are exponentials.
const OUTPUT: Tolerance = Tolerance::new(2e-5, 1e-4);

#[test]
fn detectors_train_like_mmdetection() {
    for case in cases(env!("CARGO_MANIFEST_DIR"), |meta| {
        meta["kind"] == "detector"
    }) {
        check(&case);
    }
}

fn check(case: &Case) {
    let (device, config) = (device(), detector(case));
    let mut report = Report::new(case);
    let images = batch(case);
    if case.has("batch") {
        report.tensor(images.clone(), "batch", BATCH);
    }
    let mut model = config
        .init(&device.clone().autodiff())
        .expect("a valid detector");
    module::load(&mut model, case, "param/", &["num_batches_tracked"]);
    assert_eq!(
        trained(&model),
        names(&case.meta["trainable"]),
        "{}: trained",
        case.name
    );

    let truth = GroundTruth::from_host(&truth(case), &device).with_sizes(&sizes(case));
    let (mut optimizer, lr, max_norm) = optimizer(case);
    let (mut totals, mut norms) = (Vec::new(), Vec::new());
    for step in 0..size(&case.meta["steps"]) {
        let losses = model.forward(images.clone()).losses(&truth);
        let expected = &case.meta["loss_history"][step];
        for (name, part) in &losses.parts {
            let expected = expected[*name].as_f64().expect("a loss of that name");
            let got = f64::from(part.clone().into_scalar::<f32>());
            report.close(
                &format!("loss_history/{name}.{step}"),
                &[got],
                &[expected],
                LOSS,
            );
        }
        totals.push(f64::from(losses.total.clone().into_scalar::<f32>()));
        let gradients = GradientsParams::from_grads(losses.total.backward(), &model);
        let (gradients, norm) = clip_gradients(&model, gradients, max_norm, &device);
        norms.push(f64::from(norm.into_scalar::<f32>()));
        if step == 0 {
            compare_gradients(&mut report, case, &model, &gradients);
        }
        model = optimizer.step(lr, model, gradients);
    }
    report.close("losses", &totals, &case.f64s("losses"), LOSS);
    report.close("grad_norms", &norms, &case.f64s("grad_norms"), NORM);
    let parameters = module::parameters(&model);
    for name in case.names("final/") {
        let got = &parameters[&name["final/".len()..]];
        report.close(&name, got, &case.f64s(&name), PARAMETER);
    }
    final_outputs(&mut report, case, &model.valid(), images);
    report.finish();
}

/// The stored pictures through the loader's decoding, normalisation and padding.
fn batch(case: &Case) -> Tensor<4> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let count = case.names("image/").len();
    let singles: Vec<HostBatch> = (0..count).map(|i| single(case, i, folder.path())).collect();
    let side = |axis: usize| {
        singles
            .iter()
            .map(|b| b.shape[axis])
            .max()
            .expect("an image")
    };
    let (height, width) = (side(2), side(3));
    let padded = singles.into_iter().map(|single| {
        let small = Tensor::<4>::from_data(TensorData::new(single.images, single.shape), &device());
        let [_, _, h, w] = single.shape;
        Tensor::zeros([1, 3, height, width], &device())
            .slice_assign([0..1, 0..3, 0..h, 0..w], small)
    });
    Tensor::cat(padded.collect(), 0)
}

/// One picture as a batch; the transform's limits are its own sides, so that it keeps its size.
fn single(case: &Case, index: usize, folder: &Path) -> HostBatch {
    let name = format!("image/{index}");
    let [_, height, width] = case.shape(&name).try_into().expect("[3, H, W]");
    let planes = case.ints(&name);
    // Stored as cv2 decodes: blue first.
    let pixel = |x: u32, y: u32| {
        let at = y as usize * width + x as usize;
        image::Rgb([2, 1, 0].map(|plane| planes[plane * height * width + at] as u8))
    };
    let picture = image::RgbImage::from_fn(width as u32, height as u32, pixel);
    let file = folder.join(format!("{index}.png"));
    picture.save(&file).expect("a picture");

    let options = &case.meta["model"]["data_preprocessor"];
    understand(
        case,
        options,
        &["type", "mean", "std", "bgr_to_rgb", "pad_size_divisor"],
    );
    let triple = |key: &str| [0, 1, 2].map(|i| options[key][i].as_f64().expect("a number") as f32);
    let transform = TransformConfig {
        short_edge: height.min(width) as u32,
        long_edge: height.max(width) as u32,
        mean: triple("mean"),
        std: triple("std"),
        channel_order: if flag(&options["bgr_to_rgb"]) {
            ChannelOrder::Rgb
        } else {
            ChannelOrder::Bgr
        },
        size_divisor: options["pad_size_divisor"].as_u64().expect("a divisor") as u32,
        ..TransformConfig::default()
    };
    let picture = read_picture(&file, &DecodeConfig::default()).expect("a readable picture");
    HostBatch::from_picture(&picture, &file, &transform)
}

fn truth(case: &Case) -> Vec<HostTruth> {
    let images = 0..case.names("image/").len();
    images.map(|image| truth::truth(case, image)).collect()
}

/// Height and width of every image with its own padding.
fn sizes(case: &Case) -> Vec<[usize; 2]> {
    let divisor = size(&case.meta["model"]["data_preprocessor"]["pad_size_divisor"]);
    let padded = |index: usize| {
        let [_, height, width] = case.shape(&format!("image/{index}"))[..] else {
            panic!("{}: image/{index} is not [3, H, W]", case.name);
        };
        [height, width].map(|side| side.next_multiple_of(divisor))
    };
    (0..case.names("image/").len()).map(padded).collect()
}

/// The optimiser, its learning rate and the largest norm of the gradients.
fn optimizer(case: &Case) -> (Optimizer, f64, f64) {
    let options = &case.meta["sgd"];
    let known = [
        "lr",
        "momentum",
        "weight_decay",
        "bias_lr_mult",
        "bias_decay_mult",
        "clip",
    ];
    understand(case, options, &known);
    let number = |key: &str| options[key].as_f64().expect("a number");
    let config = OptimizerConfig {
        momentum: Some(number("momentum")),
        weight_decay: number("weight_decay"),
        ..OptimizerConfig::default()
    };
    let bias = Multipliers {
        lr: number("bias_lr_mult"),
        decay: number("bias_decay_mult"),
    };
    // The reference's multipliers are for every bias, those of norms included.
    let plain = Multipliers {
        lr: 1.0,
        decay: 1.0,
    };
    let rule = move |name: &str, _| if name.ends_with(".bias") { bias } else { plain };
    // Without clipping the norm is still stored: a limit that nothing reaches measures it.
    let max_norm = options["clip"].as_f64().unwrap_or(f64::MAX);
    let optimizer = Optimizer::with_rule(&config, Box::new(rule));
    (optimizer, number("lr"), max_norm)
}

fn final_outputs(report: &mut Report, case: &Case, model: &Detector, images: Tensor<4>) {
    let predictions = model.forward(images);
    let head = &case.meta["model"]["bbox_head"];
    // In evaluation mode the reference turns FCOS's distances in strides into pixels.
    let in_strides = head["type"] == "FCOSHead" && flag(&head["norm_on_bbox"]);
    let outputs: BTreeMap<_, _> = predictions.outputs().into_iter().collect();
    let stored = case.names("final_output/");
    assert!(!stored.is_empty(), "{}: no final outputs", case.name);
    for name in stored {
        let parts: Vec<&str> = name.split('/').collect();
        let [_, kind, level] = parts.as_slice() else {
            panic!("{}: tensor `{name}` is not understood", case.name);
        };
        let level: usize = level.parse().expect("a level");
        let maps = outputs.get(kind).expect("an output of that name");
        let unit = if *kind == "bbox_pred" && in_strides {
            predictions.levels()[level].stride as f64
        } else {
            1.0
        };
        report.tensor(maps[level].clone() * unit, &name, OUTPUT);
    }
}

fn compare_gradients(
    report: &mut Report,
    case: &Case,
    model: &Detector,
    gradients: &GradientsParams,
) {
    let mut visitor = Visitor {
        gradients: Some(gradients),
        ..Visitor::default()
    };
    model.visit(&mut visitor);
    for name in case.names("grad0/") {
        let got = &visitor.found[&name["grad0/".len()..]];
        report.close(&name, got, &case.f64s(&name), GRADIENT);
    }
}

/// Names of the parameters that training changes.
fn trained(model: &Detector) -> BTreeSet<String> {
    let mut visitor = Visitor::default();
    model.visit(&mut visitor);
    visitor.found.into_keys().collect()
}

fn names(list: &Value) -> BTreeSet<String> {
    let list = list.as_array().expect("a list of names").iter();
    list.map(|name| name.as_str().expect("a name").to_owned())
        .collect()
}

/// Collects trained parameters, with their gradients where there are some.
#[derive(Default)]
struct Visitor<'a> {
    gradients: Option<&'a GradientsParams>,
    path: Vec<Option<String>>,
    found: BTreeMap<String, Vec<f64>>,
}

impl ModuleVisitor for Visitor<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if param.is_require_grad() {
            let gradient = self.gradients.and_then(|all| all.get::<D>(param.id));
            let values = gradient.map_or_else(Vec::new, |g| g.into_data().iter::<f64>().collect());
            let path: Vec<&str> = self.path.iter().flatten().map(String::as_str).collect();
            self.found.insert(path.join("."), values);
        }
    }

    fn enter_module(&mut self, name: &str, container: &str) {
        // State dicts do not name the variants of enums.
        self.path
            .push((!container.starts_with("Enum:")).then(|| name.to_owned()));
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }
}

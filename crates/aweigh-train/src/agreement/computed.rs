//! What a device computes with a network.

use std::collections::BTreeMap;

use aweigh_data::HostBatch;
use aweigh_detectors::{Detector, Losses, Predictions};
use aweigh_geometry::HostTruth;
use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor, TensorData};

use crate::batch::Batch;
use crate::config::Experiment;
use crate::made_up;
use crate::optimizer::Optimizer;
use crate::parameters::{ModulePath, named_tensors};
use crate::step::{StepContext, train_step};

/// Steps of training.
const STEPS: usize = 5;

/// Values by the name of their tensor.
pub(super) type Named = BTreeMap<String, Vec<f64>>;

/// What a device computed.
#[derive(Debug)]
pub(super) struct Computed {
    /// Raw predictions.
    pub(super) outputs: Named,
    /// The loss, its parts, and the number of positives.
    pub(super) losses: Named,
    /// Gradients of the parameters that are trained.
    pub(super) gradients: Named,
    /// What training changed in them.
    pub(super) changes: Named,
}

/// Computes with `detector`, whose weights are on the CPU, on `device`.
pub(super) fn compute(
    experiment: &Experiment,
    detector: Detector,
    size: [usize; 2],
    device: &Device,
) -> Computed {
    let before = values(&detector);
    let model = detector.to_device(device).train();
    let batch = Batch::upload(batch(size), device);
    let predictions = model.forward(batch.images);
    let outputs = outputs(&*predictions);
    let losses = predictions.losses(&batch.truth);
    let parts = parts(&losses);
    let gradients = gradients(&model, losses);
    let mut after = values(&trained(experiment, model, size, device));
    for (name, values) in &mut after {
        let pairs = values.iter_mut().zip(&before[name]);
        pairs.for_each(|(after, before)| *after -= before);
    }
    Computed {
        outputs,
        losses: parts,
        gradients,
        changes: after,
    }
}

fn outputs(predictions: &dyn Predictions) -> Named {
    let outputs = predictions.outputs().into_iter();
    let of_levels = outputs.flat_map(|(name, maps)| {
        let named = move |(level, map): (usize, &Tensor<4>)| {
            let stride = predictions.levels()[level].stride;
            (format!("{name} of stride {stride}"), read(map.clone()))
        };
        maps.iter().enumerate().map(named)
    });
    of_levels.collect()
}

fn parts(losses: &Losses) -> Named {
    let parts = losses.parts.iter();
    let parts = parts.map(|(name, part)| (*name, part.clone()));
    let all = parts.chain([
        ("loss", losses.total.clone()),
        ("positives", losses.positives.clone()),
    ]);
    all.map(|(name, value)| (name.to_owned(), read(value)))
        .collect()
}

fn gradients(model: &Detector, losses: Losses) -> Named {
    let mut reader = Gradients {
        all: GradientsParams::from_grads(losses.total.backward(), model),
        path: ModulePath::default(),
        found: Named::new(),
    };
    model.visit(&mut reader);
    reader.found
}

/// The model after some steps on one batch.
fn trained(
    experiment: &Experiment,
    mut model: Detector,
    size: [usize; 2],
    device: &Device,
) -> Detector {
    let mut optimizer = Optimizer::new(&experiment.train.optimizer);
    for _ in 0..STEPS {
        let context = StepContext::alone(experiment, device, &mut optimizer, experiment.train.lr);
        model = train_step(context, model, batch(size), |_| {}).model;
    }
    model
}

/// Two images: boxes of several sizes that overlap, and an ignore region; one large box.
///
/// No edge lies on a point of a level or halfway between two: a device that rounds otherwise would
/// assign other points.
fn batch([height, width]: [usize; 2]) -> HostBatch {
    let [height_px, width_px] = [height as f32, width as f32];
    let place =
        |[x1, y1, x2, y2]: [f32; 4]| [x1 * width_px, y1 * height_px, x2 * width_px, y2 * height_px];
    let crowded = HostTruth {
        boxes: [
            [0.063, 0.081, 0.317, 0.293],
            [0.241, 0.207, 0.719, 0.781],
            [0.583, 0.119, 0.937, 0.371],
        ]
        .map(place)
        .into(),
        labels: vec![0, 1, 2],
        ignore: vec![place([0.023, 0.713, 0.229, 0.967])],
    };
    let plain = HostTruth {
        boxes: vec![place([0.147, 0.059, 0.893, 0.931])],
        labels: vec![1],
        ignore: Vec::new(),
    };
    made_up::batch(vec![crowded, plain], [height, width])
}

/// The parameters of a model.
fn values(model: &Detector) -> Named {
    let tensors = named_tensors(model).into_iter();
    tensors.map(|(name, data)| (name, numbers(&data))).collect()
}

fn read<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    numbers(&tensor.into_data())
}

fn numbers(data: &TensorData) -> Vec<f64> {
    data.iter::<f64>().collect()
}

/// Reads the gradient of every parameter that has one.
struct Gradients {
    all: GradientsParams,
    path: ModulePath,
    found: Named,
}

impl ModuleVisitor for Gradients {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.all.get::<D>(param.id) {
            self.found.insert(self.path.name(), read(gradient));
        }
    }
}

//! One step of training, for the trainer and for the benchmark.
//!
//! A batch that memory has no room for goes through the network in parts, whose gradients add up.
//! They are those of the batch as a whole: its parts keep its size in pixels, and the losses of each
//! are divided by what those of the whole batch are.

use aweigh_data::HostBatch;
use aweigh_detectors::{Detector, DetectorConfig, Losses};
use burn::module::Module;
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::{Device, Tensor};

use crate::batch::Batch;
use crate::clip::clip_gradients;
use crate::config::Experiment;
use crate::optimizer::Optimizer;

/// What a step needs besides the model and the batch.
pub(crate) struct StepContext<'a> {
    device: &'a Device,
    detector: &'a DetectorConfig,
    optimizer: &'a mut Optimizer,
    lr: f64,
    /// The largest norm of all gradients together, if they are clipped.
    clip_norm: Option<f64>,
    /// Images that go through the network at once, if not all of a batch do.
    micro_batch_size: Option<usize>,
}

impl<'a> StepContext<'a> {
    /// A step of an experiment at a learning rate.
    pub(crate) fn new(
        experiment: &'a Experiment,
        device: &'a Device,
        optimizer: &'a mut Optimizer,
        lr: f64,
    ) -> Self {
        Self {
            device,
            detector: &experiment.detector,
            optimizer,
            lr,
            clip_norm: experiment.train.clip_norm,
            micro_batch_size: experiment.train.micro_batch_size,
        }
    }
}

/// What a step gives.
pub(crate) struct Stepped {
    pub(crate) model: Detector,
    /// `loss`, its parts, `positives` and, with clipping, `grad_norm`: each `[1]`, without autodiff.
    pub(crate) scalars: Vec<(String, Tensor<1>)>,
}

/// Forward, losses, backward, clipping and one step of the optimiser. Nothing is read back from the
/// device.
///
/// The model is taken, not borrowed: the optimiser changes parameters in place where they have one
/// owner. `phase_ends` is told the name of each phase when all of its work has been issued; in a
/// batch of several parts most phases end several times.
pub(crate) fn train_step(
    context: StepContext<'_>,
    model: Detector,
    host: HostBatch,
    mut phase_ends: impl FnMut(&'static str),
) -> Stepped {
    let size = context.micro_batch_size.unwrap_or(usize::MAX);
    let parts = host.split(size).into_iter();
    let parts: Vec<Batch> = parts
        .map(|part| Batch::upload(part, context.device))
        .collect();
    phase_ends("upload");
    let normalisers = match &parts[..] {
        [_] => None,
        parts => Some(normalisers(context.detector, &model, parts)),
    };
    let mut scalars = Vec::new();
    let mut gradients = GradientsAccumulator::new();
    for part in parts {
        let losses = losses(&model, part, normalisers.as_ref(), &mut phase_ends);
        add(&mut scalars, &losses);
        let of_part = GradientsParams::from_grads(losses.total.backward(), &model);
        gradients.accumulate(&model, of_part);
        phase_ends("backward");
    }
    let mut gradients = gradients.grads();
    if let Some(max_norm) = context.clip_norm {
        let (clipped, norm) = clip_gradients(&model, gradients, max_norm, context.device);
        scalars.push(("grad_norm".to_owned(), norm));
        gradients = clipped;
        phase_ends("clip");
    }
    let model = context.optimizer.step(context.lr, model, gradients);
    phase_ends("optimizer");
    Stepped { model, scalars }
}

/// What the losses of a batch in parts are divided by, `[N]`. Where that depends on predictions, all
/// parts are predicted once more, without gradients.
fn normalisers(config: &DetectorConfig, model: &Detector, parts: &[Batch]) -> Tensor<1> {
    let plain = model.valid();
    let of_part = |part: &Batch| {
        let [_, _, height, width] = part.images.dims();
        let levels = config.level_shapes([height, width]);
        let levels = levels.expect("the configuration of a model is valid");
        let geometric = plain.geometric_normalisers(&levels, &part.truth);
        geometric.unwrap_or_else(|| {
            let predictions = plain.forward(part.images.clone());
            predictions.assign(&part.truth).normalisers()
        })
    };
    let all = parts.iter().map(of_part).reduce(|a, b| a + b);
    all.expect("a batch has a part")
}

/// The losses of a batch, or of a part of one whose `normalisers` are given.
fn losses(
    model: &Detector,
    batch: Batch,
    normalisers: Option<&Tensor<1>>,
    mut phase_ends: impl FnMut(&'static str),
) -> Losses {
    let features = model.features(batch.images);
    phase_ends("backbone");
    let predictions = model.predict(features);
    phase_ends("head");
    let assigned = predictions.assign(&batch.truth);
    phase_ends("assign");
    let own = assigned.normalisers();
    let losses = assigned.losses(normalisers.unwrap_or(&own));
    phase_ends("loss");
    losses
}

/// Adds the losses of a part to those of the parts before.
fn add(scalars: &mut Vec<(String, Tensor<1>)>, losses: &Losses) {
    let parts = losses.parts.iter();
    let parts = parts.map(|(name, part)| (*name, part.clone().inner()));
    let of_part = std::iter::once(("loss", losses.total.clone().inner()))
        .chain(parts)
        .chain([("positives", losses.positives.clone().inner())]);
    if scalars.is_empty() {
        scalars.extend(of_part.map(|(name, value)| (name.to_owned(), value)));
        return;
    }
    for ((_, sum), (_, value)) in scalars.iter_mut().zip(of_part) {
        *sum = sum.clone() + value;
    }
}

//! One step of training, for the trainer and for the benchmark.
//!
//! A batch that memory has no room for goes through the network in parts, whose gradients add up.
//! They are those of the batch as a whole: its parts keep its size in pixels, and the losses of each
//! are divided by what those of the whole batch are. The parts of other processes count as parts, too.

use std::time::{Duration, Instant};

use aweigh_backbone::NormConfig;
use aweigh_data::HostBatch;
use aweigh_detectors::{Assigned, Detector, DetectorConfig, Losses};
use aweigh_distributed::{Alone, ProcessGroup, sum_in_order};
use burn::module::Module;
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::{Device, Tensor};

use crate::batch::Batch;
use crate::clip::clip_gradients;
use crate::config::{Experiment, Precision};
use crate::distributed::{share_statistics, sum_gradients};
use crate::loss_scale::LossScale;
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
    /// The processes that have the other images of the batch.
    group: &'a dyn ProcessGroup,
    /// Gradients that are summed over them at once.
    bucket_values: usize,
    /// Whether norms of the network take the statistics of a batch.
    batch_statistics: bool,
    precision: Precision,
    /// The scale of the loss, in a precision that needs one.
    loss_scale: Option<&'a mut LossScale>,
}

impl<'a> StepContext<'a> {
    /// A step of an experiment at a learning rate, together with the processes of `group`.
    pub(crate) fn new(
        experiment: &'a Experiment,
        group: &'a dyn ProcessGroup,
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
            group,
            bucket_values: experiment.distributed.bucket_values(),
            batch_statistics: batch_statistics(&experiment.detector),
            precision: experiment.train.precision,
            loss_scale: None,
        }
    }

    /// A step of an experiment in one process.
    pub(crate) fn alone(
        experiment: &'a Experiment,
        device: &'a Device,
        optimizer: &'a mut Optimizer,
        lr: f64,
    ) -> Self {
        Self::new(experiment, &Alone, device, optimizer, lr)
    }

    /// With the loss scale of the run.
    pub(crate) fn with_loss_scale(self, loss_scale: Option<&'a mut LossScale>) -> Self {
        Self { loss_scale, ..self }
    }
}

/// What a step gives.
pub(crate) struct Stepped {
    pub(crate) model: Detector,
    /// `loss`, its parts, `positives` and, with clipping, `grad_norm`, of the images of all processes:
    /// each `[1]`, without autodiff.
    pub(crate) scalars: Vec<(String, Tensor<1>)>,
    /// Time spent with the sums over all processes, waiting for the others included.
    pub(crate) reducing: Duration,
    /// Whether the weights are as before, since gradients in half precision were not finite; then
    /// `grad_norm` is 0.
    pub(crate) skipped: bool,
}

/// Whether norms of a network take the statistics of a batch, which is the one thing that parts of a
/// batch change.
pub(crate) fn batch_statistics(detector: &DetectorConfig) -> bool {
    let norms = [Some(detector.backbone.norm()), detector.neck.norm.as_ref()];
    let mut norms = norms.into_iter().flatten();
    norms.any(|norm| *norm == NormConfig::BatchNorm)
}

/// Forward, losses, backward, clipping and one step of the optimiser. In one process nothing is read
/// back from the device, but in half precision whether the gradients are finite; several add up what
/// losses are divided by, and their gradients.
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
    let mut model = model;
    let mut computed = compute(&context, &model, host, &mut phase_ends);
    if context.group.size() > 1 {
        model = reduce(&context, model, &mut computed);
        phase_ends("reduce");
    }
    update(context, model, computed, phase_ends)
}

/// What a process has computed of a step.
struct Computed {
    gradients: GradientsParams,
    scalars: Vec<(String, Tensor<1>)>,
    reducing: Duration,
}

/// Forward, losses and backward on the images of this process.
fn compute(
    context: &StepContext<'_>,
    model: &Detector,
    host: HostBatch,
    phase_ends: &mut impl FnMut(&'static str),
) -> Computed {
    let mut reducing = Duration::ZERO;
    // Else an empty image goes through the network, so that all processes do the same.
    let counts = !host.stand_in;
    let size = context.micro_batch_size.unwrap_or(usize::MAX);
    let parts = host.split(size).into_iter();
    let parts: Vec<Batch> = parts
        .map(|part| context.precision.apply(Batch::upload(part, context.device)))
        .collect();
    phase_ends("upload");
    let of_parts = match &parts[..] {
        [_] => None,
        parts => Some(normalisers(context.detector, model, parts)),
    };
    let mut over_all = |own: Tensor<1>| {
        let (sum, time) = over_all(context.group, own, counts);
        reducing += time;
        sum
    };
    let mut normalisers = of_parts.map(&mut over_all);
    let mut scalars = Vec::new();
    let mut gradients = GradientsAccumulator::new();
    for part in parts {
        let assigned = assign(model, part, &mut *phase_ends);
        let normalisers = normalisers.get_or_insert_with(|| over_all(assigned.normalisers()));
        let losses = counted(assigned.losses(normalisers), counts);
        phase_ends("loss");
        add(&mut scalars, &losses);
        let total = LossScale::of_loss(context.loss_scale.as_deref(), losses.total);
        let of_part = GradientsParams::from_grads(total.backward(), model);
        gradients.accumulate(model, of_part);
        phase_ends("backward");
    }
    Computed {
        gradients: gradients.grads(),
        scalars,
        reducing,
    }
}

/// Adds up over all processes what each has computed.
fn reduce(context: &StepContext<'_>, model: Detector, computed: &mut Computed) -> Detector {
    wait_for(context.device);
    let started = Instant::now();
    let gradients = std::mem::take(&mut computed.gradients);
    let scalars = &mut computed.scalars;
    computed.gradients = sum_gradients(
        context.group,
        &model,
        gradients,
        scalars,
        context.bucket_values,
    );
    let model = match context.batch_statistics {
        true => share_statistics(context.group, model),
        false => model,
    };
    computed.reducing += started.elapsed();
    model
}

/// Clipping and one step of the optimiser, unless gradients in half precision are not finite.
fn update(
    context: StepContext<'_>,
    model: Detector,
    computed: Computed,
    mut phase_ends: impl FnMut(&'static str),
) -> Stepped {
    let Computed {
        mut gradients,
        mut scalars,
        reducing,
    } = computed;
    if let Some(scale) = context.loss_scale {
        let unscaled = scale.unscale(&model, gradients, context.device);
        phase_ends("unscale");
        let Some(unscaled) = unscaled else {
            let zero = Tensor::zeros([1], &context.device.clone().inner());
            scalars.extend(context.clip_norm.map(|_| ("grad_norm".to_owned(), zero)));
            return Stepped {
                model,
                scalars,
                reducing,
                skipped: true,
            };
        };
        gradients = unscaled;
    }
    if let Some(max_norm) = context.clip_norm {
        let (clipped, norm) = clip_gradients(&model, gradients, max_norm, context.device);
        scalars.push(("grad_norm".to_owned(), norm));
        gradients = clipped;
        phase_ends("clip");
    }
    let model = context.optimizer.step(context.lr, model, gradients);
    phase_ends("optimizer");
    Stepped {
        model,
        scalars,
        reducing,
        skipped: false,
    }
}

/// What the losses of the images of all processes are divided by, from what those of this one are,
/// and how long the others took.
fn over_all(group: &dyn ProcessGroup, own: Tensor<1>, counts: bool) -> (Tensor<1>, Duration) {
    if group.size() == 1 {
        return (own, Duration::ZERO);
    }
    let device = own.device();
    let mut values = own.into_data().iter::<f32>().collect::<Vec<f32>>();
    if !counts {
        values.fill(0.0);
    }
    let started = Instant::now();
    let sums = sum_in_order(group, &values);
    (Tensor::from_floats(&sums[..], &device), started.elapsed())
}

/// Waits until a device has done what it was told, so that its time is not taken for that of the sums
/// that follow. A device that fails says so at the next operation.
fn wait_for(device: &Device) {
    if let Err(error) = device.sync() {
        tracing::debug!("{error}");
    }
}

/// The losses, or zeros in their place where their images do not count.
fn counted(losses: Losses, counts: bool) -> Losses {
    if counts {
        return losses;
    }
    let parts = losses.parts.into_iter();
    Losses {
        total: losses.total * 0.0,
        parts: parts.map(|(name, part)| (name, part * 0.0)).collect(),
        positives: losses.positives * 0.0,
    }
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

/// The predictions for a batch, or for a part of one, with their targets.
fn assign(
    model: &Detector,
    batch: Batch,
    mut phase_ends: impl FnMut(&'static str),
) -> Box<dyn Assigned> {
    let features = model.features(batch.images);
    phase_ends("backbone");
    let predictions = model.predict(features);
    phase_ends("head");
    let assigned = predictions.assign(&batch.truth);
    phase_ends("assign");
    assigned
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

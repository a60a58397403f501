//! One step of training, for the trainer and for the benchmark.

use aweigh_data::HostBatch;
use aweigh_detectors::Detector;
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor};

use crate::batch::Batch;
use crate::clip::clip_gradients;
use crate::optimizer::Optimizer;

/// What a step needs besides the model and the batch.
pub(crate) struct StepContext<'a> {
    pub(crate) device: &'a Device,
    pub(crate) optimizer: &'a mut Optimizer,
    pub(crate) lr: f64,
    /// The largest norm of all gradients together, if they are clipped.
    pub(crate) clip_norm: Option<f64>,
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
/// owner. `phase_ends` is told the name of each phase when all of its work has been issued.
pub(crate) fn train_step(
    context: StepContext<'_>,
    model: Detector,
    host: HostBatch,
    mut phase_ends: impl FnMut(&'static str),
) -> Stepped {
    let batch = Batch::upload(host, context.device);
    phase_ends("upload");
    let features = model.features(batch.images);
    phase_ends("backbone");
    let predictions = model.predict(features);
    phase_ends("head");
    let assigned = predictions.assign(&batch.truth);
    phase_ends("assign");
    let losses = assigned.losses();
    phase_ends("loss");

    let mut scalars = vec![("loss".to_owned(), losses.total.clone().inner())];
    let parts = losses.parts.into_iter();
    scalars.extend(parts.map(|(name, part)| (name.to_owned(), part.inner())));
    scalars.push(("positives".to_owned(), losses.positives.inner()));
    let mut gradients = GradientsParams::from_grads(losses.total.backward(), &model);
    phase_ends("backward");
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

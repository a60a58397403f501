//! From an experiment to a trainer.

use std::path::Path;
use std::sync::Arc;

use aweigh_data::{CocoDataset, Loader, Purpose, synth};
use aweigh_detectors::Detector;
use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Tensor};

use super::{Clock, Trainer};
use crate::TrainError;
use crate::checkpoint::RunState;
use crate::config::{Experiment, Span};
use crate::evaluate::Validation;
use crate::look;
use crate::model::{classes, fresh, load, load_pretrained, match_classes};
use crate::optimizer::Optimizer;
use crate::pictures;
use crate::run_folder::RunFolder;
use crate::schedule::{RunLength, Schedule};
use crate::window::Window;

impl Trainer {
    /// Starts a run in the folder `run.dir` of the experiment.
    ///
    /// Makes the synthetic dataset where the experiment asks for it, and fills in the number of
    /// classes.
    ///
    /// # Errors
    ///
    /// When data, weights or the folder cannot be used.
    pub fn new(experiment: Experiment, device: &Device) -> Result<Self, TrainError> {
        let mut experiment = experiment;
        let folder = RunFolder::vacant(experiment.run_dir())?;
        let dataset = open_data(&mut experiment)?;
        let state = RunState::new(classes(&dataset));
        let loader = loader(&experiment, dataset)?;
        let trainer = Self::assemble(experiment, folder, loader, state, device)?;
        trainer.folder.create(&trainer.experiment)?;
        Ok(trainer)
    }

    /// Continues the run in `folder` from its latest checkpoint.
    ///
    /// `experiment` is the folder's own, [`RunFolder::experiment`], with another device or number
    /// of workers if the user asked for them; the run then still continues exactly, but for the
    /// rounding of another device.
    ///
    /// # Errors
    ///
    /// When there is no checkpoint, it is damaged, or the data has changed its classes.
    pub fn resume(
        experiment: Experiment,
        folder: RunFolder,
        device: &Device,
    ) -> Result<Self, TrainError> {
        let mut experiment = experiment;
        let checkpoint = folder.last_checkpoint()?;
        let state = checkpoint.state()?;
        let optimizer = checkpoint.optimizer()?;
        let mut dataset = open_data(&mut experiment)?;
        match_classes(&mut dataset, &state.classes, "the checkpoint")?;
        let loader = loader(&experiment, dataset)?;
        folder.rewind_metrics(state.iteration)?;
        let mut trainer = Self::assemble(experiment, folder, loader, state, device)?;
        let model = load(trainer.take_model(), checkpoint.dir())?;
        let loaded = trainer.optimizer.load(&model, optimizer);
        loaded.map_err(|reason| checkpoint.foreign_optimizer(reason))?;
        trainer.model = Some(model);
        Ok(trainer)
    }

    fn assemble(
        experiment: Experiment,
        folder: RunFolder,
        loader: Loader,
        state: RunState,
        device: &Device,
    ) -> Result<Self, TrainError> {
        let device = device.clone().inner();
        let data = &experiment.data;
        let validation = data.val.as_ref();
        let validation = validation.map(|_| Validation::open(&experiment, &state.classes));
        let validation = look::both(loader.dataset(), validation, data.on_bad_image)?;
        pictures::look(&experiment, &loader, validation.as_ref())?;
        let train = &experiment.train;
        let model = fresh(
            &experiment.detector,
            experiment.seed,
            &device.clone().autodiff(),
        )?;
        let model = load_pretrained(model, train)?;
        warn_of_frozen_random_weights(&experiment);
        let length = length(&experiment, loader.batches_per_epoch());
        Ok(Self {
            schedule: Schedule::new(&train.schedule, train.lr, length),
            optimizer: Optimizer::new(&train.optimizer),
            window: Window::restore(&state.window, &device),
            model: Some(model),
            clock: Clock::start(),
            experiment,
            folder,
            device,
            loader,
            validation,
            length,
            state,
        })
    }

    fn take_model(&mut self) -> Detector {
        self.model.take().expect("the model is there between steps")
    }
}

/// Makes the synthetic dataset if it is wanted and absent, opens the training set, and settles the
/// number of classes.
fn open_data(experiment: &mut Experiment) -> Result<CocoDataset, TrainError> {
    make_synthetic(experiment)?;
    let mut dataset = CocoDataset::open(&experiment.data.train_set(), Purpose::Train)?;
    pictures::settle_range(&mut experiment.data, &mut dataset)?;
    let found = dataset.classes().len();
    match experiment.detector.num_classes {
        Some(configured) if configured != found => {
            return Err(TrainError::NumClasses {
                configured,
                annotations: dataset.annotations().into(),
                found,
            });
        }
        _ => experiment.detector.num_classes = Some(found),
    }
    Ok(dataset)
}

fn loader(experiment: &Experiment, dataset: CocoDataset) -> Result<Loader, TrainError> {
    let data = &experiment.data;
    let config = data.loader(experiment.train.batch_size, experiment.seed.into());
    Ok(Loader::train(
        Arc::new(dataset),
        data.transform.clone(),
        config,
    )?)
}

/// Makes the synthetic dataset of an experiment where there is none.
///
/// # Errors
///
/// When it cannot be written.
pub(crate) fn make_synthetic(experiment: &Experiment) -> Result<(), TrainError> {
    let Some(synthetic) = &experiment.data.synth else {
        return Ok(());
    };
    let out: &Path = &synthetic.out;
    if !out.exists() {
        tracing::info!("making the synthetic dataset {}", out.display());
        synth::generate(&synthetic.config(), out)?;
    }
    Ok(())
}

fn length(experiment: &Experiment, per_epoch: usize) -> RunLength {
    let total = match experiment.train.length() {
        Span::Epochs(epochs) => epochs * per_epoch,
        Span::Iterations(iterations) => iterations,
    };
    RunLength { total, per_epoch }
}

fn warn_of_frozen_random_weights(experiment: &Experiment) {
    let train = &experiment.train;
    let random = train.backbone_weights.is_none() && train.weights.is_none();
    if random && experiment.detector.backbone.frozen_stages >= 0 {
        tracing::warn!(
            "the backbone starts from random weights, of which detector.backbone.frozen_stages = \
             {} keeps a part untrained: set train.backbone_weights, or frozen_stages = -1 and a \
             norm that is trained",
            experiment.detector.backbone.frozen_stages
        );
    }
}

/// Number of parameters that training changes.
pub(super) fn trainable_parameters<M: Module>(model: &M) -> usize {
    struct Counter(usize);
    impl ModuleVisitor for Counter {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if param.is_require_grad() {
                self.0 += param.lazy_shape().num_elements();
            }
        }
    }
    let mut counter = Counter(0);
    model.visit(&mut counter);
    counter.0
}

//! From an experiment to a trainer.

use std::rc::Rc;
use std::sync::Arc;

use aweigh_data::annotations::AnnotationFile;
use aweigh_data::{CocoDataset, Loader, Purpose};
use aweigh_detectors::Detector;
use aweigh_distributed::{Alone, Group, ProcessGroup};
use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Tensor};

use super::{Clock, Trainer};
use crate::TrainError;
use crate::batches::{Batches, Position};
use crate::checkpoint::RunState;
use crate::config::{Experiment, Span, StartsFrom};
use crate::data_record::{AnnotationsRecord, DataRecord};
use crate::distributed::{check_same_run, check_same_weights, in_first, share_of, together};
use crate::ema::Ema;
use crate::evaluate::Validation;
use crate::files::same_file;
use crate::freeze::{Freezer, trainable_names};
use crate::learnable;
use crate::look;
use crate::loss_scale::LossScale;
use crate::model::{classes, fresh, load_pretrained, num_classes, shorten};
use crate::optimizer::Optimizer;
use crate::pictures;
use crate::run_folder::{RunFolder, RunLock};
use crate::schedule::{RunLength, Schedule};
use crate::step::batch_statistics;
use crate::synthetic::make_synthetic;
use crate::weights::check_weights_exist;
use crate::window::Window;

impl Trainer {
    /// Starts a run in the folder `run.dir` of the experiment.
    ///
    /// Makes the synthetic dataset where the experiment asks for it, and fills in the number of
    /// classes.
    ///
    /// # Errors
    ///
    /// When data, weights or the folder cannot be used, or another process writes to the folder.
    pub fn new(experiment: Experiment, device: &Device) -> Result<Self, TrainError> {
        Self::new_among(experiment, device, Rc::new(Alone))
    }

    /// As [`new`](Self::new), in one of several processes that train together. All of them call it,
    /// each with a device of its own; `train.batch_size` is the number of images in each.
    ///
    /// # Errors
    ///
    /// As of [`new`](Self::new), and when another process has an error or trains something else: on
    /// all processes.
    pub fn new_among(
        experiment: Experiment,
        device: &Device,
        group: Group,
    ) -> Result<Self, TrainError> {
        let (setup, folder) = Setup::fresh(experiment, device, group)?;
        setup.check_others()?;
        let group = Rc::clone(&setup.group);
        let lock = in_first(&*group, || folder.create(&setup.experiment))?;
        Ok(setup.into_trainer(folder, lock))
    }
}

/// The training set of a run.
pub(super) struct TrainSet {
    pub(super) dataset: CocoDataset,
    /// The one of its annotation files that the validation set has as well.
    shared: Option<AnnotationFile>,
}

impl TrainSet {
    /// Opens the training set.
    ///
    /// # Errors
    ///
    /// When it cannot be used.
    pub(super) fn open(experiment: &mut Experiment) -> Result<Self, TrainError> {
        let val = experiment.data.val.as_ref();
        let named = |error| TrainError::of_split(error, "data.train");
        let (mut datasets, mut shared) = (Vec::new(), None);
        for config in experiment.data.train_sets() {
            let file = AnnotationFile::read(&config.annotations).map_err(named)?;
            let dataset = CocoDataset::from_file(&file, &config, Purpose::Train);
            datasets.push(dataset.map_err(named)?);
            if val.is_some_and(|val| same_file(&val.annotations, &config.annotations)) {
                shared = Some(file);
            }
        }
        let mut dataset = CocoDataset::concat(datasets)?;
        pictures::settle_range(&mut experiment.data, &mut dataset)?;
        Ok(Self { dataset, shared })
    }
}

/// A run that is checked, but for its weights, and has no folder yet.
pub(super) struct Setup {
    pub(super) experiment: Experiment,
    pub(super) state: RunState,
    /// With random weights, on an autodiff device.
    pub(super) model: Detector,
    pub(super) optimizer: Optimizer,
    pub(super) ema: Option<Ema>,
    /// Without autodiff.
    pub(super) device: Device,
    pub(super) loader: Loader,
    pub(super) validation: Option<Validation>,
    pub(super) group: Group,
}

impl Setup {
    /// A run that is yet to start, with the weights that it starts from, and its vacant folder.
    ///
    /// # Errors
    ///
    /// When data, weights or the folder cannot be used.
    pub(super) fn fresh(
        experiment: Experiment,
        device: &Device,
        group: Group,
    ) -> Result<(Self, RunFolder), TrainError> {
        make_data(&experiment, &*group)?;
        let opened = Self::open_fresh(experiment, device, &group);
        together(&*group, opened)
    }

    fn open_fresh(
        experiment: Experiment,
        device: &Device,
        group: &Group,
    ) -> Result<(Self, RunFolder), TrainError> {
        let mut experiment = experiment;
        experiment.train.precision.check(device)?;
        let folder = RunFolder::vacant(experiment.run_dir())?;
        check_weights_exist(&experiment)?;
        let train = TrainSet::open(&mut experiment)?;
        let state = RunState::new(classes(&train.dataset));
        let mut setup = Self::open(experiment, train, state, device, group)?;
        let (experiment, classes) = (&setup.experiment, &setup.state.classes);
        setup.model = load_pretrained(setup.model, experiment, classes)?;
        setup.start_ema(0);
        learnable::warn(&setup.experiment, setup.loader.dataset())?;
        Ok((setup, folder))
    }

    /// Opens the validation set, looks at the pictures of both sets, and makes the model for the
    /// classes of the training set.
    ///
    /// # Errors
    ///
    /// When data cannot be used or the model cannot be built.
    pub(super) fn open(
        mut experiment: Experiment,
        train: TrainSet,
        mut state: RunState,
        device: &Device,
        group: &Group,
    ) -> Result<Self, TrainError> {
        let TrainSet { dataset, shared } = train;
        let loader = open_loader(&mut experiment, dataset, group.size())?;
        let device = device.clone().inner();
        let data = &experiment.data;
        let validation = data.val.as_ref().map(|_| match &shared {
            Some(file) => Validation::from_file(file, &experiment, &state.classes),
            None => Validation::open(&experiment, &state.classes),
        });
        // All that is needed of it has been taken out, and it may be large.
        drop(shared);
        let validation = look::both(loader.dataset(), validation, data.on_bad_image)?;
        pictures::look(&experiment, &loader, validation.as_ref())?;
        let model = fresh(
            &experiment.detector,
            experiment.seed,
            &device.clone().autodiff(),
        )?;
        warn_of_frozen_random_weights(&experiment);
        warn_of_statistics_of_parts(&experiment, group.size());
        check_patterns(&experiment, &trainable_names(&model))?;
        let precision = experiment.train.precision;
        state.loss_scale = LossScale::of_run(precision, state.loss_scale);
        state.data = Some(data_record(&loader, validation.as_ref()));
        state.processes = group.size();
        Ok(Self {
            group: Rc::clone(group),
            optimizer: Optimizer::new(&experiment.train.optimizer),
            ema: None,
            experiment,
            state,
            model,
            device,
            loader,
            validation,
        })
    }

    /// Has a moving average, if there is to be one, start at the model as it is now.
    pub(super) fn start_ema(&mut self, steps: usize) {
        let config = self.experiment.train.ema;
        self.ema = config.map(|config| Ema::new(config, self.model.valid(), steps));
    }

    /// Checks that all processes are about to train the same, with the same weights.
    ///
    /// # Errors
    ///
    /// When they are not; on all processes.
    pub(super) fn check_others(&self) -> Result<(), TrainError> {
        let (group, iteration) = (&*self.group, self.state.iteration);
        check_same_run(group, &self.experiment, self.state.data.as_ref(), iteration)?;
        check_same_weights(group, &self.model, iteration)
    }

    /// The trainer of the run, which writes to `folder` where it has the right to.
    pub(super) fn into_trainer(self, folder: RunFolder, lock: Option<RunLock>) -> Trainer {
        let train = &self.experiment.train;
        let length = length(&self.experiment, self.loader.batches_per_epoch());
        let position = Position {
            epoch: self.state.epoch,
            batch: self.state.batch,
        };
        Trainer {
            schedule: Schedule::new(&train.schedule, train.scaled_lr(self.group.size()), length),
            freezer: Freezer::new(train.freeze.clone()),
            ema: self.ema,
            window: Window::restore(&self.state.window, &self.device),
            batches: Batches::new(self.loader, position, share_of(&*self.group)),
            clock: Clock::start(),
            saved: self.state.iteration,
            experiment: self.experiment,
            folder,
            lock,
            group: self.group,
            device: self.device,
            validation: self.validation,
            model: self.model,
            optimizer: self.optimizer,
            length,
            state: self.state,
        }
    }
}

/// Makes the synthetic dataset if one is asked for and absent, in the first process alone.
pub(super) fn make_data(
    experiment: &Experiment,
    group: &dyn ProcessGroup,
) -> Result<(), TrainError> {
    in_first(group, || make_synthetic(experiment)).map(|_| ())
}

/// Settles the number of classes and gives the batches of the training set for so many processes.
fn open_loader(
    experiment: &mut Experiment,
    dataset: CocoDataset,
    processes: usize,
) -> Result<Loader, TrainError> {
    let classes = num_classes(&experiment.detector, &dataset)?;
    experiment.detector.num_classes = Some(classes);
    let data = &experiment.data;
    let images = experiment.train.batch_size * processes;
    let config = data.loader(images, experiment.seed.into());
    Ok(Loader::train(
        Arc::new(dataset),
        data.transform.clone(),
        config,
    )?)
}

fn data_record(loader: &Loader, val: Option<&Validation>) -> DataRecord {
    let (train, more_train) = AnnotationsRecord::of(loader.dataset());
    DataRecord {
        train,
        more_train,
        val: val.map(|val| AnnotationsRecord::of(val.dataset()).0),
        batches_per_epoch: loader.batches_per_epoch(),
    }
}

pub(super) fn length(experiment: &Experiment, per_epoch: usize) -> RunLength {
    let total = match experiment.train.length() {
        Span::Epochs(epochs) => epochs * per_epoch,
        Span::Iterations(iterations) => iterations,
    };
    RunLength { total, per_epoch }
}

/// Checks that every pattern of the configuration is that of a parameter.
fn check_patterns(experiment: &Experiment, names: &[String]) -> Result<(), TrainError> {
    let train = &experiment.train;
    let groups = train.optimizer.groups.iter().map(|group| &group.pattern);
    let frozen = train.freeze.iter().map(|freeze| &freeze.pattern);
    let all = groups
        .map(|pattern| ("train.optimizer.groups", pattern))
        .chain(frozen.map(|pattern| ("train.freeze", pattern)));
    for (key, pattern) in all {
        if !names.iter().any(|name| pattern.matches(name)) {
            return Err(TrainError::NoParameter {
                key,
                pattern: pattern.to_string(),
                examples: shorten(names.to_vec()),
            });
        }
    }
    Ok(())
}

fn warn_of_frozen_random_weights(experiment: &Experiment) {
    let random = experiment.starts_from() == StartsFrom::Random;
    let frozen = experiment.detector.backbone.frozen_stages();
    if random && let Some(stages) = frozen {
        tracing::warn!(
            "the backbone starts from random weights, of which detector.backbone.frozen_stages = \
             {stages} keeps a part untrained: set model.weights.backbone, or frozen_stages = -1 \
             and a norm that is trained"
        );
    }
}

/// Norms with the statistics of a batch are the one thing that parts of a batch change.
fn warn_of_statistics_of_parts(experiment: &Experiment, processes: usize) {
    if !batch_statistics(&experiment.detector) {
        return;
    }
    let train = &experiment.train;
    let (all, size) = (train.batch_size, train.micro_batch_size);
    if let Some(size) = size.filter(|size| *size < all) {
        tracing::warn!(
            "train.micro_batch_size = {size}: batch norm takes the statistics of {size} images, not \
             of all {all}; frozen_bn and group_norm train as with the whole batch"
        );
    } else if processes > 1 {
        tracing::warn!(
            "batch norm takes the statistics of the {all} images of each process, not of all {}, \
             and the running ones are those of the first process; frozen_bn and group_norm train as \
             in one process",
            all * processes
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

//! A run in little, which writes nothing.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Instant;

use aweigh_data::Share;
use aweigh_distributed::Alone;
use burn::module::Module;
use burn::tensor::Device;

use super::Trainer;
use super::setup::{Setup, length, trainable_parameters};
use crate::TrainError;
use crate::batches::{Batches, Position};
use crate::bench::peak_rss_mib;
use crate::config::{Experiment, Span};
use crate::parameters::named_tensors;
use crate::progress::{Progress, Start};
use crate::run_folder::RunFolder;
use crate::schedule::Schedule;
use crate::step::{StepContext, train_step};
use crate::window::Window;

/// Steps of a rehearsal. Memory is taken in the first; the time is that of the last.
const STEPS: usize = 2;

/// Images of its evaluation.
const IMAGES: usize = 8;

/// What a run would be like.
#[derive(Debug, Clone)]
pub struct Rehearsal {
    /// The experiment with every value filled in.
    pub experiment: Experiment,
    /// The size of the run.
    pub start: Start,
    /// Mean losses of the steps.
    pub losses: BTreeMap<String, f64>,
    /// Seconds of a step, loading included.
    pub step_s: f64,
    /// The evaluation, if the run has a validation set.
    pub evaluation: Option<RehearsedEvaluation>,
    /// Largest resident memory of the process in MiB, where the system tells it.
    pub peak_rss_mib: Option<f64>,
    /// Size of a checkpoint to resume from, in MiB.
    pub checkpoint_mib: f64,
    /// The folder that the run would write.
    pub folder: PathBuf,
}

/// An evaluation of the first images of the validation set.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RehearsedEvaluation {
    /// Images of the rehearsal.
    pub images: usize,
    /// Images of the validation set.
    pub all: usize,
    /// Seconds of an evaluation of all, by that of some.
    pub seconds: f64,
}

impl Rehearsal {
    /// Seconds of the steps of an epoch.
    pub fn epoch_s(&self) -> f64 {
        self.step_s * self.start.per_epoch as f64
    }

    /// Seconds of the run, evaluations included.
    pub fn total_s(&self) -> f64 {
        let train = &self.experiment.train;
        let steps = match train.eval_every() {
            Span::Epochs(epochs) => epochs * self.start.per_epoch,
            Span::Iterations(iterations) => iterations,
        };
        // One at the end, whatever the interval.
        let evaluations = self.start.total.checked_div(steps).unwrap_or(0).max(1);
        let evaluation = self.evaluation.map_or(0.0, |evaluation| evaluation.seconds);
        self.step_s * self.start.total as f64 + evaluation * evaluations as f64
    }
}

impl Trainer {
    /// Opens and checks everything that a run needs, does a few steps and evaluates a few images.
    /// Nothing is written, but for a synthetic dataset that is not there yet.
    ///
    /// # Errors
    ///
    /// When [`new`](Self::new) would fail, an image cannot be read, or a loss is not finite.
    pub fn rehearse(
        experiment: Experiment,
        device: &Device,
        progress: &mut dyn Progress,
    ) -> Result<Rehearsal, TrainError> {
        let (setup, folder) = Setup::fresh(experiment, device, Rc::new(Alone))?;
        setup.rehearse(folder, progress)
    }
}

impl Setup {
    fn rehearse(
        mut self,
        folder: RunFolder,
        progress: &mut dyn Progress,
    ) -> Result<Rehearsal, TrainError> {
        let start = self.start();
        progress.on_start(&start);
        let mut batches = Batches::new(self.loader.clone(), Position::default(), Share::default());
        let (mut window, mut step_s) = (Window::default(), 0.0);
        for step in 0..STEPS {
            let started = Instant::now();
            self = self.step(&mut batches, &mut window, step)?;
            // Waits for the device.
            let not_finite = window.read().not_finite();
            step_s = started.elapsed().as_secs_f64();
            if !not_finite.is_empty() {
                return Err(TrainError::NotFinite {
                    iteration: step + 1,
                    parts: not_finite,
                });
            }
        }
        let evaluation = self.evaluate_some(progress)?;
        let bytes = |tensors: BTreeMap<String, burn::tensor::TensorData>| -> usize {
            tensors.values().map(|data| data.as_bytes().len()).sum()
        };
        let model = bytes(named_tensors(&self.model));
        let averages = if self.experiment.train.ema.is_some() {
            2
        } else {
            1
        };
        let checkpoint = averages * model + bytes(self.optimizer.state());
        Ok(Rehearsal {
            start,
            losses: window.read().means(),
            step_s,
            evaluation,
            peak_rss_mib: peak_rss_mib(),
            checkpoint_mib: checkpoint as f64 / f64::from(1 << 20),
            folder: folder.dir().to_path_buf(),
            experiment: self.experiment,
        })
    }

    fn start(&self) -> Start {
        let per_epoch = self.loader.batches_per_epoch();
        Start {
            iteration: 0,
            total: length(&self.experiment, per_epoch).total,
            per_epoch,
            images: self.loader.dataset().images().len(),
            classes: self.state.classes.len(),
            trainable_parameters: trainable_parameters(&self.model),
        }
    }

    fn step(
        mut self,
        batches: &mut Batches,
        window: &mut Window,
        iteration: usize,
    ) -> Result<Self, TrainError> {
        let train = &self.experiment.train;
        let length = length(&self.experiment, self.loader.batches_per_epoch());
        let lr = Schedule::new(&train.schedule, train.scaled_lr(1), length).lr(iteration);
        let context = StepContext::alone(&self.experiment, &self.device, &mut self.optimizer, lr)
            .with_loss_scale(self.state.loss_scale.as_mut());
        let stepped = train_step(context, self.model, batches.next_batch(&Alone)?, |_| {});
        self.model = stepped.model;
        window.add(stepped.scalars);
        Ok(self)
    }

    fn evaluate_some(
        &self,
        progress: &mut dyn Progress,
    ) -> Result<Option<RehearsedEvaluation>, TrainError> {
        let Some(validation) = &self.validation else {
            return Ok(None);
        };
        let started = Instant::now();
        let model = self.model.valid();
        let images = validation.run_some(&model, &self.device, progress, IMAGES)?;
        let share = validation.images() as f64 / images.max(1) as f64;
        Ok(Some(RehearsedEvaluation {
            images,
            all: validation.images(),
            seconds: share * started.elapsed().as_secs_f64(),
        }))
    }
}

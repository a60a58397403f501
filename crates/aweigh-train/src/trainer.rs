//! The training loop.

mod changes;
mod clock;
mod resume;
mod saving;
mod setup;

pub(crate) use setup::make_synthetic;

use std::sync::atomic::{AtomicBool, Ordering};

use aweigh_data::{HostBatch, Loader};
use aweigh_detectors::Detector;
use burn::optim::GradientsParams;
use burn::tensor::Device;

use crate::TrainError;
use crate::batch::Batch;
use crate::checkpoint::{Best, Checkpoint, RunState};
use crate::clip::clip_gradients;
use crate::config::{Experiment, Span};
use crate::evaluate::Validation;
use crate::optimizer::Optimizer;
use crate::progress::{Progress, Start};
use crate::run_folder::{RunFolder, RunLock};
use crate::schedule::{RunLength, Schedule};
use crate::window::Window;
use clock::Clock;

/// A run: everything that the loop needs.
#[derive(Debug)]
pub struct Trainer {
    experiment: Experiment,
    folder: RunFolder,
    /// Held from the start of the trainer to the end of its run.
    lock: Option<RunLock>,
    device: Device,
    loader: Loader,
    validation: Option<Validation>,
    /// Taken during a step only: its tensors must have one owner to be changed in place.
    model: Option<Detector>,
    optimizer: Optimizer,
    schedule: Schedule,
    length: RunLength,
    state: RunState,
    /// Completed iterations of the latest checkpoint.
    saved: usize,
    window: Window,
    clock: Clock,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// All iterations are done.
    Finished {
        /// The best evaluation, if there was one.
        best: Option<Best>,
    },
    /// It was asked to stop; the latest checkpoint continues it.
    Interrupted {
        /// Completed iterations.
        iteration: usize,
        /// The latest checkpoint.
        checkpoint: Checkpoint,
    },
}

impl Trainer {
    /// Trains to the end, or until `interrupt` becomes true.
    ///
    /// When it returns, the run folder is free for another process. An error leaves a checkpoint of
    /// the last completed step, unless that cannot be written or its loss is not finite.
    ///
    /// # Errors
    ///
    /// When a loss is not finite, an image cannot be read, a file cannot be written, or another
    /// process writes to the run folder.
    pub fn run(
        &mut self,
        progress: &mut dyn Progress,
        interrupt: &AtomicBool,
    ) -> Result<Outcome, TrainError> {
        if self.lock.is_none() {
            self.lock = Some(self.folder.lock()?);
        }
        let outcome = self.train(progress, interrupt);
        if let Err(error) = &outcome {
            self.rescue(error, progress);
        }
        self.lock = None;
        outcome
    }

    fn train(
        &mut self,
        progress: &mut dyn Progress,
        interrupt: &AtomicBool,
    ) -> Result<Outcome, TrainError> {
        progress.on_start(&self.start());
        let mut interrupted = self.catch_up(progress, interrupt)?;
        self.clock = Clock::start();
        while !interrupted && !self.finished() {
            interrupted = self.epoch(progress, interrupt)?;
        }
        if interrupted {
            let checkpoint = self.checkpoint_here(progress)?;
            let iteration = self.state.iteration;
            return Ok(Outcome::Interrupted {
                iteration,
                checkpoint,
            });
        }
        let best = self.state.best;
        Ok(Outcome::Finished { best })
    }

    /// Trains to the end of an epoch, or of the run. True when it was interrupted.
    fn epoch(
        &mut self,
        progress: &mut dyn Progress,
        interrupt: &AtomicBool,
    ) -> Result<bool, TrainError> {
        let (epoch, first) = (self.state.epoch, self.state.batch);
        let before = self.state.iteration;
        let mut batches = self.loader.epoch(epoch as u64, first);
        while let Some(batch) = self.clock.loading(|| batches.next()) {
            let batch = batch?;
            self.state.batch = batch.index + 1;
            self.step(batch);
            progress.on_step(self.state.iteration);
            if self.state.batch >= self.length.per_epoch {
                self.end_epoch();
            }
            if self.settle(progress, interrupt)? {
                return Ok(true);
            }
            if self.finished() {
                return Ok(false);
            }
            if interrupt.load(Ordering::Relaxed) {
                return Ok(true);
            }
            if self.state.epoch > epoch {
                return Ok(false);
            }
        }
        if self.state.iteration == before && first == 0 {
            let annotations = self.loader.dataset().annotations().into();
            return Err(TrainError::NoBatches { epoch, annotations });
        }
        // The last batches of the epoch held unreadable images only.
        self.end_epoch();
        self.settle(progress, interrupt)
    }

    /// One optimiser step. Waits for the loader, not for the device.
    fn step(&mut self, host: HostBatch) {
        let images = host.meta.len();
        let lr = self.schedule.lr(self.state.iteration);
        let batch = Batch::upload(host, &self.device);
        let model = self.model.take().expect("the model is there between steps");

        let losses = model.forward(batch.images).losses(&batch.truth);
        let mut scalars = vec![("loss".to_owned(), losses.total.clone().inner())];
        let parts = losses.parts.into_iter();
        scalars.extend(parts.map(|(name, part)| (name.to_owned(), part.inner())));
        scalars.push(("positives".to_owned(), losses.positives.inner()));

        let mut gradients = GradientsParams::from_grads(losses.total.backward(), &model);
        if let Some(max_norm) = self.experiment.train.clip_norm {
            let (clipped, norm) = clip_gradients(&model, gradients, max_norm, &self.device);
            scalars.push(("grad_norm".to_owned(), norm));
            gradients = clipped;
        }
        self.model = Some(self.optimizer.step(lr, model, gradients));
        self.window.add(scalars);
        self.state.iteration += 1;
        self.clock.step(images);
    }

    fn end_epoch(&mut self) {
        self.state.epoch += 1;
        self.state.batch = 0;
    }

    fn finished(&self) -> bool {
        match self.experiment.train.length() {
            Span::Epochs(epochs) => self.state.epoch >= epochs,
            Span::Iterations(iterations) => self.state.iteration >= iterations,
        }
    }

    /// Whether something that happens every `span`, and at the end, is due now.
    fn due(&self, span: Span) -> bool {
        self.finished()
            || match span {
                Span::Epochs(0) | Span::Iterations(0) => false,
                Span::Epochs(n) => self.state.batch == 0 && self.state.epoch.is_multiple_of(n),
                Span::Iterations(n) => self.state.iteration.is_multiple_of(n),
            }
    }

    /// Completed epochs with the fraction of the current one.
    fn epochs(&self) -> f64 {
        self.state.epoch as f64 + self.state.batch as f64 / self.length.per_epoch as f64
    }

    fn start(&self) -> Start {
        Start {
            iteration: self.state.iteration,
            total: self.length.total,
            per_epoch: self.length.per_epoch,
            images: self.loader.dataset().images().len(),
            classes: self.state.classes.len(),
            trainable_parameters: setup::trainable_parameters(&self.model),
        }
    }

    /// The run's folder.
    pub fn folder(&self) -> &RunFolder {
        &self.folder
    }

    /// The experiment with every value filled in.
    pub fn experiment(&self) -> &Experiment {
        &self.experiment
    }

    /// Where the run stands.
    pub fn state(&self) -> &RunState {
        &self.state
    }

    /// The model, on an autodiff device.
    ///
    /// # Panics
    ///
    /// Never between calls of [`Trainer::run`] that returned.
    pub fn model(&self) -> &Detector {
        self.model
            .as_ref()
            .expect("the model is there between steps")
    }
}

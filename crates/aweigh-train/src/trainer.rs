//! The training loop.

mod changes;
mod clock;
mod rehearsal;
mod resume;
mod saving;
mod setup;

use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};

use aweigh_data::HostBatch;
use aweigh_detectors::Detector;
use aweigh_distributed::{Group, any};
use burn::tensor::Device;

use crate::TrainError;
use crate::batches::{Advance, Batches};
use crate::checkpoint::{Best, Checkpoint, RunState};
use crate::config::{Experiment, Span};
use crate::distributed::{check_same_weights, in_first};
use crate::ema::Ema;
use crate::evaluate::Validation;
use crate::freeze::Freezer;
use crate::optimizer::Optimizer;
use crate::progress::{Progress, Start};
use crate::run_folder::{RunFolder, RunLock};
use crate::schedule::{RunLength, Schedule};
use crate::step::{StepContext, train_step};
use crate::window::Window;
use clock::Clock;

pub use rehearsal::{Rehearsal, RehearsedEvaluation};

/// A run: everything that the loop needs.
///
/// Several processes may train together. Each has a trainer of its own, with the same weights and
/// its part of every batch; the first one alone writes to the run's folder.
#[derive(Debug)]
pub struct Trainer {
    experiment: Experiment,
    folder: RunFolder,
    /// The right to write to the folder; none in processes other than the first.
    lock: Option<RunLock>,
    group: Group,
    device: Device,
    batches: Batches,
    validation: Option<Validation>,
    model: Detector,
    ema: Option<Ema>,
    optimizer: Optimizer,
    freezer: Freezer,
    schedule: Schedule,
    length: RunLength,
    state: RunState,
    /// Completed iterations of the latest checkpoint.
    saved: usize,
    window: Window,
    clock: Clock,
}

/// A run that has ended. Its folder is free for another process.
#[derive(Debug)]
pub struct Ended {
    /// How the run ended.
    ///
    /// An error is that of a loss that is not finite, an image that cannot be read, or a file that
    /// cannot be written. It leaves a checkpoint of the last completed step, unless that cannot be
    /// written or its loss is not finite.
    pub outcome: Result<Outcome, TrainError>,
    /// The run's folder.
    pub folder: RunFolder,
    /// Where the run stands.
    pub state: RunState,
    /// The model, on an autodiff device.
    pub model: Detector,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// All iterations are done, or the run got no better.
    Finished {
        /// The best evaluation, if there was one.
        best: Option<Best>,
        /// Whether it ended before its time, since it got no better.
        early: bool,
    },
    /// It was asked to stop; the latest checkpoint continues it.
    Interrupted {
        /// Completed iterations.
        iteration: usize,
        /// The latest checkpoint.
        checkpoint: Checkpoint,
    },
}

/// Whether training goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Signal {
    GoOn,
    /// It was asked to stop.
    Stop,
}

impl Trainer {
    /// Trains to the end, or until `interrupt` becomes true.
    #[must_use = "the run may have ended with an error"]
    pub fn run(mut self, progress: &mut dyn Progress, interrupt: &AtomicBool) -> Ended {
        progress.on_start(&self.start());
        let mut signal = self.catch_up(progress, interrupt);
        self.clock = Clock::start();
        while matches!(signal, Ok(Signal::GoOn)) && !self.finished() {
            self.model = self.freezer.apply(self.model, self.state.epoch);
            signal = match self.advance() {
                Ok(Some((batch, images))) => {
                    self = self.step(batch, images);
                    progress.on_step(self.state.iteration);
                    self.check_others()
                        .and_then(|()| self.settle(progress, interrupt))
                }
                Ok(None) => self.settle(progress, interrupt),
                Err(error) => Err(error),
            };
        }
        let outcome = signal.and_then(|signal| self.outcome(signal, progress));
        if let Err(error) = &outcome {
            self.rescue(error, progress);
        }
        Ended {
            outcome,
            folder: self.folder,
            state: self.state,
            model: self.model,
        }
    }

    fn outcome(
        &mut self,
        signal: Signal,
        progress: &mut dyn Progress,
    ) -> Result<Outcome, TrainError> {
        match signal {
            Signal::GoOn => Ok(Outcome::Finished {
                best: self.state.best,
                early: !self.at_end(),
            }),
            Signal::Stop => Ok(Outcome::Interrupted {
                checkpoint: self.checkpoint_here(progress)?,
                iteration: self.state.iteration,
            }),
        }
    }

    /// Moves on by one batch, which is none where the rest of an epoch cannot be read. Gives what this
    /// process has of it and its number of images in all processes.
    fn advance(&mut self) -> Result<Option<(HostBatch, usize)>, TrainError> {
        let (batches, group) = (&mut self.batches, &*self.group);
        let Advance {
            batch,
            images,
            position,
        } = self.clock.loading(|| batches.advance(group))?;
        self.state.epoch = position.epoch;
        self.state.batch = position.batch;
        Ok(batch.map(|batch| (batch, images)))
    }

    /// One optimiser step on a part of a batch of so many images. Waits for the loader and for other
    /// processes, not for the device.
    fn step(mut self, batch: HostBatch, images: usize) -> Self {
        let lr = self.schedule.lr(self.state.iteration);
        let (experiment, group) = (&self.experiment, &*self.group);
        let context = StepContext::new(experiment, group, &self.device, &mut self.optimizer, lr)
            .with_loss_scale(self.state.loss_scale.as_mut());
        let stepped = train_step(context, self.model, batch, |_| {});
        self.model = stepped.model;
        self.ema = self.ema.map(|ema| ema.follow(&self.model));
        self.window.add(stepped.scalars);
        if stepped.skipped {
            self.window.skip();
        }
        self.state.iteration += 1;
        self.clock.step(images, stepped.reducing);
        self
    }

    /// Checks now and then that all processes still have the same weights.
    fn check_others(&self) -> Result<(), TrainError> {
        let (every, iteration) = (
            self.experiment.distributed.check_every,
            self.state.iteration,
        );
        if every == 0 || !iteration.is_multiple_of(every) {
            return Ok(());
        }
        check_same_weights(&*self.group, &self.model, iteration)
    }

    /// Whether this process writes to the run's folder.
    fn writes(&self) -> bool {
        self.lock.is_some()
    }

    /// Does in the process that writes what the others do not, and has all fail if it does.
    fn alone<T>(
        &mut self,
        write: impl FnOnce(&mut Self) -> Result<T, TrainError>,
    ) -> Result<Option<T>, TrainError> {
        let group = Rc::clone(&self.group);
        in_first(&*group, || write(self))
    }

    /// Whether any process was asked to stop.
    fn asked_to_stop(&self, interrupt: &AtomicBool) -> bool {
        any(&*self.group, interrupt.load(Ordering::Relaxed))
    }

    /// Whether there is nothing left to train: everything that the configuration asks for is done, or
    /// the run got no better for so long that it ends early.
    fn finished(&self) -> bool {
        self.gets_no_better() || self.at_end()
    }

    /// Whether the run has had no better evaluation for so long that it ends early.
    fn gets_no_better(&self) -> bool {
        let stopping = self.experiment.train.early_stopping;
        stopping.is_some_and(|stop| self.state.evaluations_since_best >= stop.patience)
    }

    /// Whether everything that the configuration asks for is trained.
    pub fn at_end(&self) -> bool {
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
            images: self.batches.loader().dataset().images().len(),
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
    pub fn model(&self) -> &Detector {
        &self.model
    }
}

//! The training loop.

mod clock;
mod setup;

pub(crate) use setup::make_synthetic;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use aweigh_data::{HostBatch, Loader};
use aweigh_detectors::Detector;
use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::Device;
use serde_json::json;

use crate::TrainError;
use crate::batch::Batch;
use crate::checkpoint::{Best, Checkpoint, Contents, RunState};
use crate::clip::clip_gradients;
use crate::config::{Experiment, Span};
use crate::evaluate::Validation;
use crate::evaluation::save_results;
use crate::optimizer::Optimizer;
use crate::parameters::named_tensors;
use crate::progress::{CheckpointKind, EvalLog, Progress, Start, StepLog};
use crate::run_folder::RunFolder;
use crate::schedule::{RunLength, Schedule};
use crate::window::Window;
use clock::Clock;

/// A run: everything that the loop needs.
#[derive(Debug)]
pub struct Trainer {
    experiment: Experiment,
    folder: RunFolder,
    device: Device,
    loader: Loader,
    validation: Option<Validation>,
    /// Taken during a step only: its tensors must have one owner to be changed in place.
    model: Option<Detector>,
    optimizer: Optimizer,
    schedule: Schedule,
    length: RunLength,
    state: RunState,
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
    /// # Errors
    ///
    /// When a loss is not finite, an image cannot be read, or a file cannot be written.
    pub fn run(
        &mut self,
        progress: &mut dyn Progress,
        interrupt: &AtomicBool,
    ) -> Result<Outcome, TrainError> {
        progress.on_start(&self.start());
        self.clock = Clock::start();
        while !self.finished() {
            if self.epoch(progress, interrupt)? {
                let checkpoint = self.save_last(progress)?;
                let iteration = self.state.iteration;
                return Ok(Outcome::Interrupted {
                    iteration,
                    checkpoint,
                });
            }
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
            let lr = self.step(batch);
            progress.on_step(self.state.iteration);
            if self.state.batch >= self.length.per_epoch {
                self.end_epoch();
            }
            if self
                .state
                .iteration
                .is_multiple_of(self.experiment.train.log_every)
            {
                self.log(lr, progress)?;
            }
            self.evaluate_and_save(progress)?;
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
        self.evaluate_and_save(progress)?;
        Ok(false)
    }

    /// One optimiser step; returns the learning rate. Waits for the loader, not for the device.
    fn step(&mut self, host: HostBatch) -> f64 {
        let images = host.meta.len();
        let lr = self.schedule.lr(self.state.iteration);
        let batch = Batch::upload(host, &self.device);
        let model = self.model.take().expect("the model is there between steps");

        let losses = model.losses(model.forward(batch.images), &batch.truth);
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
        lr
    }

    /// Reports the means since the last report, and stops when one is not finite.
    fn log(&mut self, lr: f64, progress: &mut dyn Progress) -> Result<(), TrainError> {
        let sums = self.window.read();
        self.check_finite(sums.not_finite())?;
        self.window = Window::default();
        let timing = self
            .clock
            .lap(self.length.total.saturating_sub(self.state.iteration));
        let log = StepLog {
            iteration: self.state.iteration,
            total: self.length.total,
            epoch: self.epochs(),
            lr,
            means: sums.means(),
            images_per_s: timing.images_per_s,
            loading: timing.loading,
            eta_s: timing.eta_s,
        };
        self.folder.append_metrics(&json!({
            "iteration": log.iteration,
            "epoch": log.epoch,
            "lr": log.lr,
            "losses": log.means,
            "images_per_s": log.images_per_s,
            "loading": log.loading,
        }))?;
        progress.on_log(&log);
        Ok(())
    }

    /// Evaluates and writes checkpoints where one is due.
    fn evaluate_and_save(&mut self, progress: &mut dyn Progress) -> Result<(), TrainError> {
        let train = &self.experiment.train;
        let save = self.due(train.checkpoint_every());
        if self.due(train.eval_every()) && self.validation.is_some() {
            self.evaluate(progress)?;
        }
        if save {
            self.save_last(progress)?;
        }
        Ok(())
    }

    fn evaluate(&mut self, progress: &mut dyn Progress) -> Result<(), TrainError> {
        let (Some(validation), Some(model)) = (&self.validation, &self.model) else {
            return Ok(());
        };
        self.check_finite(self.window.read().not_finite())?;
        let started = Instant::now();
        let scored = validation.run(&model.valid(), &self.device, progress)?;
        let iteration = self.state.iteration;
        let ap = scored.evaluation.stats.ap;
        let best = self.state.best.is_none_or(|best| ap > best.ap);
        let name = |kind: &str| format!("{kind}-{iteration:08}.json");
        let folder = self.folder.evaluations();
        save_results(&folder.join(name("detections")), &scored.results)?;
        scored.evaluation.save(&folder.join(name("metrics")))?;
        self.folder.append_metrics(&json!({
            "iteration": iteration,
            "epoch": self.epochs(),
            "eval": scored.evaluation.stats,
        }))?;
        if best {
            self.state.best = Some(Best { ap, iteration });
            self.save_best(progress)?;
        }
        progress.on_eval(&EvalLog {
            iteration,
            epoch: self.epochs(),
            evaluation: scored.evaluation,
            best,
            seconds: started.elapsed().as_secs_f64(),
        });
        self.clock.exclude(started.elapsed());
        Ok(())
    }

    fn save_last(&mut self, progress: &mut dyn Progress) -> Result<Checkpoint, TrainError> {
        let started = Instant::now();
        self.state.window = self.window.read();
        self.check_finite(self.state.window.not_finite())?;
        let optimizer = self.optimizer.state();
        let contents = Contents {
            model: &named_tensors(&self.model),
            optimizer: Some(&optimizer),
            state: &self.state,
            config: &self.experiment.to_toml(),
        };
        let dir = self
            .folder
            .save_last(&contents, self.experiment.train.keep_last)?;
        progress.on_checkpoint(&dir, CheckpointKind::Last);
        self.clock.exclude(started.elapsed());
        Ok(Checkpoint::open(&dir)?)
    }

    fn save_best(&self, progress: &mut dyn Progress) -> Result<(), TrainError> {
        let contents = Contents {
            model: &named_tensors(&self.model),
            optimizer: None,
            state: &self.state,
            config: &self.experiment.to_toml(),
        };
        let dir = self.folder.save_best(&contents)?;
        progress.on_checkpoint(&dir, CheckpointKind::Best);
        Ok(())
    }

    fn check_finite(&self, parts: Vec<String>) -> Result<(), TrainError> {
        match parts.is_empty() {
            true => Ok(()),
            false => Err(TrainError::NotFinite {
                iteration: self.state.iteration,
                parts,
            }),
        }
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

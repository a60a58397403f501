//! What a run writes: lines of the log, checkpoints, evaluations.
//!
//! A line of the log is written first, then the checkpoint, then the evaluation is run. The
//! checkpoint says when its evaluation is not done, so that a run which ends in between, however it
//! ends, does it when it is resumed.

use std::sync::atomic::AtomicBool;
use std::time::Instant;

use burn::module::Module;
use serde_json::json;

use super::{Signal, Trainer};
use crate::TrainError;
use aweigh_detectors::Detector;

use crate::checkpoint::{Best, Checkpoint, Contents};
use crate::distributed::{check_same_weights, share_state};
use crate::ema::Ema;
use crate::evaluate::{Scan, Scored};
use crate::evaluation::{CocoResult, save_results};
use crate::loss_scale::LossScale;
use crate::parameters::named_tensors;
use crate::progress::{CheckpointKind, EvalLog, Progress, StepLog};
use crate::window::Window;

impl Trainer {
    /// Logs, saves and evaluates where it is due after a step. Says to stop if `interrupt` is true and
    /// the run is not finished.
    pub(super) fn settle(
        &mut self,
        progress: &mut dyn Progress,
        interrupt: &AtomicBool,
    ) -> Result<Signal, TrainError> {
        let train = &self.experiment.train;
        let save = self.due(train.checkpoint_every());
        self.state.evaluation_due = self.validation.is_some() && self.due(train.eval_every());
        if self.log_due() {
            self.log(progress)?;
        }
        if save || self.state.evaluation_due {
            check_same_weights(&*self.group, &self.model, self.state.iteration)?;
            self.alone(|trainer| trainer.save_last(progress))?;
        }
        let signal = self.evaluate(progress, interrupt)?;
        // A finished run has nothing to stop.
        if self.asked_to_stop(interrupt) && !self.finished() {
            return Ok(Signal::Stop);
        }
        Ok(signal)
    }

    /// Does what was due at the checkpoint that a run goes on from and could not be done.
    pub(super) fn catch_up(
        &mut self,
        progress: &mut dyn Progress,
        interrupt: &AtomicBool,
    ) -> Result<Signal, TrainError> {
        if self.log_due() {
            self.log(progress)?;
        }
        self.evaluate(progress, interrupt)
    }

    /// Whether a line of the log is due and not written.
    pub(super) fn log_due(&self) -> bool {
        let every = self.experiment.train.log_every;
        !self.window.is_empty() && self.state.iteration.is_multiple_of(every)
    }

    /// Reports the means since the last report, and stops when one is not finite.
    fn log(&mut self, progress: &mut dyn Progress) -> Result<(), TrainError> {
        let sums = self.window.read();
        self.check_finite(sums.not_finite())?;
        let iteration = self.state.iteration;
        let timing = self.clock.lap(self.length.total.saturating_sub(iteration));
        let log = StepLog {
            iteration,
            total: self.length.total,
            epoch: self.epochs(),
            lr: self.schedule.lr(iteration.saturating_sub(1)),
            means: sums.means(),
            loss_scale: self.state.loss_scale.clone(),
            images_per_s: timing.images_per_s,
            loading: timing.loading,
            reducing: timing.reducing,
            eta_s: timing.eta_s,
        };
        let mut line = json!({
            "iteration": log.iteration,
            "epoch": log.epoch,
            "lr": log.lr,
            "losses": log.means,
            "images_per_s": log.images_per_s,
            "loading": log.loading,
        });
        if let Some(scale) = &log.loss_scale {
            line["loss_scale"] = json!(scale);
        }
        if self.group.size() > 1 {
            line["reducing"] = log.reducing.into();
        }
        self.alone(|trainer| Ok(trainer.folder.append_metrics(&line)?))?;
        self.window = Window::default();
        progress.on_log(&log);
        Ok(())
    }

    /// Runs the evaluation if one is due, and saves the best model.
    fn evaluate(
        &mut self,
        progress: &mut dyn Progress,
        interrupt: &AtomicBool,
    ) -> Result<Signal, TrainError> {
        let due = self.state.evaluation_due;
        let Some(validation) = self.validation.as_ref().filter(|_| due) else {
            return Ok(Signal::GoOn);
        };
        let started = Instant::now();
        let (model, group) = (self.evaluated(), &*self.group);
        let scan = Scan {
            progress,
            interrupt,
        };
        let results = validation.detect_among(group, &model, &self.device, scan)?;
        let Some(results) = results else {
            return Ok(Signal::Stop);
        };
        self.alone(|trainer| trainer.score(results, started, progress))?;
        self.state = share_state(&*self.group, &self.state);
        self.clock.exclude(started.elapsed());
        Ok(Signal::GoOn)
    }

    /// Scores the detections of the whole validation set and saves what comes out.
    fn score(
        &mut self,
        results: Vec<CocoResult>,
        started: Instant,
        progress: &mut dyn Progress,
    ) -> Result<(), TrainError> {
        let Some(validation) = &self.validation else {
            return Ok(());
        };
        let scored = validation.score(results)?;
        let best = self.save_evaluation(&scored, progress)?;
        progress.on_eval(&EvalLog {
            iteration: self.state.iteration,
            epoch: self.epochs(),
            evaluation: scored.evaluation,
            best,
            seconds: started.elapsed().as_secs_f64(),
        });
        Ok(())
    }

    /// Saves an evaluation, then its model if that is the best, then that both are done. Tells
    /// whether it is the best.
    fn save_evaluation(
        &mut self,
        scored: &Scored,
        progress: &mut dyn Progress,
    ) -> Result<bool, TrainError> {
        let (iteration, stats) = (self.state.iteration, &scored.evaluation.stats);
        let name = |kind: &str| format!("{kind}-{iteration:08}.json");
        let folder = self.folder.evaluations();
        save_results(&folder.join(name("detections")), &scored.results)?;
        scored.evaluation.save(&folder.join(name("metrics")))?;
        self.folder.append_metrics(&json!({
            "iteration": iteration,
            "epoch": self.epochs(),
            "eval": stats,
        }))?;
        let metric = self.experiment.train.best_metric;
        let value = stats.get(metric);
        let found = Best {
            metric,
            value,
            iteration,
        };
        let best = self.is_best(found);
        self.state.evaluation_due = false;
        self.state.window = self.window.read();
        if best {
            self.state.best = Some(found);
            self.save_best(progress)?;
        }
        self.folder.save_state(&self.state)?;
        Ok(best)
    }

    /// Whether a figure is the best up to now; counts those that are not.
    fn is_best(&mut self, found: Best) -> bool {
        let Best { metric, value, .. } = found;
        // COCO's value for a figure without ground truth is -1.
        if value.is_nan() || value < 0.0 {
            tracing::warn!(
                "{metric} is not defined, since the validation set has no such boxes: no \
                 checkpoint becomes the best"
            );
            return false;
        }
        // Figures of another kind do not compare.
        let best = self.state.best.filter(|best| best.metric == metric);
        let lead = best.map_or(f64::INFINITY, |best| value - best.value);
        let stopping = self.experiment.train.early_stopping;
        if lead > stopping.map_or(0.0, |stopping| stopping.min_delta) {
            self.state.evaluations_since_best = 0;
        } else {
            self.state.evaluations_since_best += 1;
        }
        lead > 0.0
    }

    /// The model that is evaluated, without autodiff.
    fn evaluated(&self) -> Detector {
        let average = self.ema.as_ref().and_then(Ema::evaluated);
        average.cloned().unwrap_or_else(|| self.model.valid())
    }

    /// The checkpoint of this position.
    pub(super) fn checkpoint_here(
        &mut self,
        progress: &mut dyn Progress,
    ) -> Result<Checkpoint, TrainError> {
        if !self.state.evaluation_due {
            self.alone(|trainer| trainer.save_last(progress))?;
        } // Else it was saved before the evaluation.
        Ok(self.folder.last_checkpoint()?)
    }

    fn save_last(&mut self, progress: &mut dyn Progress) -> Result<Checkpoint, TrainError> {
        let started = Instant::now();
        self.state.window = self.window.read();
        self.check_finite(self.state.window.not_finite())?;
        let optimizer = self.optimizer.state();
        let ema = self.ema.as_ref().map(|ema| named_tensors(ema.model()));
        self.state.ema = self.ema.as_ref().map(Ema::state);
        let contents = Contents {
            model: &named_tensors(&self.model),
            ema: ema.as_ref(),
            optimizer: Some(&optimizer),
            state: &self.state,
            config: &self.experiment.to_toml(),
        };
        let dir = self
            .folder
            .save_last(&contents, self.experiment.train.keep_last)?;
        self.saved = self.state.iteration;
        progress.on_checkpoint(&dir, CheckpointKind::Last);
        self.clock.exclude(started.elapsed());
        Ok(Checkpoint::open(&dir)?)
    }

    fn save_best(&self, progress: &mut dyn Progress) -> Result<(), TrainError> {
        // Its model is the average already, where that is what was evaluated.
        let mut state = self.state.clone();
        state.ema = None;
        let contents = Contents {
            model: &named_tensors(&self.evaluated()),
            ema: None,
            optimizer: None,
            state: &state,
            config: &self.experiment.to_toml(),
        };
        let dir = self.folder.save_best(&contents)?;
        progress.on_checkpoint(&dir, CheckpointKind::Best);
        Ok(())
    }

    /// Saves the steps since the latest checkpoint when `error` ends the run.
    pub(super) fn rescue(&mut self, error: &TrainError, progress: &mut dyn Progress) {
        // A checkpoint that could not be written just now cannot be written now either, and weights
        // that differ are not to be trusted.
        let hopeless = matches!(
            error,
            TrainError::NotFinite { .. }
                | TrainError::OtherWeights { .. }
                | TrainError::Checkpoint(_)
        );
        if hopeless || self.state.iteration <= self.saved || !self.writes() {
            return;
        }
        if let Err(failure) = self.save_last(progress) {
            tracing::warn!(
                "the steps after iteration {} are lost: {failure}",
                self.saved
            );
        }
    }

    fn check_finite(&self, mut parts: Vec<String>) -> Result<(), TrainError> {
        let scale = self.state.loss_scale.as_ref();
        parts.extend(scale.and_then(LossScale::problem));
        if parts.is_empty() {
            return Ok(());
        }
        Err(TrainError::NotFinite {
            iteration: self.state.iteration,
            parts,
        })
    }
}

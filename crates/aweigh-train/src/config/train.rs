//! `[train]`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::check::{at_least_one, in_range, one_of, positive};
use super::ema::EmaConfig;
use super::error::Problem;
use super::optimizer::OptimizerConfig;
use super::pattern::NamePattern;
use super::precision::Precision;
use super::schedule::ScheduleConfig;
use crate::evaluation::Metric;

/// The training loop.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainConfig {
    /// Passes over the dataset. Default: 12, unless `iterations` is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epochs: Option<usize>,
    /// Optimiser steps, in place of `epochs`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iterations: Option<usize>,
    /// Images per step. Default: 16.
    pub batch_size: usize,
    /// Images per step that `lr` is for: with another `batch_size`, the rate is scaled by
    /// `batch_size / base_batch_size` (Goyal et al. 2017). Absent: `lr` is taken as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_batch_size: Option<usize>,
    /// Images that go through the network at once, for batches that memory has no room for: the
    /// parts of a batch follow each other, and their gradients add up to those of the batch. Absent:
    /// all of a batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub micro_batch_size: Option<usize>,
    /// The numbers that the network computes with in training: `f32`, `f16` or `bf16`. Weights, the
    /// optimiser, losses and evaluations stay `f32`. Default: `f32`.
    pub precision: Precision,
    /// Learning rate after warm-up, before the schedule. Default: 0.01.
    pub lr: f64,
    /// Steps between two lines of the log. Default: 50.
    pub log_every: usize,
    /// Epochs between two evaluations; 0 evaluates at the end only. Default: 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eval_every_epochs: Option<usize>,
    /// Steps between two evaluations, in place of `eval_every_epochs`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eval_every_iterations: Option<usize>,
    /// Epochs between two checkpoints; 0 writes one at the end only. Every evaluation has one
    /// besides. Default: 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint_every_epochs: Option<usize>,
    /// Steps between two checkpoints, in place of `checkpoint_every_epochs`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint_every_iterations: Option<usize>,
    /// Number of latest checkpoints that are kept, besides the best one. Default: 1.
    pub keep_last: usize,
    /// Older name of `model.weights.backbone`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backbone_weights: Option<PathBuf>,
    /// Older name of `model.weights.detector`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights: Option<PathBuf>,
    /// Largest global norm of the gradients; absent: no clipping.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_norm: Option<f64>,
    /// The figure by which the best checkpoint is chosen: one of `AP`, `AP50`, `AP75`, `APs`,
    /// `APm`, `APl`, `AR1`, `AR10`, `AR100`, `ARs`, `ARm`, `ARl`. Default: `AP`.
    pub best_metric: Metric,
    /// End of a run that gets no better; absent: every run goes to its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub early_stopping: Option<EarlyStoppingConfig>,
    /// Parameters that are not trained, each an entry `[[train.freeze]]`; besides those that the
    /// backbone freezes itself.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub freeze: Vec<FreezeConfig>,
    /// Moving average of the weights; absent: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ema: Option<EmaConfig>,
    /// The optimiser.
    pub optimizer: OptimizerConfig,
    /// The learning rate over time.
    pub schedule: ScheduleConfig,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            epochs: None,
            iterations: None,
            batch_size: 16,
            base_batch_size: None,
            micro_batch_size: None,
            precision: Precision::F32,
            lr: 0.01,
            log_every: 50,
            eval_every_epochs: None,
            eval_every_iterations: None,
            checkpoint_every_epochs: None,
            checkpoint_every_iterations: None,
            keep_last: 1,
            backbone_weights: None,
            weights: None,
            clip_norm: None,
            best_metric: Metric::Ap,
            early_stopping: None,
            freeze: Vec::new(),
            ema: None,
            optimizer: OptimizerConfig::default(),
            schedule: ScheduleConfig::default(),
        }
    }
}

/// When a run that gets no better ends.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EarlyStoppingConfig {
    /// Evaluations in a row without a better `best_metric` that end the run.
    pub patience: usize,
    /// How much better counts as better. Default: 0.
    #[serde(default)]
    pub min_delta: f64,
}

/// Parameters that are not trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FreezeConfig {
    /// The pattern of their names: `backbone.*`.
    #[serde(rename = "match")]
    pub pattern: NamePattern,
    /// The epoch, counted from 0, in which they are trained again. Absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_epoch: Option<usize>,
}

/// A point in time or a period, in the unit of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Span {
    /// Passes over the dataset.
    Epochs(usize),
    /// Optimiser steps.
    Iterations(usize),
}

impl TrainConfig {
    /// The learning rate for `batch_size` images per step in each of several processes.
    pub fn scaled_lr(&self, processes: usize) -> f64 {
        let images = self.batch_size * processes;
        let scale = |base: usize| images as f64 / base as f64;
        self.lr * self.base_batch_size.map_or(1.0, scale)
    }

    /// Length of the run.
    pub fn length(&self) -> Span {
        span(self.epochs, self.iterations).unwrap_or(Span::Epochs(12))
    }

    /// Time between two evaluations; zero for none before the end.
    pub fn eval_every(&self) -> Span {
        span(self.eval_every_epochs, self.eval_every_iterations).unwrap_or(Span::Epochs(1))
    }

    /// Time between two checkpoints; zero for none before the end.
    pub fn checkpoint_every(&self) -> Span {
        let iterations = self.checkpoint_every_iterations;
        span(self.checkpoint_every_epochs, iterations).unwrap_or(Span::Epochs(1))
    }

    /// Writes out every default that depends on which keys are given.
    pub(crate) fn fill(&mut self) {
        let (length, eval, save) = (self.length(), self.eval_every(), self.checkpoint_every());
        fill(&mut self.epochs, &mut self.iterations, length);
        let (epochs, iterations) = (&mut self.eval_every_epochs, &mut self.eval_every_iterations);
        fill(epochs, iterations, eval);
        let epochs = &mut self.checkpoint_every_epochs;
        fill(epochs, &mut self.checkpoint_every_iterations, save);
        self.optimizer.fill();
        self.schedule.fill();
    }

    /// Checks every value and combination.
    pub(crate) fn check(&self) -> Result<(), Problem> {
        let alternatives = [
            [
                ("epochs", self.epochs.is_some()),
                ("iterations", self.iterations.is_some()),
            ],
            [
                ("eval_every_epochs", self.eval_every_epochs.is_some()),
                (
                    "eval_every_iterations",
                    self.eval_every_iterations.is_some(),
                ),
            ],
            [
                (
                    "checkpoint_every_epochs",
                    self.checkpoint_every_epochs.is_some(),
                ),
                (
                    "checkpoint_every_iterations",
                    self.checkpoint_every_iterations.is_some(),
                ),
            ],
        ];
        alternatives.into_iter().try_for_each(one_of)?;
        at_least_one("train.epochs", self.epochs.unwrap_or(1))?;
        at_least_one("train.iterations", self.iterations.unwrap_or(1))?;
        at_least_one("train.batch_size", self.batch_size)?;
        at_least_one("train.micro_batch_size", self.micro_batch_size.unwrap_or(1))?;
        at_least_one("train.log_every", self.log_every)?;
        at_least_one("train.keep_last", self.keep_last)?;
        at_least_one("train.base_batch_size", self.base_batch_size.unwrap_or(1))?;
        positive("train.lr", self.lr)?;
        positive("train.clip_norm", self.clip_norm.unwrap_or(1.0))?;
        if let Some(stopping) = &self.early_stopping {
            at_least_one("train.early_stopping.patience", stopping.patience)?;
            let key = "train.early_stopping.min_delta";
            in_range(key, stopping.min_delta, 0.0..=1.0, "a number in [0, 1]")?;
        }
        self.ema.map_or(Ok(()), |ema| ema.check())?;
        self.optimizer.check()?;
        self.schedule.check()
    }
}

fn span(epochs: Option<usize>, iterations: Option<usize>) -> Option<Span> {
    let iterations = iterations.map(Span::Iterations);
    iterations.or(epochs.map(Span::Epochs))
}

fn fill(epochs: &mut Option<usize>, iterations: &mut Option<usize>, value: Span) {
    match value {
        Span::Epochs(n) => *epochs = Some(n),
        Span::Iterations(n) => *iterations = Some(n),
    }
}

//! What a run reports while it works.

use std::collections::BTreeMap;
use std::path::Path;

use crate::evaluation::Evaluation;
use crate::loss_scale::LossScale;

/// Receives the events of a run; every method does nothing unless it is written.
#[allow(unused_variables)]
pub trait Progress {
    /// Training starts or continues.
    fn on_start(&mut self, start: &Start) {}
    /// A step is done; nothing was read back for it.
    fn on_step(&mut self, iteration: usize) {}
    /// A line of the log is due.
    fn on_log(&mut self, log: &StepLog) {}
    /// An evaluation starts on so many images.
    fn on_eval_start(&mut self, images: usize) {}
    /// So many images are evaluated.
    fn on_eval_step(&mut self, images: usize) {}
    /// An evaluation is done.
    fn on_eval(&mut self, eval: &EvalLog) {}
    /// A checkpoint lies at `path`.
    fn on_checkpoint(&mut self, path: &Path, kind: CheckpointKind) {}
}

/// Reports nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {}

/// The size of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// Iterations that are done: 0 unless the run is resumed.
    pub iteration: usize,
    /// Iterations at the end.
    pub total: usize,
    /// Iterations of an epoch.
    pub per_epoch: usize,
    /// Training images.
    pub images: usize,
    /// Classes.
    pub classes: usize,
    /// Parameters that are trained.
    pub trainable_parameters: usize,
}

/// Means over the steps since the last line of the log.
#[derive(Debug, Clone, PartialEq)]
pub struct StepLog {
    /// Completed iterations.
    pub iteration: usize,
    /// Iterations at the end.
    pub total: usize,
    /// Completed epochs, with the fraction of the current one.
    pub epoch: f64,
    /// Learning rate of the last step.
    pub lr: f64,
    /// `loss`, its parts, `positives` and, with clipping, `grad_norm`.
    pub means: BTreeMap<String, f64>,
    /// The scale of the loss after the last step, in a precision that needs one.
    pub loss_scale: Option<LossScale>,
    /// Images per second, loading included.
    pub images_per_s: f64,
    /// Share of the time spent waiting for the loader, between 0 and 1.
    pub loading: f64,
    /// Share of the time spent with sums over several processes, waiting for them included, between 0
    /// and 1.
    pub reducing: f64,
    /// Estimated seconds to the end of training.
    pub eta_s: f64,
}

/// Result of an evaluation during a run.
#[derive(Debug, Clone)]
pub struct EvalLog {
    /// Completed iterations.
    pub iteration: usize,
    /// Completed epochs, with the fraction of the current one.
    pub epoch: f64,
    /// The figures.
    pub evaluation: Evaluation,
    /// Whether the AP is the best of the run so far.
    pub best: bool,
    /// Seconds it took.
    pub seconds: f64,
}

/// Why a checkpoint was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckpointKind {
    /// The latest state, to resume from.
    Last,
    /// The model with the best AP so far.
    Best,
}

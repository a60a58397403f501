//! `[train.ema]`.

use serde::{Deserialize, Serialize};

use super::check::in_range;
use super::error::Problem;

/// Which weights are evaluated, and become the best model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EvaluatedWeights {
    /// The average.
    #[default]
    Ema,
    /// Those that are trained.
    Raw,
}

/// An exponential moving average of the weights.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EmaConfig {
    /// Share of the average that a step keeps, after the warm-up. Default: 0.9998.
    pub decay: f64,
    /// Steps after which the share is at 63 % of `decay`, at three times as many at 95 %. 0: from
    /// the first step on. Default: 2000.
    pub warmup: usize,
    /// Which weights are evaluated: `ema` or `raw`. Default: `ema`.
    pub evaluate: EvaluatedWeights,
}

impl Default for EmaConfig {
    fn default() -> Self {
        Self {
            decay: 0.9998,
            warmup: 2000,
            evaluate: EvaluatedWeights::Ema,
        }
    }
}

impl EmaConfig {
    /// The share of the average that step `step`, counted from 1, keeps.
    pub(crate) fn decay_at(&self, step: usize) -> f64 {
        match self.warmup {
            0 => self.decay,
            warmup => self.decay * (1.0 - (-(step as f64) / warmup as f64).exp()),
        }
    }

    pub(super) fn check(&self) -> Result<(), Problem> {
        let range = 0.0..=1.0 - f64::EPSILON;
        in_range("train.ema.decay", self.decay, range, "a number in [0, 1)")
    }
}

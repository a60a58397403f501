//! `[train.optimizer]`.

use serde::{Deserialize, Serialize};

use super::check::in_range;
use super::error::Problem;

/// Which optimiser.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OptimizerKind {
    /// Stochastic gradient descent with momentum (dampening 0) and L2 weight decay.
    #[default]
    Sgd,
    /// Adam with decoupled weight decay (Loshchilov and Hutter 2019).
    Adamw,
}

/// The optimiser and the multipliers of its parameter groups.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OptimizerConfig {
    /// Which optimiser. Default: SGD.
    pub kind: OptimizerKind,
    /// Weight decay. Default: 1e-4.
    pub weight_decay: f64,
    /// Momentum of SGD. Default: 0.9.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub momentum: Option<f64>,
    /// Decay of AdamW's first moment. Default: 0.9.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beta1: Option<f64>,
    /// Decay of AdamW's second moment. Default: 0.999.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beta2: Option<f64>,
    /// Added to the root of AdamW's second moment. Default: 1e-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eps: Option<f64>,
    /// Factor of the learning rate for biases of layers that are no norms and do not move the taps
    /// of a deformable convolution. Default: 1.
    pub bias_lr_mult: f64,
    /// Factor of the weight decay for the same biases. Default: 1.
    pub bias_decay_mult: f64,
    /// Factor of the learning rate for weights and biases of norms. Default: 1.
    pub norm_lr_mult: f64,
    /// Factor of the weight decay for weights and biases of norms. Default: 1.
    pub norm_decay_mult: f64,
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self {
            kind: OptimizerKind::Sgd,
            weight_decay: 1e-4,
            momentum: None,
            beta1: None,
            beta2: None,
            eps: None,
            bias_lr_mult: 1.0,
            bias_decay_mult: 1.0,
            norm_lr_mult: 1.0,
            norm_decay_mult: 1.0,
        }
    }
}

impl OptimizerConfig {
    pub(super) fn fill(&mut self) {
        match self.kind {
            OptimizerKind::Sgd => {
                self.momentum.get_or_insert(0.9);
            }
            OptimizerKind::Adamw => {
                self.beta1.get_or_insert(0.9);
                self.beta2.get_or_insert(0.999);
                self.eps.get_or_insert(1e-8);
            }
        }
    }

    pub(super) fn check(&self) -> Result<(), Problem> {
        let (sgd, adamw) = match self.kind {
            OptimizerKind::Sgd => ([None], [self.beta1, self.beta2, self.eps]),
            OptimizerKind::Adamw => ([self.momentum], [None; 3]),
        };
        let misplaced = ["momentum", "beta1", "beta2", "eps"]
            .into_iter()
            .zip(sgd.into_iter().chain(adamw));
        for (key, value) in misplaced {
            if value.is_some() {
                let (known, kind) = match self.kind {
                    OptimizerKind::Sgd => ("`momentum`", "sgd"),
                    OptimizerKind::Adamw => ("`beta1`, `beta2`, `eps`", "adamw"),
                };
                let message = format!("not a key of kind = \"{kind}\", which has {known}");
                return Err(Problem::new(&format!("train.optimizer.{key}"), message));
            }
        }
        for (key, value) in [
            ("weight_decay", self.weight_decay),
            ("bias_lr_mult", self.bias_lr_mult),
            ("bias_decay_mult", self.bias_decay_mult),
            ("norm_lr_mult", self.norm_lr_mult),
            ("norm_decay_mult", self.norm_decay_mult),
            ("eps", self.eps.unwrap_or(0.0)),
        ] {
            let key = format!("train.optimizer.{key}");
            in_range(&key, value, 0.0, f64::MAX, "a number that is not negative")?;
        }
        for (key, value) in [
            ("momentum", self.momentum),
            ("beta1", self.beta1),
            ("beta2", self.beta2),
        ] {
            let key = format!("train.optimizer.{key}");
            let below_one = 1.0 - f64::EPSILON;
            in_range(
                &key,
                value.unwrap_or(0.0),
                0.0,
                below_one,
                "a number in [0, 1)",
            )?;
        }
        Ok(())
    }
}

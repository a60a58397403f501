//! `[train.optimizer]`.

use serde::{Deserialize, Serialize};

use super::check::in_range;
use super::error::Problem;
use super::pattern::NamePattern;

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

/// Parameters by name, with factors of their own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupConfig {
    /// The pattern of their names: `backbone.*`.
    #[serde(rename = "match")]
    pub pattern: NamePattern,
    /// Factor of the learning rate. Default: 1.
    #[serde(default = "one")]
    pub lr_mult: f64,
    /// Factor of the weight decay. Default: 1.
    #[serde(default = "one")]
    pub decay_mult: f64,
}

fn one() -> f64 {
    1.0
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
    /// Groups by name, each an entry `[[train.optimizer.groups]]`: the first that matches a
    /// parameter gives its factors, in place of those for biases and norms.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<GroupConfig>,
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
            groups: Vec::new(),
        }
    }
}

impl OptimizerConfig {
    pub(super) fn fill(&mut self) {
        match self.kind {
            OptimizerKind::Sgd => self.momentum = Some(self.momentum()),
            OptimizerKind::Adamw => {
                [self.beta1, self.beta2] = self.betas().map(Some);
                self.eps = Some(self.eps());
            }
        }
    }

    /// SGD's momentum, or its default.
    pub(crate) fn momentum(&self) -> f64 {
        self.momentum.unwrap_or(0.9)
    }

    /// AdamW's decay rates of the first and the second moment, or their defaults.
    pub(crate) fn betas(&self) -> [f64; 2] {
        [self.beta1.unwrap_or(0.9), self.beta2.unwrap_or(0.999)]
    }

    /// What AdamW adds to the denominator, or its default.
    pub(crate) fn eps(&self) -> f64 {
        self.eps.unwrap_or(1e-8)
    }

    pub(super) fn check(&self) -> Result<(), Problem> {
        self.check_keys()?;
        let at_least_zero = [
            ("weight_decay", self.weight_decay),
            ("bias_lr_mult", self.bias_lr_mult),
            ("bias_decay_mult", self.bias_decay_mult),
            ("norm_lr_mult", self.norm_lr_mult),
            ("norm_decay_mult", self.norm_decay_mult),
            ("eps", self.eps()),
        ];
        for (key, value) in at_least_zero {
            let expected = "a number that is not negative";
            in_range(&full(key), value, 0.0..=f64::MAX, expected)?;
        }
        for group in &self.groups {
            for (key, value) in [("lr_mult", group.lr_mult), ("decay_mult", group.decay_mult)] {
                let expected = "a number that is not negative";
                in_range(
                    &full(&format!("groups.{key}")),
                    value,
                    0.0..=f64::MAX,
                    expected,
                )?;
            }
        }
        let [beta1, beta2] = self.betas();
        let below_one = [
            ("momentum", self.momentum()),
            ("beta1", beta1),
            ("beta2", beta2),
        ];
        for (key, value) in below_one {
            let range = 0.0..=1.0 - f64::EPSILON;
            in_range(&full(key), value, range, "a number in [0, 1)")?;
        }
        Ok(())
    }

    /// Refuses the keys of the other kind of optimiser.
    fn check_keys(&self) -> Result<(), Problem> {
        let sgd = [("momentum", self.momentum)];
        let adamw = [
            ("beta1", self.beta1),
            ("beta2", self.beta2),
            ("eps", self.eps),
        ];
        let (kind, known, other) = match self.kind {
            OptimizerKind::Sgd => ("sgd", "`momentum`", adamw.as_slice()),
            OptimizerKind::Adamw => ("adamw", "`beta1`, `beta2`, `eps`", sgd.as_slice()),
        };
        match other.iter().find(|(_, value)| value.is_some()) {
            None => Ok(()),
            Some((key, _)) => Err(Problem::new(
                &full(key),
                format!("not a key of kind = \"{kind}\", which has {known}"),
            )),
        }
    }
}

fn full(key: &str) -> String {
    format!("train.optimizer.{key}")
}

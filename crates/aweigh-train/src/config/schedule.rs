//! `[train.schedule]`.

use serde::{Deserialize, Serialize};

use super::check::{in_range, one_of, positive};
use super::error::Problem;

/// The shape of the learning rate over a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScheduleKind {
    /// The same rate throughout.
    Constant,
    /// Times `gamma` at every milestone.
    MultiStep,
    /// Half a cosine from the full rate to `final_ratio` of it.
    #[default]
    Cosine,
    /// From the full rate to `final_ratio` of it by a power of the steps that are left.
    Polynomial,
    /// Half a cosine up to the full rate, then half a cosine down to `final_ratio` of it (Smith and
    /// Topin 2018, as PyTorch's `OneCycleLR` has it; momentum stays as it is).
    OneCycle,
}

impl ScheduleKind {
    /// The name in a configuration.
    fn name(self) -> &'static str {
        match self {
            Self::Constant => "constant",
            Self::MultiStep => "multi_step",
            Self::Cosine => "cosine",
            Self::Polynomial => "polynomial",
            Self::OneCycle => "one_cycle",
        }
    }
}

/// How the rate rises at the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WarmupKind {
    /// From `ratio` to 1 in equal steps.
    #[default]
    Linear,
    /// `ratio` throughout.
    Constant,
}

/// Warm-up of the learning rate.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WarmupConfig {
    /// Shape. Default: linear.
    pub kind: WarmupKind,
    /// Steps. Default: 500.
    pub iterations: usize,
    /// Factor of the rate at the first step. Default: 1/3.
    pub ratio: f64,
}

impl Default for WarmupConfig {
    fn default() -> Self {
        Self {
            kind: WarmupKind::Linear,
            iterations: 500,
            ratio: 1.0 / 3.0,
        }
    }
}

/// The learning rate over time.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ScheduleConfig {
    /// Shape. Default: cosine.
    pub kind: ScheduleKind,
    /// Epochs after which a multi-step schedule lowers the rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub milestones: Option<Vec<usize>>,
    /// Steps after which a multi-step schedule lowers the rate, in place of `milestones`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub milestones_iterations: Option<Vec<usize>>,
    /// Factor of the rate at each milestone. Default: 0.1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gamma: Option<f64>,
    /// Factor of the rate at the end of a cosine, a polynomial or a one-cycle schedule. Default: 0;
    /// of a one-cycle schedule 4e-6.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub final_ratio: Option<f64>,
    /// The power of a polynomial schedule; 1 is a straight line. Default: 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub power: Option<f64>,
    /// Factor of the rate at the start of a one-cycle schedule. Default: 0.04.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initial_ratio: Option<f64>,
    /// Share of the run after which a one-cycle schedule is at its full rate. Default: 0.3.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_at: Option<f64>,
    /// Warm-up; absent: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warmup: Option<WarmupConfig>,
}

impl ScheduleConfig {
    pub(super) fn fill(&mut self) {
        match self.kind {
            ScheduleKind::Constant => {}
            ScheduleKind::MultiStep => {
                self.gamma = Some(self.gamma());
            }
            ScheduleKind::Cosine => {
                self.final_ratio = Some(self.final_ratio());
            }
            ScheduleKind::Polynomial => {
                self.final_ratio = Some(self.final_ratio());
                self.power = Some(self.power());
            }
            ScheduleKind::OneCycle => {
                self.final_ratio = Some(self.final_ratio());
                self.initial_ratio = Some(self.initial_ratio());
                self.peak_at = Some(self.peak_at());
            }
        }
    }

    /// The factor at each milestone, or its default.
    pub(crate) fn gamma(&self) -> f64 {
        self.gamma.unwrap_or(0.1)
    }

    /// The factor at the end of a schedule, or its default.
    pub(crate) fn final_ratio(&self) -> f64 {
        let default = match self.kind {
            ScheduleKind::OneCycle => 4e-6,
            _ => 0.0,
        };
        self.final_ratio.unwrap_or(default)
    }

    /// The power of a polynomial schedule, or its default.
    pub(crate) fn power(&self) -> f64 {
        self.power.unwrap_or(1.0)
    }

    /// The factor at the start of a one-cycle schedule, or its default.
    pub(crate) fn initial_ratio(&self) -> f64 {
        self.initial_ratio.unwrap_or(0.04)
    }

    /// The share of the run at whose end a one-cycle schedule has its full rate, or its default.
    pub(crate) fn peak_at(&self) -> f64 {
        self.peak_at.unwrap_or(0.3)
    }

    pub(super) fn check(&self) -> Result<(), Problem> {
        let (epochs, steps) = (&self.milestones, &self.milestones_iterations);
        let names = ["schedule.milestones", "schedule.milestones_iterations"];
        one_of([(names[0], epochs.is_some()), (names[1], steps.is_some())])?;
        self.check_keys()?;
        let warmup = self.warmup.unwrap_or_default();
        let shares = [
            ("gamma", self.gamma()),
            ("final_ratio", self.final_ratio()),
            ("initial_ratio", self.initial_ratio()),
            ("peak_at", self.peak_at()),
            ("warmup.ratio", warmup.ratio),
        ];
        for (key, value) in shares {
            let key = format!("train.schedule.{key}");
            in_range(&key, value, 0.0..=1.0, "a number in [0, 1]")?;
        }
        positive("train.schedule.power", self.power())?;
        let rising = |list: &Option<Vec<usize>>, key: &str| match list {
            Some(list) if !list.is_sorted_by(|a, b| a < b) => {
                let message = format!("expected rising numbers, found {list:?}");
                Err(Problem::new(&format!("train.{key}"), message))
            }
            _ => Ok(()),
        };
        rising(epochs, names[0])?;
        rising(steps, names[1])
    }

    /// Keys that belong to another kind of schedule, and milestones that are missing.
    fn check_keys(&self) -> Result<(), Problem> {
        use ScheduleKind::{Constant, Cosine, MultiStep, OneCycle, Polynomial};
        let steps = self.milestones_iterations.is_some();
        let keys: [(&str, bool, &[ScheduleKind]); 8] = [
            ("milestones", self.milestones.is_some(), &[MultiStep]),
            ("milestones_iterations", steps, &[MultiStep]),
            ("gamma", self.gamma.is_some(), &[MultiStep]),
            (
                "final_ratio",
                self.final_ratio.is_some(),
                &[Cosine, Polynomial, OneCycle],
            ),
            ("power", self.power.is_some(), &[Polynomial]),
            ("initial_ratio", self.initial_ratio.is_some(), &[OneCycle]),
            ("peak_at", self.peak_at.is_some(), &[OneCycle]),
            (
                "warmup",
                self.warmup.is_some(),
                &[Constant, MultiStep, Cosine, Polynomial],
            ),
        ];
        for (key, given, kinds) in keys {
            if given && !kinds.contains(&self.kind) {
                let names: Vec<String> =
                    kinds.iter().map(|k| format!("\"{}\"", k.name())).collect();
                let message = format!("only kind = {} has this key", names.join(" or "));
                return Err(Problem::new(&format!("train.schedule.{key}"), message));
            }
        }
        if self.kind == MultiStep && self.milestones.is_none() && !steps {
            let message = "kind = \"multi_step\" needs `milestones` (in epochs) or \
                           `milestones_iterations`";
            return Err(Problem::new("train.schedule.milestones", message));
        }
        Ok(())
    }
}

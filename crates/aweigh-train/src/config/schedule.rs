//! `[train.schedule]`.

use serde::{Deserialize, Serialize};

use super::check::{in_range, one_of};
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
    /// Factor of the rate at the end of a cosine schedule. Default: 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub final_ratio: Option<f64>,
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
        }
    }

    /// The factor at each milestone, or its default.
    pub(crate) fn gamma(&self) -> f64 {
        self.gamma.unwrap_or(0.1)
    }

    /// The factor at the end of a cosine schedule, or its default.
    pub(crate) fn final_ratio(&self) -> f64 {
        self.final_ratio.unwrap_or(0.0)
    }

    pub(super) fn check(&self) -> Result<(), Problem> {
        let (epochs, steps) = (&self.milestones, &self.milestones_iterations);
        let names = ["schedule.milestones", "schedule.milestones_iterations"];
        one_of([(names[0], epochs.is_some()), (names[1], steps.is_some())])?;
        self.check_keys()?;
        let warmup = self.warmup.unwrap_or_default();
        in_range(
            "train.schedule.gamma",
            self.gamma(),
            0.0..=1.0,
            "a number in [0, 1]",
        )?;
        in_range(
            "train.schedule.final_ratio",
            self.final_ratio(),
            0.0..=1.0,
            "a number in [0, 1]",
        )?;
        in_range(
            "train.schedule.warmup.ratio",
            warmup.ratio,
            0.0..=1.0,
            "a number in [0, 1]",
        )?;
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
        let misplaced = |key: &str, given: bool, kind: ScheduleKind, name: &str| {
            if given && self.kind != kind {
                let message = format!("only kind = \"{name}\" has this key");
                return Err(Problem::new(&format!("train.schedule.{key}"), message));
            }
            Ok(())
        };
        let (multi_step, cosine) = (ScheduleKind::MultiStep, ScheduleKind::Cosine);
        misplaced(
            "milestones",
            self.milestones.is_some(),
            multi_step,
            "multi_step",
        )?;
        let steps = self.milestones_iterations.is_some();
        misplaced("milestones_iterations", steps, multi_step, "multi_step")?;
        misplaced("gamma", self.gamma.is_some(), multi_step, "multi_step")?;
        misplaced("final_ratio", self.final_ratio.is_some(), cosine, "cosine")?;
        if self.kind == multi_step && self.milestones.is_none() && !steps {
            let message = "kind = \"multi_step\" needs `milestones` (in epochs) or \
                           `milestones_iterations`";
            return Err(Problem::new("train.schedule.milestones", message));
        }
        Ok(())
    }
}

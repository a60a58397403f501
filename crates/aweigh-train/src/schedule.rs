//! The learning rate as a function of the iteration.
//!
//! Burn's schedulers count their own steps, which a checkpoint would have to keep, and have no
//! milestones.

use crate::config::{ScheduleConfig, ScheduleKind, WarmupConfig, WarmupKind};

/// `lr(t) = lr_0 * shape(t) * warmup(t)`: a pure function, so that a resumed run needs no state.
///
/// The product of warm-up and schedule is that of mmcv 1.x (`LrUpdaterHook`).
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    lr: f64,
    shape: Shape,
    warmup: Option<WarmupConfig>,
}

#[derive(Debug, Clone, PartialEq)]
enum Shape {
    Constant,
    MultiStep { milestones: Vec<usize>, gamma: f64 },
    Cosine { total: usize, final_ratio: f64 },
}

/// Length of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunLength {
    /// Optimiser steps of the whole run.
    pub total: usize,
    /// Optimiser steps of one epoch.
    pub per_epoch: usize,
}

impl Schedule {
    /// The schedule of a run; `lr` is the rate after warm-up at the start.
    pub fn new(config: &ScheduleConfig, lr: f64, length: RunLength) -> Self {
        let shape = match config.kind {
            ScheduleKind::Constant => Shape::Constant,
            ScheduleKind::MultiStep => Shape::MultiStep {
                milestones: milestones(config, length.per_epoch),
                gamma: config.gamma(),
            },
            ScheduleKind::Cosine => Shape::Cosine {
                total: length.total,
                final_ratio: config.final_ratio(),
            },
        };
        let warmup = config.warmup;
        Self { lr, shape, warmup }
    }

    /// Rate of the step after `iteration` completed ones.
    pub fn lr(&self, iteration: usize) -> f64 {
        let shape = match &self.shape {
            Shape::Constant => 1.0,
            Shape::MultiStep { milestones, gamma } => {
                let passed = milestones.iter().filter(|m| **m <= iteration).count();
                gamma.powi(i32::try_from(passed).unwrap_or(i32::MAX))
            }
            Shape::Cosine { total, final_ratio } => {
                let progress = iteration as f64 / (*total).max(1) as f64;
                let cosine = (1.0 + (std::f64::consts::PI * progress.min(1.0)).cos()) / 2.0;
                final_ratio + (1.0 - final_ratio) * cosine
            }
        };
        self.lr * shape * self.warmup(iteration)
    }

    fn warmup(&self, iteration: usize) -> f64 {
        match self.warmup {
            Some(warmup) if iteration < warmup.iterations => match warmup.kind {
                WarmupKind::Constant => warmup.ratio,
                WarmupKind::Linear => {
                    let rest = 1.0 - iteration as f64 / warmup.iterations as f64;
                    1.0 - rest * (1.0 - warmup.ratio)
                }
            },
            _ => 1.0,
        }
    }
}

/// The milestones in iterations.
fn milestones(config: &ScheduleConfig, per_epoch: usize) -> Vec<usize> {
    match (&config.milestones_iterations, &config.milestones) {
        (Some(iterations), _) => iterations.clone(),
        (None, Some(epochs)) => epochs.iter().map(|epoch| epoch * per_epoch).collect(),
        (None, None) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: RunLength = RunLength {
        total: 100,
        per_epoch: 10,
    };

    fn check(config: &ScheduleConfig, expected: &[(usize, f64)]) {
        let schedule = Schedule::new(config, 0.5, LENGTH);
        for (iteration, lr) in expected {
            let got = schedule.lr(*iteration);
            // Rounding of a handful of f64 operations.
            assert!(
                (got - lr).abs() < 1e-15,
                "{config:?} at {iteration}: {got}, expected {lr}"
            );
        }
    }

    fn config(kind: ScheduleKind) -> ScheduleConfig {
        ScheduleConfig {
            kind,
            ..ScheduleConfig::default()
        }
    }

    #[test]
    fn shapes() {
        check(&config(ScheduleKind::Constant), &[(0, 0.5), (99, 0.5)]);
        let epochs = ScheduleConfig {
            milestones: Some(vec![2, 4]),
            ..config(ScheduleKind::MultiStep)
        };
        check(&epochs, &[(19, 0.5), (20, 0.05), (39, 0.05), (40, 0.005)]);
        let iterations = ScheduleConfig {
            milestones_iterations: Some(vec![7]),
            gamma: Some(0.5),
            ..config(ScheduleKind::MultiStep)
        };
        check(&iterations, &[(6, 0.5), (7, 0.25)]);
        check(
            &config(ScheduleKind::Cosine),
            &[(0, 0.5), (50, 0.25), (100, 0.0)],
        );
        let raised = ScheduleConfig {
            final_ratio: Some(0.2),
            ..config(ScheduleKind::Cosine)
        };
        check(&raised, &[(0, 0.5), (50, 0.3), (100, 0.1)]);
    }

    #[test]
    fn warm_up() {
        let with = |kind| ScheduleConfig {
            warmup: Some(WarmupConfig {
                kind,
                iterations: 10,
                ratio: 0.2,
            }),
            ..config(ScheduleKind::Constant)
        };
        check(&with(WarmupKind::Linear), &[(0, 0.1), (5, 0.3), (10, 0.5)]);
        check(
            &with(WarmupKind::Constant),
            &[(0, 0.1), (9, 0.1), (10, 0.5)],
        );
    }
}

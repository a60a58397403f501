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
    MultiStep {
        milestones: Vec<usize>,
        gamma: f64,
    },
    Cosine {
        total: usize,
        final_ratio: f64,
    },
    Polynomial {
        total: usize,
        final_ratio: f64,
        power: f64,
    },
    OneCycle(OneCycle),
}

/// A rise and a fall, each half a cosine (PyTorch 2.1 `OneCycleLR`).
#[derive(Debug, Clone, Copy, PartialEq)]
struct OneCycle {
    /// Steps of the run, share of them in the rise.
    total: usize,
    peak_at: f64,
    initial_ratio: f64,
    final_ratio: f64,
}

impl OneCycle {
    fn ratio(&self, iteration: usize) -> f64 {
        // The first and the last step are the ends of the curve.
        let last = self.total as f64 - 1.0;
        let peak = (self.peak_at * self.total as f64 - 1.0).max(0.0);
        let at = (iteration as f64).min(last);
        let (from, to, share) = if at <= peak {
            (self.initial_ratio, 1.0, at / peak.max(1.0))
        } else {
            (1.0, self.final_ratio, (at - peak) / (last - peak))
        };
        to + (from - to) * falling_cosine(share)
    }
}

/// Half a cosine, from 1 to 0 over a share from 0 to 1.
fn falling_cosine(share: f64) -> f64 {
    (1.0 + (std::f64::consts::PI * share.min(1.0)).cos()) / 2.0
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
            ScheduleKind::Polynomial => Shape::Polynomial {
                total: length.total,
                final_ratio: config.final_ratio(),
                power: config.power(),
            },
            ScheduleKind::OneCycle => Shape::OneCycle(OneCycle {
                total: length.total,
                peak_at: config.peak_at(),
                initial_ratio: config.initial_ratio(),
                final_ratio: config.final_ratio(),
            }),
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
                final_ratio + (1.0 - final_ratio) * falling_cosine(progress)
            }
            Shape::Polynomial {
                total,
                final_ratio,
                power,
            } => {
                let progress = iteration as f64 / (*total).max(1) as f64;
                let left = (1.0 - progress).max(0.0);
                final_ratio + (1.0 - final_ratio) * left.powf(*power)
            }
            Shape::OneCycle(cycle) => cycle.ratio(iteration),
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
        let line = config(ScheduleKind::Polynomial);
        check(&line, &[(0, 0.5), (25, 0.375), (100, 0.0), (120, 0.0)]);
        let square = ScheduleConfig {
            final_ratio: Some(0.2),
            power: Some(2.0),
            ..config(ScheduleKind::Polynomial)
        };
        check(&square, &[(0, 0.5), (50, 0.2), (100, 0.1)]);
    }

    /// Figures of PyTorch 2.1's `OneCycleLR(max_lr=0.5, total_steps=100)`, with its defaults and
    /// with `pct_start=0.1, div_factor=10, final_div_factor=10`.
    #[test]
    fn one_cycle_is_pytorchs() {
        let defaults = config(ScheduleKind::OneCycle);
        check(
            &defaults,
            &[
                (0, 0.020000000000000018),
                (1, 0.021406890282953728),
                (15, 0.2729933380605002),
                (29, 0.5),
                (30, 0.49974826764226216),
                (60, 0.2946400451427644),
                (99, 2e-06),
            ],
        );
        let other = ScheduleConfig {
            peak_at: Some(0.1),
            initial_ratio: Some(0.1),
            final_ratio: Some(0.01),
            ..config(ScheduleKind::OneCycle)
        };
        check(
            &other,
            &[
                (0, 0.04999999999999999),
                (5, 0.3140708399750593),
                (9, 0.5),
                (10, 0.4998492296872262),
                (50, 0.2869453424876162),
                (99, 0.005),
            ],
        );
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

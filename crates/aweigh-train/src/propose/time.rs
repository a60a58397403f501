//! How long a run may be.

use burn::tensor::Device;

use crate::TrainError;
use crate::bench::{BenchMode, BenchOptions, bench};
use crate::config::Experiment;

/// Steps of the small recipes.
const RECIPE_STEPS: usize = 1460;
/// Passes over a dataset beyond which more are of no use.
const MOST_EPOCHS: usize = 100;
/// Part of the budget that is planned for: steps are not all alike.
const PLANNED: f64 = 0.9;
/// Evaluations of a run.
const EVALUATIONS: usize = 2;

/// Measured times.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Pace {
    /// A training step, in milliseconds.
    pub(super) step_ms: f64,
    /// Inference of an image, in milliseconds.
    pub(super) image_ms: f64,
}

/// What a run goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Work {
    /// Images to train on.
    pub(super) images: usize,
    /// Images per step.
    pub(super) batch: usize,
    /// Images to validate on.
    pub(super) val: usize,
}

impl Work {
    /// Steps of an epoch.
    fn per_epoch(&self) -> usize {
        self.images.div_ceil(self.batch).max(1)
    }
}

/// The length of a run.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Length {
    /// Images per step.
    pub(super) batch: usize,
    /// Steps of an epoch.
    pub(super) per_epoch: usize,
    /// Passes over the dataset; 0 where there is no time for one.
    pub(super) epochs: usize,
    /// Steps of the run.
    pub(super) steps: usize,
    /// The budget in minutes and what was measured.
    pub(super) budget: Option<(f64, Pace)>,
}

impl Length {
    /// As long as the small recipes.
    pub(super) fn of_recipe(work: &Work) -> Self {
        let per_epoch = work.per_epoch();
        let epochs = RECIPE_STEPS.div_ceil(per_epoch).clamp(4, MOST_EPOCHS);
        Self {
            batch: work.batch,
            per_epoch,
            epochs,
            steps: epochs * per_epoch,
            budget: None,
        }
    }

    /// As long as a budget in minutes allows, evaluations included.
    pub(super) fn within(minutes: f64, work: &Work, pace: &Pace) -> Self {
        let per_epoch = work.per_epoch();
        let evaluation = pace.image_ms * work.val as f64;
        let left = |evaluations: usize| {
            let ms = PLANNED * minutes * 60e3 - evaluations as f64 * evaluation;
            (ms / pace.step_ms).max(0.0) as usize
        };
        let epochs = (left(EVALUATIONS) / per_epoch).min(MOST_EPOCHS);
        Self {
            batch: work.batch,
            per_epoch,
            epochs,
            steps: match epochs {
                0 => left(1).clamp(1, per_epoch),
                epochs => epochs * per_epoch,
            },
            budget: Some((minutes, *pace)),
        }
    }

    /// Epochs between two evaluations.
    pub(super) fn eval_every(&self) -> usize {
        self.epochs.div_ceil(EVALUATIONS).max(1)
    }

    /// Steps of warm-up.
    pub(super) fn warmup(&self) -> usize {
        (self.steps / 10).clamp(1, 100)
    }
}

/// Times steps of an experiment at its usual input.
///
/// # Errors
///
/// When the detector cannot be built.
pub(super) fn measure(experiment: &Experiment, device: &Device) -> Result<Pace, TrainError> {
    let options = |mode, batch| BenchOptions {
        mode,
        size: experiment.data.transform.usual_input(),
        batch,
        warmup: 2,
        repeats: 5,
        profile: false,
    };
    let batch = experiment.train.batch_size;
    let train = bench(experiment, &options(BenchMode::Train, batch), device)?;
    let infer = bench(experiment, &options(BenchMode::Infer, 1), device)?;
    Ok(Pace {
        step_ms: train.step_ms.median,
        image_ms: infer.step_ms.median,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace {
        step_ms: 100.0,
        image_ms: 20.0,
    };

    fn work(images: usize, val: usize) -> Work {
        Work {
            images,
            batch: 4,
            val,
        }
    }

    #[test]
    fn recipes_have_about_as_many_steps_whatever_the_dataset() {
        let check = |images, epochs| {
            assert_eq!(
                Length::of_recipe(&work(images, 0)).epochs,
                epochs,
                "{images}"
            );
        };
        check(292, 20);
        check(20, 100);
        check(1, 100);
        check(100_000, 4);
    }

    #[test]
    fn runs_fit_their_budget() {
        let check = |minutes: f64, images, val, epochs, steps| {
            let length = Length::within(minutes, &work(images, val), &PACE);
            assert_eq!((length.epochs, length.steps), (epochs, steps), "{minutes}");
            let ms = steps as f64 * PACE.step_ms + 2.0 * val as f64 * PACE.image_ms;
            assert!(epochs == 0 || ms <= minutes * 60e3);
        };
        check(10.0, 292, 72, 73, 73 * 73);
        check(1.0, 292, 72, 7, 7 * 73);
        // No time for a whole pass.
        check(0.1, 292, 72, 0, 39);
        // Too much time for a small dataset.
        check(60.0, 40, 10, 100, 1000);
    }
}

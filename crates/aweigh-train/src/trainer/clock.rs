//! Timing of the training loop.

use std::time::{Duration, Instant};

/// Measures the steps since the last line of the log.
#[derive(Debug)]
pub(super) struct Clock {
    lap: Instant,
    excluded: Duration,
    loading: Duration,
    reducing: Duration,
    steps: usize,
    images: usize,
    /// Smoothed seconds of a step.
    step_s: Option<f64>,
}

/// Timing of the steps since the last line of the log.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Timing {
    pub(super) images_per_s: f64,
    /// Share of the time spent waiting for the loader.
    pub(super) loading: f64,
    /// Share of the time spent with sums over all processes, waiting for the others included.
    pub(super) reducing: f64,
    /// Estimated seconds of the remaining steps.
    pub(super) eta_s: f64,
}

impl Clock {
    pub(super) fn start() -> Self {
        Self {
            lap: Instant::now(),
            excluded: Duration::ZERO,
            loading: Duration::ZERO,
            reducing: Duration::ZERO,
            steps: 0,
            images: 0,
            step_s: None,
        }
    }

    /// Counts the time of `load` as waiting for the loader.
    pub(super) fn loading<T>(&mut self, load: impl FnOnce() -> T) -> T {
        let started = Instant::now();
        let loaded = load();
        self.loading += started.elapsed();
        loaded
    }

    /// A step on so many images is done, which spent so much time with sums over all processes.
    pub(super) fn step(&mut self, images: usize, reducing: Duration) {
        self.steps += 1;
        self.images += images;
        self.reducing += reducing;
    }

    /// Leaves time that is not training, such as an evaluation, out of the lap.
    pub(super) fn exclude(&mut self, time: Duration) {
        self.excluded += time;
    }

    /// Ends a lap and starts the next one.
    pub(super) fn lap(&mut self, remaining: usize) -> Timing {
        let seconds = self
            .lap
            .elapsed()
            .saturating_sub(self.excluded)
            .as_secs_f64();
        let seconds = seconds.max(1e-9);
        let latest = seconds / self.steps.max(1) as f64;
        // Half of the weight lies on the latest three laps.
        let step_s = self.step_s.map_or(latest, |mean| 0.8 * mean + 0.2 * latest);
        let timing = Timing {
            images_per_s: self.images as f64 / seconds,
            loading: (self.loading.as_secs_f64() / seconds).min(1.0),
            reducing: (self.reducing.as_secs_f64() / seconds).min(1.0),
            eta_s: step_s * remaining as f64,
        };
        *self = Self {
            step_s: Some(step_s),
            ..Self::start()
        };
        timing
    }
}

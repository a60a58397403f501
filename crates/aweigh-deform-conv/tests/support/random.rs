//! Problems with random values, the same in every run.

use aweigh_deform_conv::DeformConvOptions;
use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::naive::Problem;

/// A stream of random numbers.
pub(crate) struct Random(ChaCha8Rng);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// Uniform in `low..=high`.
    pub(crate) fn between(&mut self, low: usize, high: usize) -> usize {
        low + self.0.next_u64() as usize % (high - low + 1)
    }

    /// One of the choices.
    pub(crate) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.between(0, choices.len() - 1)]
    }

    /// A multiple of 1/64 in `-limit..=limit`.
    ///
    /// These are the same numbers in every float type as long as the limit is at most 4, so that
    /// a computation in f64 starts from the same inputs; sampling positions are exact even in f32.
    pub(crate) fn value(&mut self, limit: usize) -> f64 {
        let steps = 64 * limit;
        (self.between(0, 2 * steps) as f64 - steps as f64) / 64.0
    }

    pub(crate) fn values(&mut self, count: usize, limit: usize) -> Vec<f64> {
        (0..count).map(|_| self.value(limit)).collect()
    }
}

/// Where taps sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offsets {
    /// At the regular positions.
    Zero,
    /// Half-way between pixels.
    Half,
    /// Up to this many pixels away.
    Within(usize),
    /// Outside of every map.
    Outside,
    /// Within a cell of the map's grid, at least a tenth of a pixel from its border: no kink
    /// within a small step. Not multiples of 1/64.
    Smooth,
}

/// A problem without its values.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) batch: usize,
    pub(crate) channels: [usize; 2],
    pub(crate) input: [usize; 2],
    pub(crate) kernel: [usize; 2],
    pub(crate) options: DeformConvOptions,
    pub(crate) offsets: Offsets,
    pub(crate) mask: bool,
    pub(crate) bias: bool,
}

impl Plan {
    /// A 3x3 convolution that keeps the map's size, with mask and bias.
    pub(crate) fn new(batch: usize, channels: [usize; 2], input: [usize; 2]) -> Self {
        Self {
            batch,
            channels,
            input,
            kernel: [3, 3],
            options: DeformConvOptions {
                padding: [1, 1],
                ..DeformConvOptions::default()
            },
            offsets: Offsets::Within(2),
            mask: true,
            bias: true,
        }
    }

    /// The problem with random values.
    pub(crate) fn fill(&self, random: &mut Random) -> Problem {
        let mut problem = Problem {
            batch: self.batch,
            channels: self.channels,
            input: self.input,
            kernel: self.kernel,
            options: self.options,
            x: Vec::new(),
            offset: Vec::new(),
            weight: Vec::new(),
            mask: None,
            bias: self.bias.then(|| random.values(self.channels[1], 1)),
            grad: Vec::new(),
        };
        let count = |shape: [usize; 4]| shape.iter().product();
        problem.x = random.values(count(problem.x_shape()), 1);
        problem.weight = random.values(count(problem.weight_shape()), 1);
        problem.grad = random.values(count(problem.output_shape()), 1);
        let mask_count = count(problem.mask_shape());
        problem.mask = self.mask.then(|| random.values(mask_count, 1));
        problem.offset = (0..2 * mask_count).map(|_| self.offset(random)).collect();
        problem
    }

    fn offset(&self, random: &mut Random) -> f64 {
        match self.offsets {
            Offsets::Zero => 0.0,
            Offsets::Half => random.pick(&[-1.5, -0.5, 0.5, 1.5]),
            Offsets::Within(limit) => random.value(limit),
            Offsets::Outside => random.pick(&[-1000.0, 1000.0]) + random.value(1),
            Offsets::Smooth => {
                let cell = random.between(0, 3) as f64 - 2.0;
                cell + 0.1 + 0.8 * random.between(0, 1000) as f64 / 1000.0
            }
        }
    }
}

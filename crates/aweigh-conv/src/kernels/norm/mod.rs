//! Group and batch normalisation with the activation behind them: one pass over memory as long as
//! what is normalised together stays in the second-level cache.

mod backward;
#[cfg(test)]
mod tests;

use std::mem::MaybeUninit;
use std::ops::Range;

pub(crate) use backward::{Gradients, backward};

use super::activation::{Activation, for_each_activation};
use super::planes::{SUM_VALUES, for_planes, total, vectors};
use super::threads::Shared;
use crate::simd::{InstructionSet, Kernel, LANES, Simd};

/// What is normalised together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// Neighbouring channels of an image, which has this many groups of them.
    Groups(usize),
    /// A channel of all images.
    Batch,
}

/// Sizes of a normalisation of `[B, C, P]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NormSizes {
    /// Images, B.
    pub(crate) batch: usize,
    /// Channels, C.
    pub(crate) channels: usize,
    /// Pixels of a channel, P.
    pub(crate) pixels: usize,
    /// What is normalised together.
    pub(crate) over: Over,
}

impl NormSizes {
    /// Values of the map.
    pub(crate) fn len(&self) -> usize {
        self.batch * self.channels * self.pixels
    }

    /// Number of sets of planes that are normalised together.
    pub(crate) fn sets(&self) -> usize {
        match self.over {
            Over::Groups(groups) => self.batch * groups,
            Over::Batch => self.channels,
        }
    }

    /// The planes of a set, each an image and a channel: its number is `image * C + channel`.
    fn set(&self, number: usize) -> Set {
        match self.over {
            Over::Groups(groups) => {
                let length = self.channels / groups;
                Set {
                    first: number * length,
                    runs: 1,
                    step: length,
                    length,
                }
            }
            Over::Batch => Set {
                first: number,
                runs: self.batch,
                step: self.channels,
                length: 1,
            },
        }
    }
}

/// Planes that are normalised together.
#[derive(Debug, Clone, Copy)]
struct Set {
    first: usize,
    /// Runs of neighbouring planes.
    runs: usize,
    /// From the first plane of a run to that of the next.
    step: usize,
    /// Planes in a run.
    length: usize,
}

impl Set {
    /// The planes of each run.
    #[inline(always)]
    fn runs(self) -> impl Iterator<Item = Range<usize>> {
        (0..self.runs).map(move |run| {
            let first = self.first + run * self.step;
            first..first + self.length
        })
    }

    /// Number of planes.
    fn planes(self) -> usize {
        self.runs * self.length
    }
}

/// A normalisation: its sizes and parameters.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Norm<'a> {
    /// Sizes of the map.
    pub(crate) sizes: NormSizes,
    /// Scale of each channel, `[C]`.
    pub(crate) gamma: &'a [f32],
    /// Shift of each channel, `[C]`.
    pub(crate) beta: &'a [f32],
    /// Added to the variance.
    pub(crate) epsilon: f64,
    /// What follows.
    pub(crate) activation: Activation,
}

impl Norm<'_> {
    #[track_caller]
    fn check(&self, x: &[f32], statistics: usize) {
        let sizes = &self.sizes;
        if let Over::Groups(groups) = sizes.over {
            assert!(groups > 0 && sizes.channels.is_multiple_of(groups));
        }
        assert_eq!(x.len(), sizes.len());
        assert!(self.gamma.len() == sizes.channels && self.beta.len() == sizes.channels);
        assert_eq!(statistics, sizes.sets());
    }

    /// Values of a set.
    fn values(&self) -> usize {
        self.sizes.set(0).planes() * self.sizes.pixels
    }

    /// How a plane is normalised by the statistics of its set.
    ///
    /// # Safety
    ///
    /// The machine has the instructions of `S`.
    #[inline(always)]
    unsafe fn plane<S: Simd>(&self, plane: usize, statistics: Statistics) -> Plane<S> {
        let channel = plane % self.sizes.channels;
        let scale = self.gamma[channel] * statistics.inverse_deviation(self.epsilon);
        // SAFETY: by this function's own condition.
        unsafe {
            Plane {
                mean: S::splat(statistics.mean),
                scale: S::splat(scale),
                beta: S::splat(self.beta[channel]),
            }
        }
    }
}

/// What a set is normalised with, kept for backward.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Statistics {
    /// Mean of its values.
    pub(crate) mean: f32,
    /// Their biased variance.
    pub(crate) variance: f32,
}

impl Statistics {
    /// `1 / sqrt(variance + epsilon)`.
    pub(crate) fn inverse_deviation(&self, epsilon: f64) -> f32 {
        (1.0 / (f64::from(self.variance) + epsilon).sqrt()) as f32
    }
}

/// `y = activation((x - mean) / sqrt(variance + epsilon) gamma + beta)`, with mean and variance of
/// each set, which go to `statistics`.
///
/// # Panics
///
/// When a length does not fit the sizes.
pub(crate) fn forward(
    set: InstructionSet,
    norm: &Norm<'_>,
    x: &[f32],
    out: &mut [MaybeUninit<f32>],
    statistics: &mut [MaybeUninit<Statistics>],
) {
    norm.check(x, statistics.len());
    assert_eq!(out.len(), x.len());
    let (to, to_statistics) = (Shared::new(out), Shared::new(statistics));
    let sets = norm.sizes.sets();
    for_planes(
        sets,
        norm.values(),
        || (),
        |(), range| {
            for number in range {
                let kernel = Forward {
                    x,
                    norm,
                    set: norm.sizes.set(number),
                    out: to.get().cast(),
                };
                // SAFETY: `out` is as long as `x`; each job writes to the planes of sets of its own.
                unsafe {
                    let statistics = MaybeUninit::new(set.run(kernel));
                    to_statistics.get().add(number).write(statistics);
                }
            }
        },
    );
}

/// A plane's `y = (x - mean) scale + beta`. Forward and backward round it the same way, so that an
/// activation's mask is that of its output.
#[derive(Clone, Copy)]
struct Plane<S: Simd> {
    mean: S::V,
    scale: S::V,
    beta: S::V,
}

impl<S: Simd> Plane<S> {
    /// `x - mean` and `y`.
    #[inline(always)]
    unsafe fn normalise(&self, x: S::V) -> [S::V; 2] {
        // SAFETY: as a kernel's `run`.
        unsafe {
            let centred = S::sub(x, self.mean);
            [centred, S::mul_add(centred, self.scale, self.beta)]
        }
    }
}

/// The planes of a set.
struct Forward<'a> {
    x: &'a [f32],
    norm: &'a Norm<'a>,
    set: Set,
    /// The whole output.
    out: *mut f32,
}

impl Kernel for Forward<'_> {
    type Output = Statistics;

    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> Statistics {
        let pixels = self.norm.sizes.pixels;
        // SAFETY: `out` is as long as `x`.
        unsafe {
            let mut moments = Moments::NONE;
            for run in self.set.runs() {
                moments = moments.and::<S>(&self.x[run.start * pixels..run.end * pixels]);
            }
            let statistics = Statistics {
                mean: moments.mean as f32,
                variance: (moments.squares / moments.count) as f32,
            };
            for plane in self.set.runs().flatten() {
                for_each_activation!(self.norm.activation, |activation| {
                    self.apply::<S>(plane, statistics, activation);
                });
            }
            statistics
        }
    }
}

impl Forward<'_> {
    #[inline(always)]
    unsafe fn apply<S: Simd>(&self, plane: usize, statistics: Statistics, activation: Activation) {
        let pixels = self.norm.sizes.pixels;
        // SAFETY: as `run`'s.
        unsafe {
            let affine = self.norm.plane::<S>(plane, statistics);
            let x = self.x[plane * pixels..][..pixels].as_ptr();
            let out = self.out.add(plane * pixels);
            vectors!(pixels, |i, n| {
                let [_, y] = affine.normalise(S::load_first(x.add(i), n));
                S::store_first(out.add(i), activation.of::<S>(y), n);
            });
        }
    }
}

/// How many values there are, their mean, and the sum of the squared distances to it.
#[derive(Clone, Copy)]
struct Moments {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Moments {
    /// Those of no values.
    const NONE: Self = Self {
        count: 0.0,
        mean: 0.0,
        squares: 0.0,
    };

    /// The moments of two sets of values together (Chan et al. 1979).
    fn join(self, other: Self) -> Self {
        let count = self.count + other.count;
        let apart = other.mean - self.mean;
        let share = other.count / count;
        Self {
            count,
            mean: self.mean + apart * share,
            squares: self.squares + other.squares + apart * apart * self.count * share,
        }
    }

    /// The moments with some more values: block by block about the mean of the block, which is exact
    /// enough however far the mean is from 0, and joined in `f64`. A block stays in the first-level
    /// cache, so that going over it twice costs little beside memory.
    #[inline(always)]
    unsafe fn and<S: Simd>(self, x: &[f32]) -> Self {
        let mut all = self;
        for block in x.chunks(SUM_VALUES) {
            // SAFETY: as a kernel's `run`.
            all = all.join(unsafe { Self::of_block::<S>(block) });
        }
        all
    }

    #[inline(always)]
    unsafe fn of_block<S: Simd>(x: &[f32]) -> Self {
        let count = x.len() as f64;
        // SAFETY: as a kernel's `run`.
        unsafe {
            let mut sums = [S::zero(); 4];
            vectors!(x.len(), |i, n, turn| {
                sums[turn] = S::add(sums[turn], S::load_first(x.as_ptr().add(i), n));
            });
            let mean = (total::<S>(sums) / count) as f32;
            let [mut sums, mut squares] = [[S::zero(); 4]; 2];
            let middle = S::splat(mean);
            let means = [mean; LANES];
            vectors!(x.len(), |i, n, turn| {
                // Lanes beyond the last value are at no distance.
                let from = if n < LANES {
                    S::load_first(means.as_ptr(), n)
                } else {
                    middle
                };
                let distance = S::sub(S::load_first(x.as_ptr().add(i), n), from);
                sums[turn] = S::add(sums[turn], distance);
                squares[turn] = S::mul_add(distance, distance, squares[turn]);
            });
            // What the rounding of the mean leaves.
            let rest = total::<S>(sums);
            Self {
                count,
                mean: f64::from(mean) + rest / count,
                squares: total::<S>(squares) - rest * rest / count,
            }
        }
    }
}

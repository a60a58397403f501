//! Group normalisation, alone or with a ReLU: one pass over memory as long as a group stays in the
//! second-level cache.

mod backward;
#[cfg(test)]
mod tests;

use std::mem::MaybeUninit;

pub(crate) use backward::{Gradients, backward};

use super::activation::Activation;
use super::planes::{SUM_VALUES, for_planes, total, vectors};
use super::threads::Shared;
use crate::simd::{InstructionSet, Kernel, LANES, Simd};

/// Sizes of a normalisation of `[B, C, P]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NormSizes {
    /// Images, B.
    pub(crate) batch: usize,
    /// Channels, C.
    pub(crate) channels: usize,
    /// Pixels of a channel, P.
    pub(crate) pixels: usize,
    /// Groups of channels that are normalised together, G.
    pub(crate) groups: usize,
}

impl NormSizes {
    /// Values of the map.
    pub(crate) fn len(&self) -> usize {
        self.batch * self.channels * self.pixels
    }

    /// Channels of a group.
    fn channels_of_group(&self) -> usize {
        self.channels / self.groups
    }

    /// Values of a group.
    fn values_of_group(&self) -> usize {
        self.channels_of_group() * self.pixels
    }
}

/// A normalisation: its sizes and parameters.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GroupNorm<'a> {
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

impl GroupNorm<'_> {
    #[track_caller]
    fn check(&self, x: &[f32], statistics: usize) {
        let sizes = &self.sizes;
        assert!(sizes.groups > 0 && sizes.channels.is_multiple_of(sizes.groups));
        assert_eq!(x.len(), sizes.len());
        assert!(self.gamma.len() == sizes.channels && self.beta.len() == sizes.channels);
        assert_eq!(statistics, sizes.batch * sizes.groups);
    }

    /// The parameters of one of the `B * G` groups.
    fn affine(&self, group: usize) -> Affine<'_> {
        let channels = self.sizes.channels_of_group();
        let first = group % self.sizes.groups * channels;
        Affine {
            gamma: &self.gamma[first..][..channels],
            beta: &self.beta[first..][..channels],
            pixels: self.sizes.pixels,
            activation: self.activation,
        }
    }
}

/// What a group is normalised with, kept for backward.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Statistics {
    /// Mean of its values.
    pub(crate) mean: f32,
    /// `1 / sqrt(variance + epsilon)`, with the biased variance.
    pub(crate) rstd: f32,
}

/// `y = (x - mean) rstd gamma + beta`, and a ReLU of it if there is one, with mean and variance of
/// each image's group of channels. The statistics go to `statistics`, `[B * G]`.
///
/// # Panics
///
/// When a length does not fit the sizes.
pub(crate) fn forward(
    set: InstructionSet,
    norm: &GroupNorm<'_>,
    x: &[f32],
    out: &mut [MaybeUninit<f32>],
    statistics: &mut [MaybeUninit<Statistics>],
) {
    norm.check(x, statistics.len());
    assert_eq!(out.len(), x.len());
    let (groups, len) = (statistics.len(), norm.sizes.values_of_group());
    let (to, to_statistics) = (Shared::new(out), Shared::new(statistics));
    for_planes(
        groups,
        len,
        || (),
        |(), range| {
            for group in range {
                let kernel = Forward {
                    x: &x[group * len..][..len],
                    affine: norm.affine(group),
                    epsilon: norm.epsilon,
                    // SAFETY: a place of the output, which is as long as `x`.
                    out: unsafe { to.get().add(group * len).cast() },
                };
                // SAFETY: as long as a group; each job writes to groups of its own.
                unsafe {
                    let statistics = MaybeUninit::new(set.run(kernel));
                    to_statistics.get().add(group).write(statistics);
                }
            }
        },
    );
}

/// The scale and shift of a group's channels after normalisation, and what follows.
#[derive(Clone, Copy)]
struct Affine<'a> {
    gamma: &'a [f32],
    beta: &'a [f32],
    pixels: usize,
    activation: Activation,
}

/// A channel's `y = (x - mean) scale + beta`. Forward and backward round it the same way, so that a
/// ReLU's mask is that of its output.
#[derive(Clone, Copy)]
struct Channel<S: Simd> {
    mean: S::V,
    scale: S::V,
    beta: S::V,
}

impl Affine<'_> {
    #[inline(always)]
    unsafe fn channel<S: Simd>(&self, channel: usize, statistics: Statistics) -> Channel<S> {
        // SAFETY: as a kernel's `run`.
        unsafe {
            Channel {
                mean: S::splat(statistics.mean),
                scale: S::splat(self.gamma[channel] * statistics.rstd),
                beta: S::splat(self.beta[channel]),
            }
        }
    }
}

impl<S: Simd> Channel<S> {
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

struct Forward<'a> {
    x: &'a [f32],
    affine: Affine<'a>,
    epsilon: f64,
    out: *mut f32,
}

impl Kernel for Forward<'_> {
    type Output = Statistics;

    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> Statistics {
        // SAFETY: `out` is as long as `x`.
        unsafe {
            let moments = Moments::of::<S>(self.x);
            let statistics = Statistics {
                mean: moments.mean as f32,
                rstd: (1.0 / (moments.squares / moments.count + self.epsilon).sqrt()) as f32,
            };
            for channel in 0..self.affine.gamma.len() {
                if self.affine.activation == Activation::Relu {
                    self.apply::<S, true>(channel, statistics);
                } else {
                    self.apply::<S, false>(channel, statistics);
                }
            }
            statistics
        }
    }
}

impl Forward<'_> {
    #[inline(always)]
    unsafe fn apply<S: Simd, const RELU: bool>(&self, channel: usize, statistics: Statistics) {
        // SAFETY: as `run`'s.
        unsafe {
            let affine = self.affine.channel::<S>(channel, statistics);
            let at = channel * self.affine.pixels;
            let (x, out) = (self.x.as_ptr().add(at), self.out.add(at));
            vectors!(self.affine.pixels, |i, n| {
                let [_, mut y] = affine.normalise(S::load_first(x.add(i), n));
                if RELU {
                    y = S::relu(y);
                }
                S::store_first(out.add(i), y, n);
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

    /// The moments of some values: block by block about the mean of the block, which is exact
    /// enough however far the mean is from 0, and joined in `f64`. A block stays in the first-level
    /// cache, so that going over it twice costs little beside memory.
    #[inline(always)]
    unsafe fn of<S: Simd>(x: &[f32]) -> Self {
        let mut all = Self {
            count: 0.0,
            mean: 0.0,
            squares: 0.0,
        };
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

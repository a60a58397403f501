//! The sigmoid focal loss of all classes and points, with its gradient, in one pass.

#[cfg(test)]
mod tests;

use std::mem::MaybeUninit;
use std::ops::Range;
use std::ptr;

use super::math::{exp_below_one, exp_of_negative, ln_1p};
use super::planes::{total, vectors};
use super::threads::{Shared, parallel};
use crate::simd::{InstructionSet, Kernel, Simd};

/// Parameters of the loss `a (1 - p_t)^gamma * -ln p_t` (Lin et al. 2017, equation 5).
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Focal {
    /// Exponent, at least 0.
    pub(crate) gamma: f64,
    /// Weight `a` of a class that is present; one that is absent weighs `1 - alpha`. Below 0 both
    /// weigh 1.
    pub(crate) alpha: f64,
}

/// Sizes of the logits, `[B, C, P]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FocalSizes {
    /// Images, B.
    pub(crate) batch: usize,
    /// Classes, C.
    pub(crate) classes: usize,
    /// Points, P.
    pub(crate) points: usize,
}

/// Factors of the losses.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Weights<'a> {
    /// One for each point, `[B, P]`.
    Points(&'a [f32]),
    /// One for each logit, in the order of the logits.
    Logits(&'a [f32]),
}

/// The classes that are present.
#[derive(Clone, Copy)]
pub(crate) struct Labels<'a, L> {
    /// Of each point the class that is present, `[B, P]`; none where it is not one of `0..C`.
    pub(crate) labels: &'a [L],
    /// Factors of the losses.
    pub(crate) weights: Weights<'a>,
}

/// The losses of all classes and points, times their weights, summed. With `gradient`, the
/// derivative of the sum by each logit is stored there.
///
/// With `u = -x` where the class is present and `u = x` where it is absent, `1 - p_t` is
/// `q = sigmoid(u)`, `-ln p_t` is `e = ln(1 + exp(u))`, and the derivative by `u` is
/// `a q^gamma (gamma (1 - q) e + q)`.
///
/// # Panics
///
/// When a length does not fit the sizes, or `gamma` is negative.
pub(crate) fn focal_sum<L: Copy + Into<i64> + Sync>(
    set: InstructionSet,
    sizes: &FocalSizes,
    focal: &Focal,
    logits: &[f32],
    target: &Labels<'_, L>,
    gradient: Option<&mut [MaybeUninit<f32>]>,
) -> f64 {
    sizes.check(logits.len(), target);
    assert!(
        focal.gamma >= 0.0,
        "gamma of the focal loss is {}, below 0",
        focal.gamma
    );
    assert!(
        gradient
            .as_ref()
            .is_none_or(|gradient| gradient.len() == logits.len())
    );
    let each = sizes.points_of_job();
    let of_image = sizes.points.div_ceil(each);
    let mut sums = vec![0.0f64; sizes.batch * of_image];
    let (to, to_sums) = (gradient.map(Shared::new), Shared::new(&mut sums));
    let scratch = || vec![0.0f32; each];
    parallel(sizes.batch * of_image, scratch, |scratch, job| {
        let (image, first) = (job / of_image, job % of_image * each);
        let points = first..(first + each).min(sizes.points);
        let labels = &target.labels[image * sizes.points..][..sizes.points];
        for (to, label) in scratch.iter_mut().zip(&labels[points.clone()]) {
            *to = sizes.class(*label);
        }
        let tile = Tile {
            sizes,
            focal,
            target,
            logits: logits.as_ptr(),
            gradient: to.map_or(ptr::null_mut(), |to| to.get().cast()),
            image,
            points,
            scratch,
        };
        // SAFETY: all lengths have been checked; each job writes to points and a sum of its own.
        unsafe { *to_sums.get().add(job) = set.run(tile) };
    });
    sums.iter().sum()
}

impl FocalSizes {
    #[track_caller]
    fn check<L>(&self, logits: usize, target: &Labels<'_, L>) {
        let points = self.batch * self.points;
        assert_eq!(logits, points * self.classes);
        assert_eq!(target.labels.len(), points);
        match target.weights {
            Weights::Points(weights) => assert_eq!(weights.len(), points),
            Weights::Logits(weights) => assert_eq!(weights.len(), logits),
        }
        // Classes are compared as `f32`.
        assert!(self.classes <= 1 << 24);
    }

    /// Points of a job: rows of at least 4 kB, and at least 65 536 logits, some tens of
    /// microseconds.
    fn points_of_job(&self) -> usize {
        ((1 << 16) / self.classes.max(1)).clamp(1 << 10, 1 << 16)
    }

    /// A label as a number that equals that of its class, -1 if it is none.
    fn class<L: Into<i64>>(&self, label: L) -> f32 {
        let label = label.into();
        if (0..self.classes as i64).contains(&label) {
            label as f32
        } else {
            -1.0
        }
    }
}

/// All classes of some points of an image.
struct Tile<'a, L> {
    sizes: &'a FocalSizes,
    focal: &'a Focal,
    target: &'a Labels<'a, L>,
    /// Of all images, as the gradient.
    logits: *const f32,
    /// Null: not wanted.
    gradient: *mut f32,
    image: usize,
    points: Range<usize>,
    /// The labels of the points.
    scratch: &'a [f32],
}

/// Logits of one class that lie one after another.
#[derive(Clone, Copy)]
struct Row {
    /// Place of the first among all logits.
    at: usize,
    count: usize,
    /// The class: present is where the scratch equals it.
    class: f32,
    /// One for each logit.
    weights: *const f32,
}

/// Powers of `1 - p_t` that need no exponential.
const ZERO: u8 = 0;
const ONE: u8 = 1;
const TWO: u8 = 2;
const OTHER: u8 = 3;

impl<L: Copy + Into<i64> + Sync> Kernel for Tile<'_, L> {
    type Output = f64;

    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> f64 {
        // SAFETY: the pointers are valid for the sizes.
        unsafe {
            match (self.focal.gamma, self.gradient.is_null()) {
                (2.0, false) => self.rows::<S, TWO, true>(),
                (2.0, true) => self.rows::<S, TWO, false>(),
                (1.0, false) => self.rows::<S, ONE, true>(),
                (1.0, true) => self.rows::<S, ONE, false>(),
                (0.0, false) => self.rows::<S, ZERO, true>(),
                (0.0, true) => self.rows::<S, ZERO, false>(),
                (_, false) => self.rows::<S, OTHER, true>(),
                (_, true) => self.rows::<S, OTHER, false>(),
            }
        }
    }
}

impl<L: Copy + Into<i64>> Tile<'_, L> {
    #[inline(always)]
    unsafe fn rows<S: Simd, const POWER: u8, const STORE: bool>(&self) -> f64 {
        let mut sum = 0.0;
        for i in 0..self.sizes.classes {
            // SAFETY: as `run`'s.
            sum += unsafe { self.row::<S, POWER, STORE>(self.at(i)) };
        }
        sum
    }

    /// The points of a class.
    #[inline(always)]
    fn at(&self, class: usize) -> Row {
        let s = self.sizes;
        let at = (self.image * s.classes + class) * s.points + self.points.start;
        let point = self.image * s.points + self.points.start;
        let weights = match self.target.weights {
            Weights::Points(weights) => &weights[point..],
            Weights::Logits(weights) => &weights[at..],
        };
        Row {
            at,
            count: self.points.len(),
            class: class as f32,
            weights: weights.as_ptr(),
        }
    }

    #[inline(always)]
    unsafe fn row<S: Simd, const POWER: u8, const STORE: bool>(&self, row: Row) -> f64 {
        // SAFETY: as `run`'s; the scratch is as long as a row.
        unsafe {
            let one = S::splat(1.0);
            let [present, absent] = match self.focal.alpha {
                alpha if alpha < 0.0 => [one; 2],
                alpha => [S::splat(alpha as f32), S::splat((1.0 - alpha) as f32)],
            };
            let mut sums = [S::zero(); 4];
            vectors!(row.count, |i, n, turn| {
                let x = S::load_first(self.logits.add(row.at + i), n);
                // Above 0 where the class is present: whole numbers differ by 1 or more.
                let apart = S::load_first(self.scratch.as_ptr().add(i), n);
                let apart = S::sub(apart, S::splat(row.class));
                let same = S::neg_mul_add(apart, apart, S::splat(0.5));
                let side = S::select_positive(same, S::splat(-1.0), one);
                let mut weight = S::select_positive(same, present, absent);
                weight = S::mul(weight, S::load_first(row.weights.add(i), n));
                let [value, slope] = self.loss::<S, POWER>(S::mul(x, side));
                if n == crate::simd::LANES {
                    sums[turn] = S::mul_add(value, weight, sums[turn]);
                } else {
                    let mut values = [0.0; crate::simd::LANES];
                    S::store_first(values.as_mut_ptr(), S::mul(value, weight), n);
                    sums[turn] = S::add(sums[turn], S::load(values.as_ptr()));
                }
                if STORE {
                    let slope = S::mul(S::mul(slope, side), weight);
                    S::store_first(self.gradient.add(row.at + i), slope, n);
                }
            });
            total::<S>(sums)
        }
    }

    /// `q^gamma e` and its derivative by `u`.
    #[inline(always)]
    unsafe fn loss<S: Simd, const POWER: u8>(&self, u: S::V) -> [S::V; 2] {
        // SAFETY: as `run`'s.
        unsafe {
            let (zero, one) = (S::zero(), S::splat(1.0));
            let minus = S::sub(zero, u);
            // With t = exp(-|u|) nothing overflows: exp(u) is t or 1 / t.
            let t = exp_of_negative::<S>(S::sub(zero, S::max(minus, u)));
            let logarithm = ln_1p::<S>(t);
            let entropy = S::add(S::relu(u), logarithm);
            let inverse = S::div(one, S::add(one, t));
            let small = S::mul(t, inverse);
            let miss = S::select_positive(u, inverse, small);
            let hit = S::select_positive(u, small, inverse);
            let gamma = self.focal.gamma as f32;
            let focus = match POWER {
                ZERO => one,
                ONE => miss,
                TWO => S::mul(miss, miss),
                // ln q = min(u, 0) - ln(1 + t)
                _ => exp_below_one::<S>(
                    S::sub(zero, S::relu(minus)),
                    gamma,
                    S::mul(logarithm, S::splat(-gamma)),
                ),
            };
            let slope = S::mul(S::mul(hit, entropy), S::splat(gamma));
            [S::mul(focus, entropy), S::mul(focus, S::add(slope, miss))]
        }
    }
}

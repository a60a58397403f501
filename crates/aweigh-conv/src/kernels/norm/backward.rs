//! The gradients of a normalisation.

use std::mem::MaybeUninit;

use super::{Norm, Plane, Set, Statistics};
use crate::kernels::activation::{Activation, for_each_activation};
use crate::kernels::planes::{SUM_VALUES, for_planes, total, vectors};
use crate::kernels::threads::Shared;
use crate::simd::{InstructionSet, Kernel, Simd};

/// Where the gradients go.
pub(crate) struct Gradients<'a> {
    /// Of the input, `[B, C, P]`, if wanted.
    pub(crate) x: Option<&'a mut [MaybeUninit<f32>]>,
    /// Of the scale, `[C]`.
    pub(crate) gamma: &'a mut [MaybeUninit<f32>],
    /// Of the shift, `[C]`.
    pub(crate) beta: &'a mut [MaybeUninit<f32>],
}

/// Gradients of [`forward`](super::forward) from its input and statistics.
///
/// With `g` the gradient of `y` where the activation has passed it, `r` the inverse deviation, `n`
/// values in a set and `h = (x - mean) r`:
/// `dx = r (gamma g - (sum(gamma g) + h sum(gamma g h)) / n)`, sums over the set.
///
/// # Panics
///
/// When a length does not fit the sizes.
pub(crate) fn backward(
    set: InstructionSet,
    norm: &Norm<'_>,
    x: &[f32],
    statistics: &[Statistics],
    grad: &[f32],
    to: Gradients<'_>,
) {
    let sizes = &norm.sizes;
    norm.check(x, statistics.len());
    assert_eq!(grad.len(), x.len());
    assert!(to.x.as_ref().is_none_or(|dx| dx.len() == x.len()));
    assert!(to.gamma.len() == sizes.channels && to.beta.len() == sizes.channels);
    let mut of_planes = vec![[0.0f64; 2]; sizes.batch * sizes.channels];
    let (dx, sums) = (to.x.map(Shared::new), Shared::new(&mut of_planes));
    for_planes(
        statistics.len(),
        norm.values(),
        || (),
        |(), range| {
            for number in range {
                let kernel = Backward {
                    x,
                    grad,
                    norm,
                    set: sizes.set(number),
                    statistics: statistics[number],
                    sums: sums.get(),
                    dx: dx.map(|dx| dx.get().cast()),
                };
                // SAFETY: there are sums for each plane, and `dx` is as long as `x`; each job writes
                // to those of the planes of sets of its own.
                unsafe { set.run(kernel) };
            }
        },
    );
    for (channel, (gamma, beta)) in to.gamma.iter_mut().zip(to.beta).enumerate() {
        let sums = of_planes.iter().skip(channel).step_by(sizes.channels);
        let sums = sums.fold([0.0; 2], |[a, b], [c, d]| [a + c, b + d]);
        beta.write(sums[0] as f32);
        gamma.write(sums[1] as f32);
    }
}

/// The planes of a set.
struct Backward<'a> {
    x: &'a [f32],
    grad: &'a [f32],
    norm: &'a Norm<'a>,
    set: Set,
    statistics: Statistics,
    /// Of each plane of the map, `sum(g)` and `sum(g h)`.
    sums: *mut [f64; 2],
    /// The whole gradient of the input.
    dx: Option<*mut f32>,
}

impl Kernel for Backward<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: `grad` and `dx` are as long as `x`, and there are sums for each plane.
        unsafe {
            for_each_activation!(self.norm.activation, |activation| {
                self.set::<S>(activation);
            })
        }
    }
}

impl Backward<'_> {
    #[inline(always)]
    unsafe fn set<S: Simd>(&self, activation: Activation) {
        let Norm { sizes, gamma, .. } = self.norm;
        let inverse = f64::from(self.statistics.inverse_deviation(self.norm.epsilon));
        let count = (self.set.planes() * sizes.pixels) as f64;
        let mut means = [0.0f64; 2];
        for plane in self.set.runs().flatten() {
            // SAFETY: as `run`'s.
            let sums = unsafe {
                let [g, distances] = self.sums_of::<S>(plane, activation);
                let sums = [g, distances * inverse];
                *self.sums.add(plane) = sums;
                sums
            };
            for (mean, sum) in means.iter_mut().zip(sums) {
                *mean += f64::from(gamma[plane % sizes.channels]) * sum / count;
            }
        }
        let Some(dx) = self.dx else { return };
        // dx = scale g + slope (x - mean) + offset.
        let slope = (-inverse * inverse * means[1]) as f32;
        let line = [slope, (-inverse * means[0]) as f32];
        for plane in self.set.runs().flatten() {
            // SAFETY: as `run`'s.
            unsafe { self.apply::<S>(plane, line, dx, activation) };
        }
    }

    /// `x - mean` and `g` of `count` values from place `at` on.
    #[inline(always)]
    unsafe fn load<S: Simd>(
        &self,
        affine: Plane<S>,
        (at, count): (usize, usize),
        activation: Activation,
    ) -> [S::V; 2] {
        // SAFETY: as `run`'s.
        unsafe {
            let x = S::load_first(self.x.as_ptr().add(at), count);
            let grad = S::load_first(self.grad.as_ptr().add(at), count);
            let [centred, y] = affine.normalise(x);
            [centred, activation.gradient::<S>(y, grad)]
        }
    }

    /// Sums of `g` and `g (x - mean)` of a plane.
    #[inline(always)]
    unsafe fn sums_of<S: Simd>(&self, plane: usize, activation: Activation) -> [f64; 2] {
        let mut all = [0.0; 2];
        // SAFETY: as `run`'s.
        unsafe {
            let affine = self.norm.plane::<S>(plane, self.statistics);
            let pixels = self.norm.sizes.pixels;
            for block in (0..pixels).step_by(SUM_VALUES) {
                let [mut plain, mut weighted] = [[S::zero(); 4]; 2];
                vectors!((pixels - block).min(SUM_VALUES), |i, n, turn| {
                    let at = plane * pixels + block + i;
                    let [centred, grad] = self.load::<S>(affine, (at, n), activation);
                    plain[turn] = S::add(plain[turn], grad);
                    weighted[turn] = S::mul_add(centred, grad, weighted[turn]);
                });
                all[0] += total::<S>(plain);
                all[1] += total::<S>(weighted);
            }
        }
        all
    }

    #[inline(always)]
    unsafe fn apply<S: Simd>(
        &self,
        plane: usize,
        [slope, offset]: [f32; 2],
        dx: *mut f32,
        activation: Activation,
    ) {
        let pixels = self.norm.sizes.pixels;
        // SAFETY: as `run`'s.
        unsafe {
            let affine = self.norm.plane::<S>(plane, self.statistics);
            let (slope, offset) = (S::splat(slope), S::splat(offset));
            vectors!(pixels, |i, n| {
                let at = plane * pixels + i;
                let [centred, grad] = self.load::<S>(affine, (at, n), activation);
                let rest = S::mul_add(centred, slope, offset);
                S::store_first(dx.add(at), S::mul_add(affine.scale, grad, rest), n);
            });
        }
    }
}

//! The gradients of a group normalisation.

use std::mem::MaybeUninit;
use std::slice;

use super::{Affine, Channel, GroupNorm, Statistics};
use crate::kernels::activation::Activation;
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
/// With `g` the gradient of `y` where the ReLU has passed it, `n` values in a group and
/// `h = (x - mean) rstd`:
/// `dx = rstd (gamma g - (sum(gamma g) + h sum(gamma g h)) / n)`, sums over the group.
///
/// # Panics
///
/// When a length does not fit the sizes.
pub(crate) fn backward(
    set: InstructionSet,
    norm: &GroupNorm<'_>,
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
    let (len, channels) = (sizes.values_of_group(), sizes.channels_of_group());
    let mut of_images = vec![[0.0f64; 2]; sizes.batch * sizes.channels];
    let (dx, sums) = (to.x.map(Shared::new), Shared::new(&mut of_images));
    for_planes(
        statistics.len(),
        len,
        || (),
        |(), range| {
            for group in range {
                let kernel = Backward {
                    x: &x[group * len..][..len],
                    grad: &grad[group * len..][..len],
                    affine: norm.affine(group),
                    statistics: statistics[group],
                    // SAFETY: the sums of the group's channels, which are no other group's.
                    sums: unsafe {
                        slice::from_raw_parts_mut(sums.get().add(group * channels), channels)
                    },
                    // SAFETY: a place of the output, which is as long as `x`.
                    dx: dx.map(|dx| unsafe { dx.get().add(group * len).cast() }),
                };
                // SAFETY: as long as a group; each job writes to groups of its own.
                unsafe { set.run(kernel) };
            }
        },
    );
    for (channel, (gamma, beta)) in to.gamma.iter_mut().zip(to.beta).enumerate() {
        let sums = of_images.iter().skip(channel).step_by(sizes.channels);
        let sums = sums.fold([0.0; 2], |[a, b], [c, d]| [a + c, b + d]);
        beta.write(sums[0] as f32);
        gamma.write(sums[1] as f32);
    }
}

struct Backward<'a> {
    x: &'a [f32],
    grad: &'a [f32],
    affine: Affine<'a>,
    statistics: Statistics,
    /// Of each channel, `sum(g)` and `sum(g h)`.
    sums: &'a mut [[f64; 2]],
    dx: Option<*mut f32>,
}

impl Kernel for Backward<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: `grad` and `dx` are as long as `x`.
        unsafe {
            if self.affine.activation == Activation::Relu {
                self.group::<S, true>();
            } else {
                self.group::<S, false>();
            }
        }
    }
}

impl Backward<'_> {
    #[inline(always)]
    unsafe fn group<S: Simd, const RELU: bool>(self) {
        let rstd = f64::from(self.statistics.rstd);
        let mut means = [0.0f64; 2];
        for channel in 0..self.sums.len() {
            // SAFETY: as `run`'s.
            let [g, distances] = unsafe { self.sums_of::<S, RELU>(channel) };
            self.sums[channel] = [g, distances * rstd];
            for (mean, sum) in means.iter_mut().zip(self.sums[channel]) {
                *mean += f64::from(self.affine.gamma[channel]) * sum / self.x.len() as f64;
            }
        }
        let Some(dx) = self.dx else { return };
        // dx = scale g + slope (x - mean) + offset.
        let (slope, offset) = ((-rstd * rstd * means[1]) as f32, (-rstd * means[0]) as f32);
        for channel in 0..self.sums.len() {
            // SAFETY: as `run`'s.
            unsafe { self.apply::<S, RELU>(channel, slope, offset, dx) };
        }
    }

    /// `x - mean` and `g` of some values.
    #[inline(always)]
    unsafe fn load<S: Simd, const RELU: bool>(
        &self,
        affine: Channel<S>,
        at: usize,
        count: usize,
    ) -> [S::V; 2] {
        // SAFETY: as `run`'s.
        unsafe {
            let x = S::load_first(self.x.as_ptr().add(at), count);
            let mut grad = S::load_first(self.grad.as_ptr().add(at), count);
            let [centred, y] = affine.normalise(x);
            if RELU {
                grad = S::where_positive(y, grad);
            }
            [centred, grad]
        }
    }

    /// Sums of `g` and `g (x - mean)` of a channel.
    #[inline(always)]
    unsafe fn sums_of<S: Simd, const RELU: bool>(&self, channel: usize) -> [f64; 2] {
        let mut all = [0.0; 2];
        // SAFETY: as `run`'s.
        unsafe {
            let affine = self.affine.channel::<S>(channel, self.statistics);
            let pixels = self.affine.pixels;
            for block in (0..pixels).step_by(SUM_VALUES) {
                let [mut plain, mut weighted] = [[S::zero(); 4]; 2];
                vectors!((pixels - block).min(SUM_VALUES), |i, n, turn| {
                    let at = channel * pixels + block + i;
                    let [centred, grad] = self.load::<S, RELU>(affine, at, n);
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
    unsafe fn apply<S: Simd, const RELU: bool>(
        &self,
        channel: usize,
        slope: f32,
        offset: f32,
        dx: *mut f32,
    ) {
        // SAFETY: as `run`'s.
        unsafe {
            let affine = self.affine.channel::<S>(channel, self.statistics);
            let (slope, offset) = (S::splat(slope), S::splat(offset));
            vectors!(self.affine.pixels, |i, n| {
                let at = channel * self.affine.pixels + i;
                let [centred, grad] = self.load::<S, RELU>(affine, at, n);
                let rest = S::mul_add(centred, slope, offset);
                S::store_first(dx.add(at), S::mul_add(affine.scale, grad, rest), n);
            });
        }
    }
}

//! Activations with what stands before them: a sum of two maps, or a bias.

use std::mem::MaybeUninit;
use std::ops::Range;
use std::ptr;

use super::planes::{SUM_VALUES, for_planes, for_values, total, vectors};
use super::threads::Shared;
use crate::simd::{InstructionSet, Kernel, Simd};

/// What follows a layer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Activation {
    /// `max(x, 0)`.
    #[default]
    Relu,
    /// `min(max(x, 0), 6)` (Sandler et al., 2018).
    Relu6,
    /// Nothing.
    None,
}

/// The largest value of a ReLU6.
pub(crate) const SIX: f32 = 6.0;

impl Activation {
    /// That of 16 values.
    ///
    /// # Safety
    ///
    /// The machine has the instructions of `S`.
    #[inline(always)]
    pub(super) unsafe fn of<S: Simd>(self, v: S::V) -> S::V {
        // SAFETY: by this function's own condition.
        unsafe {
            match self {
                Self::Relu => S::relu(v),
                Self::Relu6 => S::min(S::splat(SIX), S::relu(v)),
                Self::None => v,
            }
        }
    }

    /// The gradient of 16 values, from `grad`, that of what the activation made of them, and `y`,
    /// which is either: 0 where the activation is constant, and at its corners.
    ///
    /// # Safety
    ///
    /// As [`of`](Self::of).
    #[inline(always)]
    pub(super) unsafe fn gradient<S: Simd>(self, y: S::V, grad: S::V) -> S::V {
        // SAFETY: by this function's own condition.
        unsafe {
            match self {
                Self::Relu => S::where_positive(y, grad),
                // Not even close to 6 does the difference round to 0.
                Self::Relu6 => {
                    let below = S::where_positive(S::sub(S::splat(SIX), y), grad);
                    S::where_positive(y, below)
                }
                Self::None => grad,
            }
        }
    }
}

/// Runs an expression with `$activation` as a constant of each branch, so that the compiler makes
/// a loop of its own for each activation.
macro_rules! for_each_activation {
    ($activation:expr, |$constant:ident| $run:expr) => {
        match $activation {
            $crate::kernels::Activation::Relu => {
                let $constant = $crate::kernels::Activation::Relu;
                $run
            }
            $crate::kernels::Activation::Relu6 => {
                let $constant = $crate::kernels::Activation::Relu6;
                $run
            }
            $crate::kernels::Activation::None => {
                let $constant = $crate::kernels::Activation::None;
                $run
            }
        }
    };
}
pub(crate) use for_each_activation;

/// Sizes of `[B, K, P]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MapSizes {
    /// Images, B.
    pub(crate) batch: usize,
    /// Channels, K.
    pub(crate) channels: usize,
    /// Pixels of a channel, P.
    pub(crate) pixels: usize,
}

impl MapSizes {
    /// Values of the map.
    pub(crate) fn len(&self) -> usize {
        self.batch * self.channels * self.pixels
    }
}

/// `out = activation(a + b)`.
///
/// # Panics
///
/// When the lengths differ.
pub(crate) fn add(
    set: InstructionSet,
    activation: Activation,
    a: &[f32],
    b: &[f32],
    out: &mut [MaybeUninit<f32>],
) {
    assert!(a.len() == out.len() && b.len() == out.len());
    let to = Shared::new(out);
    for_values(a.len(), |range| {
        let kernel = Add {
            activation,
            a: a[range.clone()].as_ptr(),
            b: b[range.clone()].as_ptr(),
            // SAFETY: a place of the output, which is as long as `a`.
            out: unsafe { to.get().add(range.start).cast() },
            count: range.len(),
        };
        // SAFETY: as long as the range; each job writes to a range of its own.
        unsafe { set.run(kernel) }
    });
}

/// `a = activation(a + b)`.
///
/// # Panics
///
/// When the lengths differ.
pub(crate) fn add_in_place(set: InstructionSet, activation: Activation, a: &mut [f32], b: &[f32]) {
    assert_eq!(a.len(), b.len());
    let (count, to) = (a.len(), Shared::new(a));
    for_values(count, |range| {
        // SAFETY: a place of `a`.
        let a = unsafe { to.get().add(range.start) };
        let kernel = Add {
            activation,
            a,
            b: b[range.clone()].as_ptr(),
            out: a,
            count: range.len(),
        };
        // SAFETY: as long as the range; each job reads and writes a range of `a` of its own.
        unsafe { set.run(kernel) }
    });
}

/// `out = activation(a + b)`, where `out` may be `a`.
struct Add {
    activation: Activation,
    a: *const f32,
    b: *const f32,
    out: *mut f32,
    count: usize,
}

impl Kernel for Add {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: the pointers are valid for `count` values.
        unsafe { for_each_activation!(self.activation, |activation| self.pass::<S>(activation)) }
    }
}

impl Add {
    #[inline(always)]
    unsafe fn pass<S: Simd>(&self, activation: Activation) {
        // SAFETY: as `run`'s.
        unsafe {
            vectors!(self.count, |i, n| {
                let (a, b) = (
                    S::load_first(self.a.add(i), n),
                    S::load_first(self.b.add(i), n),
                );
                S::store_first(self.out.add(i), activation.of::<S>(S::add(a, b)), n);
            });
        }
    }
}

/// An activation and what it gave.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Activated<'a> {
    pub(crate) activation: Activation,
    /// As long as the gradient.
    pub(crate) y: &'a [f32],
}

impl Activated<'_> {
    /// Some of the values.
    fn part(self, range: Range<usize>) -> (Activation, *const f32) {
        (self.activation, self.y[range].as_ptr())
    }
}

/// Gradient of what an activation was given, from `grad`, that of what it gave; also that of both
/// operands of [`add`].
///
/// # Panics
///
/// When the lengths differ.
pub(crate) fn backward(
    set: InstructionSet,
    after: Activated<'_>,
    grad: &[f32],
    out: &mut [MaybeUninit<f32>],
) {
    assert!(after.y.len() == grad.len() && out.len() == grad.len());
    let to = Shared::new(out);
    for_values(grad.len(), |range| {
        let (activation, y) = after.part(range.clone());
        let masked = Masked {
            activation,
            grad: grad[range.clone()].as_ptr(),
            y,
            // SAFETY: a place of the output, which is as long as `grad`.
            out: unsafe { to.get().add(range.start).cast() },
            count: range.len(),
        };
        // SAFETY: as long as the range; each job writes to a range of its own.
        unsafe { set.run(masked) };
    });
}

/// The gradient of a layer's output, and where that of the sum before the bias goes.
pub(crate) enum BiasGradient<'a> {
    /// Nowhere: only the bias is trained.
    Summed(&'a [f32]),
    /// To another place.
    Into(&'a [f32], &'a mut [MaybeUninit<f32>]),
    /// In its place.
    InPlace(&'a mut [f32]),
}

impl BiasGradient<'_> {
    /// Those of some of the values.
    pub(crate) fn part(&mut self, range: Range<usize>) -> BiasGradient<'_> {
        match self {
            Self::Summed(grad) => BiasGradient::Summed(&grad[range]),
            Self::Into(grad, out) => BiasGradient::Into(&grad[range.clone()], &mut out[range]),
            Self::InPlace(grad) => BiasGradient::InPlace(&mut grad[range]),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Summed(grad) | Self::Into(grad, _) => grad.len(),
            Self::InPlace(grad) => grad.len(),
        }
    }

    /// What is read, and what is written, if anything is; checks that both are as long.
    fn pointers(self) -> (Shared<f32>, Option<Shared<f32>>) {
        match self {
            Self::Summed(grad) => (Shared::read(grad), None),
            Self::Into(grad, out) => {
                assert_eq!(grad.len(), out.len());
                (Shared::read(grad), Some(Shared::new(out).cast()))
            }
            Self::InPlace(grad) => {
                let grad = Shared::new(grad);
                (grad, Some(grad))
            }
        }
    }
}

/// Gradients of `y = activation(x + bias)`, or of `y = x + bias` where `after` is not given: that of
/// `x` goes where `grad` says, that of the bias, the sum over images and pixels, to `sums`, `[K]`.
///
/// # Panics
///
/// When a length does not fit the sizes.
pub(crate) fn bias_backward(
    set: InstructionSet,
    sizes: &MapSizes,
    grad: BiasGradient<'_>,
    after: Option<Activated<'_>>,
    sums: &mut [MaybeUninit<f32>],
) {
    let (planes, pixels) = (sizes.batch * sizes.channels, sizes.pixels);
    assert_eq!(grad.len(), sizes.len());
    assert!(after.is_none_or(|after| after.y.len() == grad.len()));
    assert_eq!(sums.len(), sizes.channels);
    let (grad, to) = grad.pointers();
    let mut of_planes = vec![0.0f64; planes];
    let to_sums = Shared::new(&mut of_planes);
    for_planes(
        planes,
        pixels,
        || (),
        |(), range| {
            for plane in range {
                let values = plane * pixels..(plane + 1) * pixels;
                let (activation, y) = match after {
                    Some(after) => after.part(values.clone()),
                    None => (Activation::None, ptr::null()),
                };
                // SAFETY: places of the gradient and of the output, which is as long.
                let (grad, out) = unsafe {
                    let out = to.map_or(ptr::null_mut(), |to| to.get().add(values.start));
                    (grad.get().add(values.start), out)
                };
                let masked = Masked {
                    activation,
                    grad,
                    y,
                    out,
                    count: pixels,
                };
                // SAFETY: as long as a plane; each job reads and writes planes and sums of its own.
                unsafe { *to_sums.get().add(plane) = set.run(masked) };
            }
        },
    );
    for (channel, sum) in sums.iter_mut().enumerate() {
        let of_images = of_planes.iter().skip(channel).step_by(sizes.channels);
        sum.write(of_images.sum::<f64>() as f32);
    }
}

/// Stores the gradient of what an activation was given, and sums what is stored.
struct Masked {
    activation: Activation,
    grad: *const f32,
    /// What the activation gave; not read where there is none.
    y: *const f32,
    /// Null: nothing is stored. May be `grad`.
    out: *mut f32,
    count: usize,
}

impl Kernel for Masked {
    type Output = f64;

    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> f64 {
        // SAFETY: the pointers are valid for `count` values, or null as they may be.
        unsafe {
            for_each_activation!(self.activation, |activation| {
                if self.out.is_null() {
                    self.pass::<S, false>(activation)
                } else {
                    self.pass::<S, true>(activation)
                }
            })
        }
    }
}

impl Masked {
    #[inline(always)]
    unsafe fn pass<S: Simd, const STORE: bool>(&self, activation: Activation) -> f64 {
        let mut sum = 0.0;
        for block in (0..self.count).step_by(SUM_VALUES) {
            // SAFETY: as `run`'s.
            unsafe {
                let mut sums = [S::zero(); 4];
                vectors!((self.count - block).min(SUM_VALUES), |i, n, turn| {
                    let at = block + i;
                    let mut grad = S::load_first(self.grad.add(at), n);
                    if activation != Activation::None {
                        let y = S::load_first(self.y.add(at), n);
                        grad = activation.gradient::<S>(y, grad);
                    }
                    if STORE {
                        S::store_first(self.out.add(at), grad, n);
                    }
                    sums[turn] = S::add(sums[turn], grad);
                });
                sum += total::<S>(sums);
            }
        }
        sum
    }
}

#[cfg(test)]
mod tests;

//! ReLU with what stands before it: a sum of two maps, or a bias.

use std::mem::MaybeUninit;
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
    /// Nothing.
    None,
}

impl Activation {
    /// That of 16 values.
    ///
    /// # Safety
    ///
    /// The machine has the instructions of `S`.
    #[inline(always)]
    pub(super) unsafe fn of<S: Simd>(self, v: S::V) -> S::V {
        match self {
            // SAFETY: by this function's own condition.
            Self::Relu => unsafe { S::relu(v) },
            Self::None => v,
        }
    }
}

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

/// `out = relu(a + b)`.
///
/// # Panics
///
/// When the lengths differ.
pub(crate) fn add_relu(set: InstructionSet, a: &[f32], b: &[f32], out: &mut [MaybeUninit<f32>]) {
    assert!(a.len() == out.len() && b.len() == out.len());
    let to = Shared::new(out);
    for_values(a.len(), |range| {
        let kernel = AddRelu {
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

/// `a = relu(a + b)`.
///
/// # Panics
///
/// When the lengths differ.
pub(crate) fn add_relu_in_place(set: InstructionSet, a: &mut [f32], b: &[f32]) {
    assert_eq!(a.len(), b.len());
    let (count, to) = (a.len(), Shared::new(a));
    for_values(count, |range| {
        // SAFETY: a place of `a`.
        let a = unsafe { to.get().add(range.start) };
        let kernel = AddRelu {
            a,
            b: b[range.clone()].as_ptr(),
            out: a,
            count: range.len(),
        };
        // SAFETY: as long as the range; each job reads and writes a range of `a` of its own.
        unsafe { set.run(kernel) }
    });
}

/// `out = relu(a + b)`, where `out` may be `a`.
struct AddRelu {
    a: *const f32,
    b: *const f32,
    out: *mut f32,
    count: usize,
}

impl Kernel for AddRelu {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: the pointers are valid for `count` values.
        unsafe {
            vectors!(self.count, |i, n| {
                let (a, b) = (
                    S::load_first(self.a.add(i), n),
                    S::load_first(self.b.add(i), n),
                );
                S::store_first(self.out.add(i), S::relu(S::add(a, b)), n);
            });
        }
    }
}

/// Gradient of a ReLU, `grad` where its output `y` is above 0, else 0; also that of both operands
/// of [`add_relu`].
///
/// # Panics
///
/// When the lengths differ.
pub(crate) fn relu_backward(
    set: InstructionSet,
    grad: &[f32],
    y: &[f32],
    out: &mut [MaybeUninit<f32>],
) {
    assert!(y.len() == grad.len() && out.len() == grad.len());
    let to = Shared::new(out);
    for_values(grad.len(), |range| {
        let masked = Masked {
            grad: grad[range.clone()].as_ptr(),
            y: y[range.clone()].as_ptr(),
            // SAFETY: a place of the output, which is as long as `grad`.
            out: unsafe { to.get().add(range.start).cast() },
            count: range.len(),
        };
        // SAFETY: as long as the range; each job writes to a range of its own.
        unsafe { set.run(masked) };
    });
}

/// Gradients of `y = relu(x + bias)`, or of `y = x + bias` where no `y` is given: that of `x` goes
/// to `out`, that of the bias, the sum over images and pixels, to `sums`, `[K]`.
///
/// # Panics
///
/// When a length does not fit the sizes.
pub(crate) fn bias_relu_backward(
    set: InstructionSet,
    sizes: &MapSizes,
    grad: &[f32],
    y: Option<&[f32]>,
    out: Option<&mut [MaybeUninit<f32>]>,
    sums: &mut [MaybeUninit<f32>],
) {
    let (planes, pixels) = (sizes.batch * sizes.channels, sizes.pixels);
    assert_eq!(grad.len(), sizes.len());
    assert!(y.is_none_or(|y| y.len() == grad.len()));
    assert!(out.as_ref().is_none_or(|out| out.len() == grad.len()));
    assert_eq!(sums.len(), sizes.channels);
    let mut of_planes = vec![0.0f64; planes];
    let (to_sums, to) = (Shared::new(&mut of_planes), out.map(Shared::new));
    for_planes(
        planes,
        pixels,
        || (),
        |(), range| {
            for plane in range {
                let values = plane * pixels..(plane + 1) * pixels;
                let masked = Masked {
                    grad: grad[values.clone()].as_ptr(),
                    y: y.map_or(ptr::null(), |y| y[values.clone()].as_ptr()),
                    // SAFETY: a place of the output, which is as long as `grad`.
                    out: to.map_or(ptr::null_mut(), |to| unsafe {
                        to.get().add(values.start).cast()
                    }),
                    count: pixels,
                };
                // SAFETY: as long as a plane; each job writes to planes and sums of its own.
                unsafe { *to_sums.get().add(plane) = set.run(masked) };
            }
        },
    );
    for (channel, sum) in sums.iter_mut().enumerate() {
        let of_images = of_planes.iter().skip(channel).step_by(sizes.channels);
        sum.write(of_images.sum::<f64>() as f32);
    }
}

/// Stores a gradient where `y` is above 0, and sums what is stored.
struct Masked {
    grad: *const f32,
    /// Null: nothing is masked.
    y: *const f32,
    /// Null: nothing is stored.
    out: *mut f32,
    count: usize,
}

impl Kernel for Masked {
    type Output = f64;

    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> f64 {
        // SAFETY: the pointers are valid for `count` values, or null as they may be.
        unsafe {
            match (self.y.is_null(), self.out.is_null()) {
                (false, false) => self.pass::<S, true, true>(),
                (false, true) => self.pass::<S, true, false>(),
                (true, false) => self.pass::<S, false, true>(),
                (true, true) => self.pass::<S, false, false>(),
            }
        }
    }
}

impl Masked {
    #[inline(always)]
    unsafe fn pass<S: Simd, const MASK: bool, const STORE: bool>(&self) -> f64 {
        let mut sum = 0.0;
        for block in (0..self.count).step_by(SUM_VALUES) {
            // SAFETY: as `run`'s.
            unsafe {
                let mut sums = [S::zero(); 4];
                vectors!((self.count - block).min(SUM_VALUES), |i, n, turn| {
                    let at = block + i;
                    let mut grad = S::load_first(self.grad.add(at), n);
                    if MASK {
                        grad = S::where_positive(S::load_first(self.y.add(at), n), grad);
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
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::kernels::reference::{normal, output, same_on_any_threads, written};

    const SIZES: [[usize; 3]; 8] = [
        [1, 1, 1],
        [2, 3, 17],
        [3, 5, 64],
        [1, 2, 4097],
        [2, 3, 10_001],
        [5, 70, 49],
        [0, 3, 5],
        [2, 3, 0],
    ];

    fn cases() -> impl Iterator<Item = (InstructionSet, MapSizes, [Vec<f32>; 2])> {
        let mut random = ChaCha8Rng::seed_from_u64(7);
        let cases: Vec<_> = SIZES
            .into_iter()
            .map(|[batch, channels, pixels]| {
                let sizes = MapSizes {
                    batch,
                    channels,
                    pixels,
                };
                (sizes, [(); 2].map(|()| normal(sizes.len(), &mut random)))
            })
            .collect();
        let sets = InstructionSet::available().into_iter();
        sets.flat_map(move |set| cases.clone().into_iter().map(move |(s, v)| (set, s, v)))
    }

    #[test]
    fn a_sum_of_maps_and_its_gradient() {
        for (set, sizes, [a, b]) in cases() {
            let expected: Vec<f32> = a.iter().zip(&b).map(|(a, b)| (a + b).max(0.0)).collect();
            let mut out = output(sizes.len());
            add_relu(set, &a, &b, &mut out);
            assert_eq!(written(out), expected, "{set} {sizes:?}");
            let mut sum = a.clone();
            add_relu_in_place(set, &mut sum, &b);
            assert_eq!(sum, expected, "{set} {sizes:?}, in place");
            let mut out = output(sizes.len());
            relu_backward(set, &a, &b, &mut out);
            let masked = |(a, b): (&f32, &f32)| if *b > 0.0 { *a } else { 0.0 };
            let expected: Vec<f32> = a.iter().zip(&b).map(masked).collect();
            assert_eq!(written(out), expected, "{set} {sizes:?}, backward");
        }
    }

    #[test]
    fn gradients_of_a_bias_and_a_relu() {
        for (set, sizes, [grad, y]) in cases() {
            for (relu, stored) in [(false, false), (false, true), (true, false), (true, true)] {
                let mut out = stored.then(|| output(sizes.len()));
                let mut sums = output(sizes.channels);
                let y = relu.then_some(&y[..]);
                bias_relu_backward(set, &sizes, &grad, y, out.as_deref_mut(), &mut sums);
                let kept = |i: usize| y.is_none_or(|y| y[i] > 0.0);
                let masked: Vec<f32> = (0..sizes.len())
                    .map(|i| if kept(i) { grad[i] } else { 0.0 })
                    .collect();
                if let Some(out) = out {
                    assert_eq!(written(out), masked, "{set} {sizes:?}");
                }
                let (mut expected, mut size) = (vec![0.0; sizes.channels], 1e-30);
                for (i, value) in masked.into_iter().enumerate() {
                    expected[i / sizes.pixels % sizes.channels] += f64::from(value);
                    size += f64::from(value).abs() / sizes.channels as f64;
                }
                for (found, expected) in written(sums).into_iter().zip(expected) {
                    // Sums of 64 values in `f32`, then one rounding: far below 1e-6 of what is
                    // summed.
                    let error = (f64::from(found) - expected).abs();
                    assert!(error <= 2e-7 * size, "{set} {sizes:?}: {error} of {size}");
                }
            }
        }
    }

    #[test]
    fn bits_do_not_depend_on_threads() {
        let mut random = ChaCha8Rng::seed_from_u64(8);
        let sizes = MapSizes {
            batch: 3,
            channels: 7,
            pixels: 9001,
        };
        let [grad, y] = [(); 2].map(|()| normal(sizes.len(), &mut random));
        for set in InstructionSet::available() {
            same_on_any_threads(set, || {
                let (mut out, mut sums) = (output(sizes.len()), output(sizes.channels));
                bias_relu_backward(set, &sizes, &grad, Some(&y), Some(&mut out), &mut sums);
                [written(out), written(sums)].concat()
            });
        }
    }

    #[test]
    fn values_that_are_not_finite_show() {
        for set in InstructionSet::available() {
            for place in [0, 20, 32] {
                let mut a = vec![1.0; 33];
                a[place] = f32::NAN;
                let mut out = output(33);
                add_relu(set, &a, &[1.0; 33], &mut out);
                assert!(written(out)[place].is_nan(), "{set}");
                let mut out = output(33);
                relu_backward(set, &[2.0; 33], &a, &mut out);
                assert_eq!(written(out), [2.0; 33], "{set}: a ReLU that gave NaN");
                let mut out = output(33);
                relu_backward(set, &a, &[1.0; 33], &mut out);
                assert!(written(out)[place].is_nan(), "{set}");
            }
        }
    }
}

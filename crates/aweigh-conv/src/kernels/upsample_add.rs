//! The sum of a map and a coarser one, which is upsampled to its size: the top-down path of a
//! feature pyramid.

use std::mem::MaybeUninit;
use std::ops::Range;

use super::planes::{for_planes, vectors};
use super::threads::Shared;
use crate::simd::{InstructionSet, Kernel, LANES, Simd};

/// Sizes of `[N, h, w]` that is upsampled to `[N, H, W]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct UpsampleSizes {
    /// Planes N: images times channels.
    pub(crate) planes: usize,
    /// Height and width of the coarse map.
    pub(crate) coarse: [usize; 2],
    /// Height and width of the fine map.
    pub(crate) fine: [usize; 2],
}

impl UpsampleSizes {
    fn coarse_len(&self) -> usize {
        self.coarse[0] * self.coarse[1]
    }

    fn fine_len(&self) -> usize {
        self.fine[0] * self.fine[1]
    }

    #[track_caller]
    fn check(&self, coarse: usize, fine: usize) {
        assert_eq!(coarse, self.planes * self.coarse_len());
        assert_eq!(fine, self.planes * self.fine_len());
        assert!(fine == 0 || coarse > 0, "nothing to upsample");
    }

    /// The coarse row (axis 0) or column (axis 1) of each fine one: `floor(i * (from / to))` with
    /// the quotient in `f64`, as Burn's nearest interpolation has it.
    fn sources(&self, axis: usize) -> Vec<usize> {
        let ratio = self.coarse[axis] as f64 / self.fine[axis] as f64;
        let last = self.coarse[axis].saturating_sub(1);
        (0..self.fine[axis])
            .map(|i| ((i as f64 * ratio) as usize).min(last))
            .collect()
    }

    /// The fine rows (axis 0) or columns (axis 1) of each coarse one.
    fn targets(&self, axis: usize) -> Vec<Range<usize>> {
        let sources = self.sources(axis);
        let before = |i| sources.partition_point(|source| *source < i);
        (0..self.coarse[axis])
            .map(|i| before(i)..before(i + 1))
            .collect()
    }
}

/// `out = fine + upsampled coarse`, where fine pixel `(i, j)` adds the coarse one at
/// `(floor(i h / H), floor(j w / W))`.
///
/// # Panics
///
/// When a length does not fit the sizes.
pub(crate) fn forward(
    set: InstructionSet,
    sizes: &UpsampleSizes,
    fine: &[f32],
    coarse: &[f32],
    out: &mut [MaybeUninit<f32>],
) {
    sizes.check(coarse.len(), fine.len());
    assert_eq!(out.len(), fine.len());
    let to = Shared::new(out);
    let (rows, columns) = (sizes.sources(0), sizes.sources(1));
    let scratch = || vec![0.0; sizes.fine[1]];
    for_planes(sizes.planes, sizes.fine_len(), scratch, |scratch, range| {
        for plane in range {
            let kernel = Forward {
                rows: &rows,
                columns: &columns,
                doubled: sizes.fine[1] == 2 * sizes.coarse[1],
                fine: &fine[plane * sizes.fine_len()..][..sizes.fine_len()],
                coarse: &coarse[plane * sizes.coarse_len()..][..sizes.coarse_len()],
                width: sizes.coarse[1],
                scratch,
                // SAFETY: a place of the output, which is as long as the fine map.
                out: unsafe { to.get().add(plane * sizes.fine_len()).cast() },
            };
            // SAFETY: as long as a plane; each job writes to planes of its own.
            unsafe { set.run(kernel) };
        }
    });
}

/// One plane.
struct Forward<'a> {
    rows: &'a [usize],
    columns: &'a [usize],
    /// Whether every coarse column is that of two fine ones.
    doubled: bool,
    fine: &'a [f32],
    coarse: &'a [f32],
    /// Of the coarse map.
    width: usize,
    /// A row of the fine map: what is added to it.
    scratch: &'a mut [f32],
    out: *mut f32,
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let width = self.columns.len();
        let mut spread = usize::MAX;
        for (i, row) in self.rows.iter().copied().enumerate() {
            // SAFETY: `out` is as long as the fine plane, whose rows are as long as the scratch.
            unsafe {
                if row != spread {
                    let coarse = &self.coarse[row * self.width..][..self.width];
                    if self.doubled {
                        double::<S>(coarse, self.scratch);
                    } else {
                        for (to, column) in self.scratch.iter_mut().zip(self.columns) {
                            *to = coarse[*column];
                        }
                    }
                    spread = row;
                }
                let (fine, out) = (self.fine[i * width..].as_ptr(), self.out.add(i * width));
                vectors!(width, |j, n| {
                    let added = S::load_first(self.scratch.as_ptr().add(j), n);
                    let sum = S::add(S::load_first(fine.add(j), n), added);
                    S::store_first(out.add(j), sum, n);
                });
            }
        }
    }
}

/// Every value twice.
///
/// # Safety
///
/// The machine has the instructions of `S`, and `to` is twice as long as `from`.
#[inline(always)]
unsafe fn double<S: Simd>(from: &[f32], to: &mut [f32]) {
    // SAFETY: by this function's own conditions.
    unsafe {
        vectors!(from.len(), |i, n| {
            let value = S::load_first(from.as_ptr().add(i), n);
            let [low, high] = S::interleave(value, value);
            let to = to.as_mut_ptr().add(2 * i);
            S::store_first(to, low, 2 * n);
            if 2 * n > LANES {
                S::store_first(to.add(LANES), high, 2 * n - LANES);
            }
        });
    }
}

/// Gradient of the coarse map: the sum over its fine pixels. That of the fine map is `grad`.
///
/// # Panics
///
/// When a length does not fit the sizes.
pub(crate) fn backward(
    set: InstructionSet,
    sizes: &UpsampleSizes,
    grad: &[f32],
    out: &mut [MaybeUninit<f32>],
) {
    sizes.check(out.len(), grad.len());
    let to = Shared::new(out);
    let (rows, columns) = (sizes.targets(0), sizes.targets(1));
    let scratch = || vec![0.0; sizes.fine[1]];
    for_planes(sizes.planes, sizes.fine_len(), scratch, |scratch, range| {
        for plane in range {
            let kernel = Backward {
                rows: &rows,
                columns: &columns,
                doubled: sizes.fine[1] == 2 * sizes.coarse[1],
                grad: &grad[plane * sizes.fine_len()..][..sizes.fine_len()],
                scratch,
                // SAFETY: a place of the output, which is as long as the coarse map.
                out: unsafe { to.get().add(plane * sizes.coarse_len()).cast() },
            };
            // SAFETY: as long as a plane; each job writes to planes of its own.
            unsafe { set.run(kernel) };
        }
    });
}

/// One plane.
struct Backward<'a> {
    rows: &'a [Range<usize>],
    columns: &'a [Range<usize>],
    /// Whether every coarse column is that of two fine ones.
    doubled: bool,
    grad: &'a [f32],
    /// A row of the fine map: the sum of those of a coarse row.
    scratch: &'a mut [f32],
    out: *mut f32,
}

impl Kernel for Backward<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let (width, coarse) = (self.scratch.len(), self.columns.len());
        for (i, rows) in self.rows.iter().enumerate() {
            // SAFETY: `out` is as long as the coarse plane, `grad` as the fine one, whose rows are
            // as long as the scratch.
            unsafe {
                let (grad, out) = (self.grad.as_ptr(), self.out.add(i * coarse));
                if self.doubled && rows.len() == 2 {
                    sum_fours::<S>(grad.add(rows.start * width), width, out);
                    continue;
                }
                vectors!(width, |j, n| {
                    let mut sum = S::zero();
                    for row in rows.clone() {
                        sum = S::add(sum, S::load_first(grad.add(row * width + j), n));
                    }
                    S::store_first(self.scratch.as_mut_ptr().add(j), sum, n);
                });
                for (j, columns) in self.columns.iter().enumerate() {
                    *out.add(j) = self.scratch[columns.clone()].iter().sum();
                }
            }
        }
    }
}

/// Sums of the 2 x 2 values of two rows of even `width`.
///
/// # Safety
///
/// The machine has the instructions of `S`, and `to` is valid for half a row.
#[inline(always)]
unsafe fn sum_fours<S: Simd>(rows: *const f32, width: usize, to: *mut f32) {
    // SAFETY: by this function's own conditions; a prefetch may be of any address.
    unsafe {
        vectors!(width / 2, |i, n| {
            let from = rows.add(2 * i);
            // Two rows ahead, which the hardware does not foresee: it saves a third of the time.
            for line in 0..2 {
                S::prefetch(from.wrapping_add(2 * width + line * LANES));
                S::prefetch(from.wrapping_add(3 * width + line * LANES));
            }
            let rest = (2 * n).saturating_sub(LANES);
            let below = from.add(width);
            let low = S::add(S::load_first(from, 2 * n), S::load_first(below, 2 * n));
            let [from, below] = [from.wrapping_add(LANES), below.wrapping_add(LANES)];
            let high = S::add(S::load_first(from, rest), S::load_first(below, rest));
            let sum = S::add(S::evens(low, high), S::odds(low, high));
            S::store_first(to.add(i), sum, n);
        });
    }
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::kernels::reference::{normal, output, relative_rms, same_on_any_threads, written};

    fn cases() -> Vec<UpsampleSizes> {
        let sizes = |planes, coarse, fine| UpsampleSizes {
            planes,
            coarse,
            fine,
        };
        let mut cases = vec![
            sizes(3, [1, 1], [2, 2]),
            sizes(2, [25, 42], [50, 84]),
            sizes(2, [13, 21], [25, 42]),
            sizes(2, [7, 9], [7, 9]),
            sizes(2, [9, 40], [4, 17]),
            sizes(0, [2, 2], [4, 4]),
            sizes(2, [2, 2], [0, 4]),
        ];
        let mut random = ChaCha8Rng::seed_from_u64(5);
        for i in 0..60 {
            let coarse: [usize; 2] = [(); 2].map(|()| random.random_range(1..40));
            let fine = if i % 2 == 0 {
                coarse.map(|n| 2 * n)
            } else {
                coarse.map(|n| random.random_range(1..4 * n))
            };
            cases.push(sizes(random.random_range(1..4), coarse, fine));
        }
        cases
    }

    /// The fine pixels with their coarse ones.
    fn visit(s: &UpsampleSizes, mut f: impl FnMut(usize, usize)) {
        let ratio: [f64; 2] = std::array::from_fn(|i| s.coarse[i] as f64 / s.fine[i] as f64);
        for fine in 0..s.planes * s.fine_len() {
            let (plane, at) = (fine / s.fine_len(), fine % s.fine_len());
            let (i, j) = (at / s.fine[1], at % s.fine[1]);
            let [i, j] = [i as f64 * ratio[0], j as f64 * ratio[1]].map(|v| v.floor() as usize);
            f(fine, plane * s.coarse_len() + i * s.coarse[1] + j);
        }
    }

    #[test]
    fn sums_and_gradients_of_every_size() {
        let mut random = ChaCha8Rng::seed_from_u64(6);
        for sizes in cases() {
            let fine = normal(sizes.planes * sizes.fine_len(), &mut random);
            let coarse = normal(sizes.planes * sizes.coarse_len(), &mut random);
            let mut sum = fine.clone();
            let mut gradient = vec![0.0f64; coarse.len()];
            visit(&sizes, |i, j| {
                sum[i] += coarse[j];
                gradient[j] += f64::from(fine[i]);
            });
            for set in InstructionSet::available() {
                let mut out = output(fine.len());
                forward(set, &sizes, &fine, &coarse, &mut out);
                assert_eq!(written(out), sum, "{set} {sizes:?}");
                let mut out = output(coarse.len());
                backward(set, &sizes, &fine, &mut out);
                // A few roundings.
                let error = relative_rms(&written(out), &gradient);
                assert!(error < 3e-7, "{set} {sizes:?}: {error:e}");
            }
        }
    }

    #[test]
    fn bits_do_not_depend_on_threads() {
        let sizes = UpsampleSizes {
            planes: 20,
            coarse: [31, 50],
            fine: [62, 99],
        };
        let mut random = ChaCha8Rng::seed_from_u64(7);
        let fine = normal(sizes.planes * sizes.fine_len(), &mut random);
        for set in InstructionSet::available() {
            same_on_any_threads(set, || {
                let mut out = output(sizes.planes * sizes.coarse_len());
                backward(set, &sizes, &fine, &mut out);
                written(out)
            });
        }
    }

    #[test]
    fn a_value_that_is_not_finite_shows() {
        let sizes = UpsampleSizes {
            planes: 1,
            coarse: [2, 20],
            fine: [4, 40],
        };
        for set in InstructionSet::available() {
            let mut coarse = vec![0.0; 40];
            coarse[19] = f32::NAN;
            let mut out = output(160);
            forward(set, &sizes, &[1.0; 160], &coarse, &mut out);
            let found = written(out);
            let nan: Vec<usize> = (0..160).filter(|i| found[*i].is_nan()).collect();
            assert_eq!(nan, [38, 39, 78, 79], "{set}");
            let mut out = output(40);
            backward(set, &sizes, &found, &mut out);
            let found = written(out);
            assert!((0..40).all(|i| found[i].is_nan() == (i == 19)), "{set}");
        }
    }
}

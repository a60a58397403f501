//! Exponential and logarithm of vectors.

use crate::simd::Simd;

/// Adding and subtracting it rounds a small number to a whole one.
const ROUNDER: f32 = 1.5 * (1 << 23) as f32;

/// Where `e^x` is 0 in `f32`, subnormal numbers included.
const LOWEST: f32 = -150.0;

/// `ln 2` in two parts, of which the first has 9 bits: its product with a small whole number is
/// exact.
const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];

/// `e^(a b + c)` for a sum of at most 0, `b` at least 0 and `c` at most 0; NaN where `a` or `c` is.
///
/// The product is not rounded (where there are instructions for it), so the error stays at 2 units
/// in the last place however large the product is.
///
/// # Safety
///
/// The machine has the instructions of `S`.
#[inline(always)]
pub(crate) unsafe fn exp_below_one<S: Simd>(a: S::V, b: f32, c: S::V) -> S::V {
    // SAFETY: by this function's own condition.
    unsafe {
        // Neither the product nor the sum goes below.
        let a = S::max(S::splat(LOWEST / b), a);
        let b = S::splat(b);
        let product = S::mul(a, b);
        let c = S::max(S::sub(S::splat(LOWEST), product), c);
        // e^x = 2^k e^r with whole k, |r| <= ln(2) / 2.
        let rounder = S::splat(ROUNDER);
        let k = S::mul_add(
            S::add(product, c),
            S::splat(std::f32::consts::LOG2_E),
            rounder,
        );
        let k = S::sub(k, rounder);
        let r = S::mul_add(a, b, S::mul(k, S::splat(-LN_2[0])));
        let r = S::add(S::neg_mul_add(k, S::splat(LN_2[1]), r), c);
        // (e^r - 1 - r) / r^2, with an error of 3e-9 of e^r.
        let mut p = S::splat(1.381_453_7e-3);
        for coefficient in [8.368_745e-3, 4.166_839e-2, 0.166_665_2, 0.499_999_93] {
            p = S::mul_add(p, r, S::splat(coefficient));
        }
        let p = S::add(S::mul_add(S::mul(r, r), p, r), S::splat(1.0));
        S::scale_exp2(p, k)
    }
}

/// `e^x` for `x` at most 0.
///
/// # Safety
///
/// The machine has the instructions of `S`.
#[inline(always)]
pub(crate) unsafe fn exp_of_negative<S: Simd>(x: S::V) -> S::V {
    // SAFETY: by this function's own condition.
    unsafe { exp_below_one::<S>(x, 1.0, S::zero()) }
}

/// `ln(1 + t)` for `t` in `[0, 1]`, to 2 units in the last place.
///
/// # Safety
///
/// The machine has the instructions of `S`.
#[inline(always)]
pub(crate) unsafe fn ln_1p<S: Simd>(t: S::V) -> S::V {
    // SAFETY: by this function's own condition.
    unsafe {
        // ln(1 + t) = 2 artanh(z), and z is at most 1/3.
        let z = S::div(t, S::add(t, S::splat(2.0)));
        let w = S::mul(z, z);
        // (2 artanh(z) / z - 2) / z^2, with an error of 4e-9 of the whole.
        let mut p = S::splat(0.280_119_9);
        for coefficient in [0.280_018_05, 0.400_215_27, 0.666_664_2] {
            p = S::mul_add(p, w, S::splat(coefficient));
        }
        let twice = S::add(z, z);
        S::mul_add(S::mul(z, w), p, twice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{InstructionSet, Kernel, LANES};

    /// `ln(1 + x)` of whole vectors, or `e^(x b)`.
    struct Both<'a> {
        values: &'a mut [f32],
        b: f32,
        logarithm: bool,
    }

    impl Kernel for Both<'_> {
        type Output = ();

        #[inline(always)]
        unsafe fn run<S: Simd>(self) {
            for values in self.values.as_chunks_mut::<LANES>().0 {
                // SAFETY: the machine has the set, and there are 16 values.
                unsafe {
                    let v = S::load(values.as_ptr());
                    let v = if self.logarithm {
                        ln_1p::<S>(v)
                    } else {
                        exp_below_one::<S>(v, self.b, S::zero())
                    };
                    S::store(values.as_mut_ptr(), v);
                }
            }
        }
    }

    fn run(set: InstructionSet, values: &[f32], b: f32, logarithm: bool) -> Vec<f32> {
        let mut values = values.to_vec();
        values.resize(values.len().next_multiple_of(LANES), 0.0);
        let both = Both {
            values: &mut values,
            b,
            logarithm,
        };
        // SAFETY: the machine has the set.
        unsafe { set.run(both) };
        values
    }

    /// Error in units of the last place of `f32`.
    fn units(found: f32, expected: f64) -> f64 {
        let unit = f64::from((expected as f32).next_up()) - f64::from(expected as f32);
        (f64::from(found) - expected).abs() / unit
    }

    #[test]
    fn exponentials_are_right_to_the_last_places() {
        // Every exponent down to where the result is 0.
        let mut x: Vec<f32> = (0..200_000).map(|i| i as f32 * -1e-3 * 0.6).collect();
        x.extend([-1e-40, -1e-30, -0.0, -150.0, -1000.0, -1e30, f32::MIN]);
        for set in InstructionSet::available() {
            for b in [1.0, 0.5, 1.7, 30.0] {
                let mut worst = 0.0f64;
                let found = run(set, &x, b, false);
                for (&x, found) in x.iter().zip(found) {
                    let product = f64::from(x) * f64::from(b);
                    // Without a fused multiplication the product is rounded.
                    let exact = set != InstructionSet::PORTABLE || b == 1.0;
                    let allowed = if exact { 0.0 } else { product.abs() * 2.0 };
                    let error = units(found, product.exp()) - allowed;
                    worst = worst.max(error);
                }
                assert!(worst <= 2.0, "{set} {b}: {worst}");
            }
        }
    }

    #[test]
    fn logarithms_are_right_to_the_last_places() {
        let mut t: Vec<f32> = (0..=100_000).map(|i| i as f32 * 1e-5).collect();
        t.extend((0..140).map(|i| 0.7 * (-i as f32).exp2()));
        t.extend([1e-40, f32::MIN_POSITIVE]);
        for set in InstructionSet::available() {
            let found = run(set, &t, 1.0, true);
            let errors = t
                .iter()
                .zip(found)
                .map(|(t, f)| units(f, f64::from(*t).ln_1p()));
            let worst = errors.fold(0.0, f64::max);
            assert!(worst <= 2.0, "{set}: {worst}");
        }
    }

    #[test]
    fn values_that_are_not_finite() {
        for set in InstructionSet::available() {
            for b in [1.0, 0.5] {
                let found = run(set, &[f32::NEG_INFINITY, f32::NAN], b, false);
                assert!(found[0] == 0.0 && found[1].is_nan(), "{set}: {found:?}");
            }
            assert!(run(set, &[f32::NAN], 1.0, true)[0].is_nan(), "{set}");
        }
    }
}

//! Plain Rust: a vector is an array, which the compiler maps to whatever the architecture has.

use std::array;

use super::{Kernel, LANES, Simd};

/// No instruction set in particular.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

impl Simd for Portable {
    type V = [f32; LANES];

    const ROWS: usize = 2;
    const VECTORS: usize = 1;

    #[inline(always)]
    unsafe fn call<K: Kernel>(kernel: K) -> K::Output {
        // SAFETY: needs no instructions; the kernel's own conditions are the caller's.
        unsafe { kernel.run::<Portable>() }
    }

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self::V {
        [value; LANES]
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self::V {
        // SAFETY: valid for 16 values by the conditions of the trait.
        unsafe { from.cast::<Self::V>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, v: Self::V) {
        // SAFETY: valid for 16 values by the conditions of the trait.
        unsafe { to.cast::<Self::V>().write_unaligned(v) }
    }

    #[inline(always)]
    unsafe fn load_first(from: *const f32, count: usize) -> Self::V {
        let mut values = [0.0; LANES];
        // SAFETY: valid for `count` values by the conditions of the trait.
        unsafe { from.copy_to_nonoverlapping(values.as_mut_ptr(), count.min(LANES)) };
        values
    }

    #[inline(always)]
    unsafe fn load_between(from: *const f32, first: usize, end: usize) -> Self::V {
        let mut values = [0.0f32; LANES];
        let count = end.min(LANES).saturating_sub(first);
        if count > 0 {
            let to = values[first..].as_mut_ptr();
            // SAFETY: valid between `first` and `end` by the conditions of the trait.
            unsafe { from.wrapping_add(first).copy_to_nonoverlapping(to, count) };
        }
        values
    }

    #[inline(always)]
    unsafe fn store_first(to: *mut f32, v: Self::V, count: usize) {
        // SAFETY: valid for `count` values by the conditions of the trait.
        unsafe { to.copy_from_nonoverlapping(v.as_ptr(), count.min(LANES)) }
    }

    #[inline(always)]
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
        array::from_fn(|i| a[i] + b[i])
    }

    #[inline(always)]
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V {
        array::from_fn(|i| a[i] - b[i])
    }

    #[inline(always)]
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V {
        array::from_fn(|i| a[i] * b[i])
    }

    #[inline(always)]
    unsafe fn div(a: Self::V, b: Self::V) -> Self::V {
        array::from_fn(|i| a[i] / b[i])
    }

    #[inline(always)]
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V {
        array::from_fn(|i| if a[i] > b[i] { a[i] } else { b[i] })
    }

    #[inline(always)]
    unsafe fn min(a: Self::V, b: Self::V) -> Self::V {
        array::from_fn(|i| if a[i] < b[i] { a[i] } else { b[i] })
    }

    #[inline(always)]
    unsafe fn scale_exp2(v: Self::V, k: Self::V) -> Self::V {
        let exp2 = |k: i32| f32::from_bits((k.wrapping_add(127) << 23) as u32);
        // Two factors, since 2^k may be less than the smallest number with a full mantissa.
        array::from_fn(|i| {
            let k = k[i] as i32;
            v[i] * exp2(k >> 1) * exp2(k - (k >> 1))
        })
    }

    // Two roundings: `f32::mul_add` is a slow library call where there is no instruction for it.
    #[inline(always)]
    unsafe fn mul_add(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        array::from_fn(|i| a[i] * b[i] + c[i])
    }

    #[inline(always)]
    unsafe fn neg_mul_add(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        array::from_fn(|i| c[i] - a[i] * b[i])
    }

    #[inline(always)]
    unsafe fn relu(a: Self::V) -> Self::V {
        a.map(|a| if a <= 0.0 { 0.0 } else { a })
    }

    #[inline(always)]
    unsafe fn where_positive(condition: Self::V, v: Self::V) -> Self::V {
        array::from_fn(|i| if condition[i] <= 0.0 { 0.0 } else { v[i] })
    }

    #[inline(always)]
    unsafe fn select_positive(condition: Self::V, a: Self::V, b: Self::V) -> Self::V {
        array::from_fn(|i| if condition[i] <= 0.0 { b[i] } else { a[i] })
    }

    #[inline(always)]
    unsafe fn take_larger(best: [Self::V; 2], candidate: [Self::V; 2]) -> [Self::V; 2] {
        let mut taken = best;
        for i in 0..LANES {
            let value = candidate[0][i];
            if value > best[0][i] || value.is_nan() {
                taken[0][i] = value;
                taken[1][i] = candidate[1][i];
            }
        }
        taken
    }

    #[inline(always)]
    unsafe fn transpose(rows: [Self::V; LANES]) -> [Self::V; LANES] {
        array::from_fn(|i| array::from_fn(|j| rows[j][i]))
    }

    #[inline(always)]
    unsafe fn evens(a: Self::V, b: Self::V) -> Self::V {
        array::from_fn(|i| if i < 8 { a[2 * i] } else { b[2 * i - LANES] })
    }

    #[inline(always)]
    unsafe fn odds(a: Self::V, b: Self::V) -> Self::V {
        array::from_fn(|i| {
            if i < 8 {
                a[2 * i + 1]
            } else {
                b[2 * i + 1 - LANES]
            }
        })
    }

    #[inline(always)]
    unsafe fn interleave(a: Self::V, b: Self::V) -> [Self::V; 2] {
        let half = |from: usize| {
            array::from_fn(|i| {
                if i % 2 == 0 {
                    a[from + i / 2]
                } else {
                    b[from + i / 2]
                }
            })
        };
        [half(0), half(LANES / 2)]
    }

    #[inline(always)]
    unsafe fn sum(v: Self::V) -> f32 {
        let mut v = v;
        for step in [8, 4, 2, 1] {
            for i in 0..step {
                v[i] += v[i + step];
            }
        }
        v[0]
    }

    #[inline(always)]
    unsafe fn prefetch(_at: *const f32) {}

    #[inline(always)]
    unsafe fn prefetch_far(_at: *const f32) {}
}

//! NEON: a vector is four registers.

use std::arch::aarch64::*;
use std::array;

use super::{Kernel, LANES, Simd};

/// NEON, which every 64-bit ARM has.
#[derive(Clone, Copy)]
pub(crate) struct Neon;

/// Values of a register.
const QUARTER: usize = LANES / 4;

/// 4 x 4 values.
#[inline(always)]
unsafe fn transpose4(r: [float32x4_t; QUARTER]) -> [float32x4_t; QUARTER] {
    // SAFETY: NEON is there by the conditions of the trait.
    unsafe {
        let low = [vzip1q_f32(r[0], r[2]), vzip1q_f32(r[1], r[3])];
        let high = [vzip2q_f32(r[0], r[2]), vzip2q_f32(r[1], r[3])];
        [
            vzip1q_f32(low[0], low[1]),
            vzip2q_f32(low[0], low[1]),
            vzip1q_f32(high[0], high[1]),
            vzip2q_f32(high[0], high[1]),
        ]
    }
}

/// An operation on each of the four registers.
macro_rules! each {
    ($f:ident($($v:ident),+)) => {
        // SAFETY: NEON is there by the conditions of the trait.
        array::from_fn(|i| unsafe { $f($($v[i]),+) })
    };
}

// SAFETY of every `unsafe` block below: the instructions are there and pointers are valid by the
// conditions of the trait.
impl Simd for Neon {
    type V = [float32x4_t; 4];

    // 24 of 32 registers hold sums, four a row of the right matrix, the rest broadcast values.
    const ROWS: usize = 6;
    const VECTORS: usize = 1;

    #[inline(always)]
    unsafe fn call<K: Kernel>(kernel: K) -> K::Output {
        #[target_feature(enable = "neon")]
        unsafe fn compiled<K: Kernel>(kernel: K) -> K::Output {
            unsafe { kernel.run::<Neon>() }
        }
        unsafe { compiled(kernel) }
    }

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self::V {
        unsafe { [vdupq_n_f32(value); 4] }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self::V {
        array::from_fn(|i| unsafe { vld1q_f32(from.add(QUARTER * i)) })
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, v: Self::V) {
        for (i, quarter) in v.into_iter().enumerate() {
            unsafe { vst1q_f32(to.add(QUARTER * i), quarter) }
        }
    }

    #[inline(always)]
    unsafe fn load_first(from: *const f32, count: usize) -> Self::V {
        let mut values = [0.0f32; LANES];
        unsafe {
            from.copy_to_nonoverlapping(values.as_mut_ptr(), count.min(LANES));
            Self::load(values.as_ptr())
        }
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
        unsafe { Self::load(values.as_ptr()) }
    }

    #[inline(always)]
    unsafe fn store_first(to: *mut f32, v: Self::V, count: usize) {
        let mut values = [0.0f32; LANES];
        unsafe {
            Self::store(values.as_mut_ptr(), v);
            to.copy_from_nonoverlapping(values.as_ptr(), count.min(LANES));
        }
    }

    #[inline(always)]
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
        each!(vaddq_f32(a, b))
    }

    #[inline(always)]
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V {
        each!(vsubq_f32(a, b))
    }

    #[inline(always)]
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V {
        each!(vmulq_f32(a, b))
    }

    #[inline(always)]
    unsafe fn div(a: Self::V, b: Self::V) -> Self::V {
        each!(vdivq_f32(a, b))
    }

    #[inline(always)]
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V {
        // NaN if one of the arguments is.
        each!(vmaxq_f32(a, b))
    }

    #[inline(always)]
    unsafe fn min(a: Self::V, b: Self::V) -> Self::V {
        // NaN if one of the arguments is.
        each!(vminq_f32(a, b))
    }

    #[inline(always)]
    unsafe fn scale_exp2(v: Self::V, k: Self::V) -> Self::V {
        let mut scaled = v;
        for i in 0..4 {
            unsafe {
                // Two factors, since 2^k may be less than the smallest number with a full mantissa.
                let k = vcvtq_s32_f32(k[i]);
                let half = vshrq_n_s32::<1>(k);
                for exponent in [half, vsubq_s32(k, half)] {
                    let biased = vaddq_s32(exponent, vdupq_n_s32(127));
                    let factor = vreinterpretq_f32_s32(vshlq_n_s32::<23>(biased));
                    scaled[i] = vmulq_f32(scaled[i], factor);
                }
            }
        }
        scaled
    }

    #[inline(always)]
    unsafe fn mul_add(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        each!(vfmaq_f32(c, a, b))
    }

    #[inline(always)]
    unsafe fn neg_mul_add(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        each!(vfmsq_f32(c, a, b))
    }

    #[inline(always)]
    unsafe fn relu(a: Self::V) -> Self::V {
        // NaN if one of the arguments is.
        let zero = unsafe { Self::zero() };
        each!(vmaxq_f32(zero, a))
    }

    #[inline(always)]
    unsafe fn where_positive(condition: Self::V, v: Self::V) -> Self::V {
        array::from_fn(|i| unsafe {
            // NaN is not at most 0.
            let bits = vbicq_u32(vreinterpretq_u32_f32(v[i]), vclezq_f32(condition[i]));
            vreinterpretq_f32_u32(bits)
        })
    }

    #[inline(always)]
    unsafe fn select_positive(condition: Self::V, a: Self::V, b: Self::V) -> Self::V {
        array::from_fn(|i| unsafe { vbslq_f32(vclezq_f32(condition[i]), b[i], a[i]) })
    }

    #[inline(always)]
    unsafe fn take_larger(best: [Self::V; 2], candidate: [Self::V; 2]) -> [Self::V; 2] {
        let mut taken = best;
        for i in 0..4 {
            unsafe {
                let value = candidate[0][i];
                // NaN does not equal itself.
                let larger = vornq_u32(vcgtq_f32(value, best[0][i]), vceqq_f32(value, value));
                taken[0][i] = vbslq_f32(larger, value, best[0][i]);
                taken[1][i] = vbslq_f32(larger, candidate[1][i], best[1][i]);
            }
        }
        taken
    }

    #[inline(always)]
    unsafe fn transpose(r: [Self::V; LANES]) -> [Self::V; LANES] {
        let mut columns = [unsafe { Self::zero() }; LANES];
        for across in 0..4 {
            for down in 0..4 {
                let block = array::from_fn(|i| r[QUARTER * down + i][across]);
                let block = unsafe { transpose4(block) };
                for (i, column) in block.into_iter().enumerate() {
                    columns[QUARTER * across + i][down] = column;
                }
            }
        }
        columns
    }

    #[inline(always)]
    unsafe fn evens(a: Self::V, b: Self::V) -> Self::V {
        unsafe {
            [
                vuzp1q_f32(a[0], a[1]),
                vuzp1q_f32(a[2], a[3]),
                vuzp1q_f32(b[0], b[1]),
                vuzp1q_f32(b[2], b[3]),
            ]
        }
    }

    #[inline(always)]
    unsafe fn odds(a: Self::V, b: Self::V) -> Self::V {
        unsafe {
            [
                vuzp2q_f32(a[0], a[1]),
                vuzp2q_f32(a[2], a[3]),
                vuzp2q_f32(b[0], b[1]),
                vuzp2q_f32(b[2], b[3]),
            ]
        }
    }

    #[inline(always)]
    unsafe fn interleave(a: Self::V, b: Self::V) -> [Self::V; 2] {
        let half = |from: usize| {
            let both = |i: usize| unsafe { [vzip1q_f32(a[i], b[i]), vzip2q_f32(a[i], b[i])] };
            let ([p, q], [r, s]) = (both(from), both(from + 1));
            [p, q, r, s]
        };
        [half(0), half(2)]
    }

    #[inline(always)]
    unsafe fn sum(v: Self::V) -> f32 {
        unsafe {
            let four = vaddq_f32(vaddq_f32(v[0], v[1]), vaddq_f32(v[2], v[3]));
            vaddvq_f32(four)
        }
    }

    #[inline(always)]
    unsafe fn prefetch(_at: *const f32) {
        // The instruction is not stable in Rust; hardware prefetchers follow the kernels' streams.
    }

    #[inline(always)]
    unsafe fn prefetch_far(_at: *const f32) {
        // As above.
    }
}

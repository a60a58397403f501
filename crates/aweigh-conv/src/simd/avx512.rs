//! AVX-512: a vector is one register.

use std::arch::x86_64::*;

use super::{Kernel, LANES, Simd};

/// AVX-512 F, DQ, BW and VL.
#[derive(Clone, Copy)]
pub(crate) struct Avx512;

/// The first `count` of 16 lanes.
#[inline(always)]
fn first(count: usize) -> __mmask16 {
    if count >= LANES {
        !0
    } else {
        (1u16 << count) - 1
    }
}

// SAFETY of every `unsafe` block below: the instructions are there and pointers are valid by the
// conditions of the trait.
impl Simd for Avx512 {
    type V = __m512;

    // 28 of 32 registers hold sums, two a row of the right matrix, one a broadcast value.
    const ROWS: usize = 14;
    const VECTORS: usize = 2;

    #[inline(always)]
    unsafe fn call<K: Kernel>(kernel: K) -> K::Output {
        #[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx2,fma")]
        unsafe fn compiled<K: Kernel>(kernel: K) -> K::Output {
            unsafe { kernel.run::<Avx512>() }
        }
        unsafe { compiled(kernel) }
    }

    #[inline(always)]
    unsafe fn splat(value: f32) -> __m512 {
        unsafe { _mm512_set1_ps(value) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> __m512 {
        unsafe { _mm512_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, v: __m512) {
        unsafe { _mm512_storeu_ps(to, v) }
    }

    #[inline(always)]
    unsafe fn load_first(from: *const f32, count: usize) -> __m512 {
        unsafe { _mm512_maskz_loadu_ps(first(count), from) }
    }

    #[inline(always)]
    unsafe fn load_between(from: *const f32, start: usize, end: usize) -> __m512 {
        unsafe { _mm512_maskz_loadu_ps(first(end) & !first(start), from) }
    }

    #[inline(always)]
    unsafe fn store_first(to: *mut f32, v: __m512, count: usize) {
        unsafe { _mm512_mask_storeu_ps(to, first(count), v) }
    }

    #[inline(always)]
    unsafe fn add(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn sub(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_sub_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn mul(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_mul_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn div(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_div_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn max(a: __m512, b: __m512) -> __m512 {
        // The maximum gives its second argument if one of them is NaN.
        unsafe { _mm512_max_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn min(a: __m512, b: __m512) -> __m512 {
        // The minimum gives its second argument if one of them is NaN.
        unsafe { _mm512_min_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn scale_exp2(v: __m512, k: __m512) -> __m512 {
        unsafe { _mm512_scalef_ps(v, k) }
    }

    #[inline(always)]
    unsafe fn mul_add(a: __m512, b: __m512, c: __m512) -> __m512 {
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    unsafe fn neg_mul_add(a: __m512, b: __m512, c: __m512) -> __m512 {
        unsafe { _mm512_fnmadd_ps(a, b, c) }
    }

    #[inline(always)]
    unsafe fn relu(a: __m512) -> __m512 {
        // The maximum gives its second argument if one of them is NaN.
        unsafe { _mm512_max_ps(_mm512_setzero_ps(), a) }
    }

    #[inline(always)]
    unsafe fn where_positive(condition: __m512, v: __m512) -> __m512 {
        unsafe {
            let positive = _mm512_cmp_ps_mask::<_CMP_NLE_UQ>(condition, _mm512_setzero_ps());
            _mm512_maskz_mov_ps(positive, v)
        }
    }

    #[inline(always)]
    unsafe fn select_positive(condition: __m512, a: __m512, b: __m512) -> __m512 {
        unsafe {
            let positive = _mm512_cmp_ps_mask::<_CMP_NLE_UQ>(condition, _mm512_setzero_ps());
            _mm512_mask_blend_ps(positive, b, a)
        }
    }

    #[inline(always)]
    unsafe fn take_larger(best: [__m512; 2], candidate: [__m512; 2]) -> [__m512; 2] {
        unsafe {
            let larger = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(candidate[0], best[0])
                | _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(candidate[0], candidate[0]);
            [
                _mm512_mask_blend_ps(larger, best[0], candidate[0]),
                _mm512_mask_blend_ps(larger, best[1], candidate[1]),
            ]
        }
    }

    #[inline(always)]
    unsafe fn transpose(r: [__m512; LANES]) -> [__m512; LANES] {
        unsafe {
            let zero = _mm512_setzero_ps();
            let mut pairs = [zero; LANES];
            for i in 0..8 {
                pairs[2 * i] = _mm512_unpacklo_ps(r[2 * i], r[2 * i + 1]);
                pairs[2 * i + 1] = _mm512_unpackhi_ps(r[2 * i], r[2 * i + 1]);
            }
            // Vector i of a group of four rows holds columns i, 4 + i, 8 + i and 12 + i.
            let mut fours = [zero; LANES];
            for group in (0..LANES).step_by(4) {
                for half in 0..2 {
                    let a = _mm512_castps_pd(pairs[group + half]);
                    let b = _mm512_castps_pd(pairs[group + half + 2]);
                    fours[group + 2 * half] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
                    fours[group + 2 * half + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
                }
            }
            let mut columns = [zero; LANES];
            for i in 0..4 {
                let a = _mm512_shuffle_f32x4::<0x88>(fours[i], fours[4 + i]);
                let b = _mm512_shuffle_f32x4::<0xdd>(fours[i], fours[4 + i]);
                let c = _mm512_shuffle_f32x4::<0x88>(fours[8 + i], fours[12 + i]);
                let d = _mm512_shuffle_f32x4::<0xdd>(fours[8 + i], fours[12 + i]);
                columns[i] = _mm512_shuffle_f32x4::<0x88>(a, c);
                columns[8 + i] = _mm512_shuffle_f32x4::<0xdd>(a, c);
                columns[4 + i] = _mm512_shuffle_f32x4::<0x88>(b, d);
                columns[12 + i] = _mm512_shuffle_f32x4::<0xdd>(b, d);
            }
            columns
        }
    }

    #[inline(always)]
    unsafe fn evens(a: __m512, b: __m512) -> __m512 {
        unsafe {
            let from = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
            _mm512_permutex2var_ps(a, from, b)
        }
    }

    #[inline(always)]
    unsafe fn odds(a: __m512, b: __m512) -> __m512 {
        unsafe {
            let from = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
            _mm512_permutex2var_ps(a, from, b)
        }
    }

    #[inline(always)]
    unsafe fn interleave(a: __m512, b: __m512) -> [__m512; 2] {
        unsafe {
            let low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
            let high =
                _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
            [
                _mm512_permutex2var_ps(a, low, b),
                _mm512_permutex2var_ps(a, high, b),
            ]
        }
    }

    #[inline(always)]
    unsafe fn sum(v: __m512) -> f32 {
        unsafe { _mm512_reduce_add_ps(v) }
    }

    #[inline(always)]
    unsafe fn prefetch(at: *const f32) {
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
    }

    #[inline(always)]
    unsafe fn prefetch_far(at: *const f32) {
        unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast()) }
    }
}

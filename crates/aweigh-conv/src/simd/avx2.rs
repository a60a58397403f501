//! AVX2 with FMA: a vector is two registers.

use std::arch::x86_64::*;

use super::{Kernel, LANES, Simd};

/// AVX2 and FMA.
#[derive(Clone, Copy)]
pub(crate) struct Avx2;

/// Values of a register.
const HALF: usize = LANES / 2;

/// Lanes of both registers that belong to the first `count` values.
#[inline(always)]
unsafe fn first(count: usize) -> [__m256i; 2] {
    // SAFETY: AVX2 is there by the conditions of the trait.
    unsafe {
        let count = count.min(LANES) as i32;
        let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        [
            _mm256_cmpgt_epi32(_mm256_set1_epi32(count), lanes),
            _mm256_cmpgt_epi32(_mm256_set1_epi32(count - HALF as i32), lanes),
        ]
    }
}

/// 8 x 8 values.
#[inline(always)]
unsafe fn transpose8(r: [__m256; HALF]) -> [__m256; HALF] {
    // SAFETY: AVX2 is there by the conditions of the trait.
    unsafe {
        let zero = _mm256_setzero_ps();
        let mut pairs = [zero; HALF];
        for i in 0..4 {
            pairs[2 * i] = _mm256_unpacklo_ps(r[2 * i], r[2 * i + 1]);
            pairs[2 * i + 1] = _mm256_unpackhi_ps(r[2 * i], r[2 * i + 1]);
        }
        // Vector i of a group of four rows holds columns i and 4 + i.
        let mut fours = [zero; HALF];
        for group in [0, 4] {
            for half in 0..2 {
                let (a, b) = (pairs[group + half], pairs[group + half + 2]);
                fours[group + 2 * half] = _mm256_shuffle_ps::<0x44>(a, b);
                fours[group + 2 * half + 1] = _mm256_shuffle_ps::<0xee>(a, b);
            }
        }
        let mut columns = [zero; HALF];
        for i in 0..4 {
            columns[i] = _mm256_permute2f128_ps::<0x20>(fours[i], fours[4 + i]);
            columns[4 + i] = _mm256_permute2f128_ps::<0x31>(fours[i], fours[4 + i]);
        }
        columns
    }
}

/// Values at even or odd places of 16, as `$mask` says.
macro_rules! every_second {
    ($v:expr, $mask:literal) => {{
        let [a, b]: [__m256; 2] = $v;
        // Both halves of each register, in the order a, b, a, b.
        let mixed = _mm256_castps_pd(_mm256_shuffle_ps::<$mask>(a, b));
        _mm256_castpd_ps(_mm256_permute4x64_pd::<0xd8>(mixed))
    }};
}

// SAFETY of every `unsafe` block below: the instructions are there and pointers are valid by the
// conditions of the trait.
impl Simd for Avx2 {
    type V = [__m256; 2];

    // 12 of 16 registers hold sums, two a row of the right matrix, one a broadcast value.
    const ROWS: usize = 6;
    const VECTORS: usize = 1;

    #[inline(always)]
    unsafe fn call<K: Kernel>(kernel: K) -> K::Output {
        #[target_feature(enable = "avx2,fma")]
        unsafe fn compiled<K: Kernel>(kernel: K) -> K::Output {
            unsafe { kernel.run::<Avx2>() }
        }
        unsafe { compiled(kernel) }
    }

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self::V {
        unsafe { [_mm256_set1_ps(value); 2] }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self::V {
        unsafe { [_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(HALF))] }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, v: Self::V) {
        unsafe {
            _mm256_storeu_ps(to, v[0]);
            _mm256_storeu_ps(to.add(HALF), v[1]);
        }
    }

    #[inline(always)]
    unsafe fn load_first(from: *const f32, count: usize) -> Self::V {
        unsafe {
            let [low, high] = first(count);
            [
                _mm256_maskload_ps(from, low),
                _mm256_maskload_ps(from.wrapping_add(HALF), high),
            ]
        }
    }

    #[inline(always)]
    unsafe fn load_between(from: *const f32, start: usize, end: usize) -> Self::V {
        unsafe {
            let (before, [low, high]) = (first(start), first(end));
            [
                _mm256_maskload_ps(from, _mm256_andnot_si256(before[0], low)),
                _mm256_maskload_ps(
                    from.wrapping_add(HALF),
                    _mm256_andnot_si256(before[1], high),
                ),
            ]
        }
    }

    #[inline(always)]
    unsafe fn store_first(to: *mut f32, v: Self::V, count: usize) {
        unsafe {
            let [low, high] = first(count);
            _mm256_maskstore_ps(to, low, v[0]);
            _mm256_maskstore_ps(to.wrapping_add(HALF), high, v[1]);
        }
    }

    #[inline(always)]
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
        unsafe { [_mm256_add_ps(a[0], b[0]), _mm256_add_ps(a[1], b[1])] }
    }

    #[inline(always)]
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V {
        unsafe { [_mm256_sub_ps(a[0], b[0]), _mm256_sub_ps(a[1], b[1])] }
    }

    #[inline(always)]
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V {
        unsafe { [_mm256_mul_ps(a[0], b[0]), _mm256_mul_ps(a[1], b[1])] }
    }

    #[inline(always)]
    unsafe fn div(a: Self::V, b: Self::V) -> Self::V {
        unsafe { [_mm256_div_ps(a[0], b[0]), _mm256_div_ps(a[1], b[1])] }
    }

    #[inline(always)]
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V {
        // The maximum gives its second argument if one of them is NaN.
        unsafe { [_mm256_max_ps(a[0], b[0]), _mm256_max_ps(a[1], b[1])] }
    }

    #[inline(always)]
    unsafe fn min(a: Self::V, b: Self::V) -> Self::V {
        // The minimum gives its second argument if one of them is NaN.
        unsafe { [_mm256_min_ps(a[0], b[0]), _mm256_min_ps(a[1], b[1])] }
    }

    #[inline(always)]
    unsafe fn scale_exp2(v: Self::V, k: Self::V) -> Self::V {
        let mut scaled = v;
        for i in 0..2 {
            unsafe {
                // Two factors, since 2^k may be less than the smallest number with a full mantissa.
                let k = _mm256_cvtps_epi32(k[i]);
                let half = _mm256_srai_epi32::<1>(k);
                for exponent in [half, _mm256_sub_epi32(k, half)] {
                    let biased = _mm256_add_epi32(exponent, _mm256_set1_epi32(127));
                    let factor = _mm256_castsi256_ps(_mm256_slli_epi32::<23>(biased));
                    scaled[i] = _mm256_mul_ps(scaled[i], factor);
                }
            }
        }
        scaled
    }

    #[inline(always)]
    unsafe fn mul_add(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        unsafe {
            [
                _mm256_fmadd_ps(a[0], b[0], c[0]),
                _mm256_fmadd_ps(a[1], b[1], c[1]),
            ]
        }
    }

    #[inline(always)]
    unsafe fn neg_mul_add(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        unsafe {
            [
                _mm256_fnmadd_ps(a[0], b[0], c[0]),
                _mm256_fnmadd_ps(a[1], b[1], c[1]),
            ]
        }
    }

    #[inline(always)]
    unsafe fn relu(a: Self::V) -> Self::V {
        // The maximum gives its second argument if one of them is NaN.
        unsafe {
            let zero = _mm256_setzero_ps();
            [_mm256_max_ps(zero, a[0]), _mm256_max_ps(zero, a[1])]
        }
    }

    #[inline(always)]
    unsafe fn where_positive(condition: Self::V, v: Self::V) -> Self::V {
        unsafe {
            let zero = _mm256_setzero_ps();
            let positive = condition.map(|c| _mm256_cmp_ps::<_CMP_NLE_UQ>(c, zero));
            [
                _mm256_and_ps(positive[0], v[0]),
                _mm256_and_ps(positive[1], v[1]),
            ]
        }
    }

    #[inline(always)]
    unsafe fn select_positive(condition: Self::V, a: Self::V, b: Self::V) -> Self::V {
        unsafe {
            let zero = _mm256_setzero_ps();
            let positive = condition.map(|c| _mm256_cmp_ps::<_CMP_NLE_UQ>(c, zero));
            [
                _mm256_blendv_ps(b[0], a[0], positive[0]),
                _mm256_blendv_ps(b[1], a[1], positive[1]),
            ]
        }
    }

    #[inline(always)]
    unsafe fn take_larger(best: [Self::V; 2], candidate: [Self::V; 2]) -> [Self::V; 2] {
        let mut taken = best;
        for i in 0..2 {
            unsafe {
                let value = candidate[0][i];
                let larger = _mm256_or_ps(
                    _mm256_cmp_ps::<_CMP_GT_OQ>(value, best[0][i]),
                    _mm256_cmp_ps::<_CMP_UNORD_Q>(value, value),
                );
                taken[0][i] = _mm256_blendv_ps(best[0][i], value, larger);
                taken[1][i] = _mm256_blendv_ps(best[1][i], candidate[1][i], larger);
            }
        }
        taken
    }

    #[inline(always)]
    unsafe fn transpose(r: [Self::V; LANES]) -> [Self::V; LANES] {
        unsafe {
            let mut columns = [Self::zero(); LANES];
            for half in 0..2 {
                for row in [0, HALF] {
                    let mut block = [_mm256_setzero_ps(); HALF];
                    for i in 0..HALF {
                        block[i] = r[row + i][half];
                    }
                    let block = transpose8(block);
                    for i in 0..HALF {
                        columns[half * HALF + i][row / HALF] = block[i];
                    }
                }
            }
            columns
        }
    }

    #[inline(always)]
    unsafe fn evens(a: Self::V, b: Self::V) -> Self::V {
        unsafe { [every_second!(a, 0x88), every_second!(b, 0x88)] }
    }

    #[inline(always)]
    unsafe fn odds(a: Self::V, b: Self::V) -> Self::V {
        unsafe { [every_second!(a, 0xdd), every_second!(b, 0xdd)] }
    }

    #[inline(always)]
    unsafe fn interleave(a: Self::V, b: Self::V) -> [Self::V; 2] {
        unsafe {
            let mut result = [Self::zero(); 2];
            for i in 0..2 {
                let low = _mm256_unpacklo_ps(a[i], b[i]);
                let high = _mm256_unpackhi_ps(a[i], b[i]);
                result[i] = [
                    _mm256_permute2f128_ps::<0x20>(low, high),
                    _mm256_permute2f128_ps::<0x31>(low, high),
                ];
            }
            result
        }
    }

    #[inline(always)]
    unsafe fn sum(v: Self::V) -> f32 {
        unsafe {
            let eight = _mm256_add_ps(v[0], v[1]);
            let four = _mm_add_ps(
                _mm256_castps256_ps128(eight),
                _mm256_extractf128_ps::<1>(eight),
            );
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
        }
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

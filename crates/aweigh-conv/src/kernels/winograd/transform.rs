//! The transforms of Winograd's convolution F(4, 3) along one axis, on 16 channels at a time.
//!
//! With the points 0, a, -a, b, -b and infinity, `y = A^T ((G g) * (B^T d))` are the 4 outputs of 3
//! taps `g` on 6 inputs `d`:
//!
//! ```text
//! row of point p:    A: 1 p p^2 p^3    G: (1 p p^2) / N(p)    N(p) = product of p - q, q != p
//! row of infinity:   A: 0 0 0   1      G:  0 0 1
//! ```
//!
//! and row p of `B^T` has the coefficients of the product of `x - q` over all finite `q != p`.

use crate::simd::Simd;

/// Outputs of a tile along an axis.
pub(super) const TILE: usize = 4;
/// Inputs that a tile of outputs depends on along an axis, and transformed values.
pub(super) const SPAN: usize = 6;
/// Taps of the kernel along an axis.
pub(super) const TAPS: usize = 3;
/// Transformed values of a tile.
pub(super) const PLANES: usize = SPAN * SPAN;

// Half of the error of the usual points 1 and 2: the powers up to p^3 in A, and their inverses in
// G, stay closer to each other.
const A: f32 = 0.75;
const B: f32 = 1.5;
const A2: f32 = A * A;
const B2: f32 = B * B;
/// N(0).
const N0: f32 = A2 * B2;
/// N(a), which is N(-a) too.
const NA: f32 = 2.0 * A2 * (A2 - B2);
/// N(b), which is N(-b) too.
const NB: f32 = 2.0 * B2 * (B2 - A2);

/// A transform of a tile's `FROM` values to the 6 that are multiplied.
pub(super) trait Expand<const FROM: usize> {
    /// Transforms along one axis.
    ///
    /// # Safety
    ///
    /// The machine has the instructions of `S`.
    unsafe fn expand<S: Simd>(values: [S::V; FROM]) -> [S::V; SPAN];
}

/// `B^T`, of inputs.
pub(super) struct Input;

impl Expand<SPAN> for Input {
    #[inline(always)]
    unsafe fn expand<S: Simd>(d: [S::V; SPAN]) -> [S::V; SPAN] {
        // SAFETY: as this function's.
        unsafe {
            let (a, b, a2, b2) = (S::splat(A), S::splat(B), S::splat(A2), S::splat(B2));
            let (product, sum) = (S::splat(A2 * B2), S::splat(A2 + B2));
            let (even_a, odd_a) = (
                S::neg_mul_add(b2, d[2], d[4]),
                S::neg_mul_add(b2, d[1], d[3]),
            );
            let (even_b, odd_b) = (
                S::neg_mul_add(a2, d[2], d[4]),
                S::neg_mul_add(a2, d[1], d[3]),
            );
            [
                S::mul_add(product, d[0], S::neg_mul_add(sum, d[2], d[4])),
                S::mul_add(a, odd_a, even_a),
                S::neg_mul_add(a, odd_a, even_a),
                S::mul_add(b, odd_b, even_b),
                S::neg_mul_add(b, odd_b, even_b),
                S::mul_add(product, d[1], S::neg_mul_add(sum, d[3], d[5])),
            ]
        }
    }
}

/// `A`, of gradients of outputs.
pub(super) struct Gradient;

impl Expand<TILE> for Gradient {
    #[inline(always)]
    unsafe fn expand<S: Simd>(g: [S::V; TILE]) -> [S::V; SPAN] {
        // SAFETY: as this function's.
        unsafe {
            let even_a = S::mul_add(S::splat(A2), g[2], g[0]);
            let odd_a = S::mul_add(S::splat(A2 * A), g[3], S::mul(S::splat(A), g[1]));
            let even_b = S::mul_add(S::splat(B2), g[2], g[0]);
            let odd_b = S::mul_add(S::splat(B2 * B), g[3], S::mul(S::splat(B), g[1]));
            [
                g[0],
                S::add(even_a, odd_a),
                S::sub(even_a, odd_a),
                S::add(even_b, odd_b),
                S::sub(even_b, odd_b),
                g[3],
            ]
        }
    }
}

/// `G`, of taps.
pub(super) struct Taps;

impl Expand<TAPS> for Taps {
    #[inline(always)]
    unsafe fn expand<S: Simd>(g: [S::V; TAPS]) -> [S::V; SPAN] {
        // SAFETY: as this function's.
        unsafe {
            let (even_a, odd_a) = (
                S::mul_add(S::splat(A2), g[2], g[0]),
                S::mul(S::splat(A), g[1]),
            );
            let (even_b, odd_b) = (
                S::mul_add(S::splat(B2), g[2], g[0]),
                S::mul(S::splat(B), g[1]),
            );
            let (by_a, by_b) = (S::splat(1.0 / NA), S::splat(1.0 / NB));
            [
                S::mul(S::splat(1.0 / N0), g[0]),
                S::mul(by_a, S::add(even_a, odd_a)),
                S::mul(by_a, S::sub(even_a, odd_a)),
                S::mul(by_b, S::add(even_b, odd_b)),
                S::mul(by_b, S::sub(even_b, odd_b)),
                g[2],
            ]
        }
    }
}

/// `A^T`: the outputs from the products.
///
/// # Safety
///
/// The machine has the instructions of `S`.
#[inline(always)]
pub(super) unsafe fn outputs<S: Simd>(m: [S::V; SPAN]) -> [S::V; TILE] {
    // SAFETY: as this function's.
    unsafe {
        let (even_a, odd_a) = (S::add(m[1], m[2]), S::sub(m[1], m[2]));
        let (even_b, odd_b) = (S::add(m[3], m[4]), S::sub(m[3], m[4]));
        let cubes = S::mul_add(S::splat(B2 * B), odd_b, S::mul(S::splat(A2 * A), odd_a));
        [
            S::add(m[0], S::add(even_a, even_b)),
            S::mul_add(S::splat(B), odd_b, S::mul(S::splat(A), odd_a)),
            S::mul_add(S::splat(B2), even_b, S::mul(S::splat(A2), even_a)),
            S::add(m[5], cubes),
        ]
    }
}

/// `G^T`: the gradients of taps from the products.
///
/// # Safety
///
/// The machine has the instructions of `S`.
#[inline(always)]
pub(super) unsafe fn taps<S: Simd>(u: [S::V; SPAN]) -> [S::V; TAPS] {
    // SAFETY: as this function's.
    unsafe {
        let (by_a, by_b) = (S::splat(1.0 / NA), S::splat(1.0 / NB));
        let even_a = S::mul(by_a, S::add(u[1], u[2]));
        let odd_a = S::mul(by_a, S::sub(u[1], u[2]));
        let even_b = S::mul(by_b, S::add(u[3], u[4]));
        let odd_b = S::mul(by_b, S::sub(u[3], u[4]));
        let squares = S::mul_add(S::splat(B2), even_b, S::mul(S::splat(A2), even_a));
        [
            S::mul_add(S::splat(1.0 / N0), u[0], S::add(even_a, even_b)),
            S::mul_add(S::splat(B), odd_b, S::mul(S::splat(A), odd_a)),
            S::add(u[5], squares),
        ]
    }
}

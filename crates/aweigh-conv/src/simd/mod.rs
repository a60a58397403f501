//! Vectors of 16 `f32`, and the instruction sets that compute with them.
//!
//! Every kernel treats 16 channels or pixels as one vector, whatever the machine: one register with
//! AVX-512, two with AVX2, four with NEON. A kernel is written once, generic over [`Simd`], as an
//! implementation of [`Kernel`]; [`InstructionSet::run`] calls the copy that was compiled for the
//! set chosen at run time.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::OnceLock;

#[cfg(target_arch = "x86_64")]
pub(crate) use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) use avx512::Avx512;
#[cfg(target_arch = "aarch64")]
pub(crate) use neon::Neon;
pub(crate) use portable::Portable;

/// Values in a vector.
pub(crate) const LANES: usize = 16;

/// Name of the environment variable that forces an instruction set.
pub const SIMD_VARIABLE: &str = "AWEIGH_SIMD";

/// A computation that is compiled once for every instruction set.
///
/// # Performance
///
/// Implementations mark `run` `#[inline(always)]`, and everything generic over [`Simd`] that it
/// calls too: code that is not inlined into [`Simd::call`] is compiled without the instruction set,
/// and each operation on a vector becomes a function call.
pub(crate) trait Kernel {
    /// What it returns.
    type Output;

    /// Computes with the instructions of `S`.
    ///
    /// # Safety
    ///
    /// The machine has the instructions of `S`, and what the kernel itself asks of its pointers.
    unsafe fn run<S: Simd>(self) -> Self::Output;
}

/// An instruction set: operations on vectors of 16 values.
///
/// # Safety
///
/// All functions are called on a machine that has the instruction set; pointers are valid for as
/// many values as the function reads or writes, without any alignment.
pub(crate) trait Simd: Copy + Send + Sync + 'static {
    /// 16 values, a vector.
    type V: Copy;

    /// Rows of the largest tile of a product that stays in registers.
    const ROWS: usize;
    /// Vectors in a row of that tile.
    const VECTORS: usize;

    /// Runs a kernel in a function of its own that is compiled for this set.
    unsafe fn call<K: Kernel>(kernel: K) -> K::Output;

    /// `value` at all places.
    unsafe fn splat(value: f32) -> Self::V;
    /// The 16 values from an address on.
    unsafe fn load(from: *const f32) -> Self::V;
    /// Stores all 16 values.
    unsafe fn store(to: *mut f32, v: Self::V);
    /// The first `count` values, then zeros; touches no more memory than that. `count` above 16 is
    /// 16.
    unsafe fn load_first(from: *const f32, count: usize) -> Self::V;
    /// The values at places `first..end` of 16, zeros at the others; touches no more memory than
    /// that, `from` itself may lie outside of it.
    unsafe fn load_between(from: *const f32, first: usize, end: usize) -> Self::V;
    /// Stores the first `count` values. `count` above 16 is 16.
    unsafe fn store_first(to: *mut f32, v: Self::V, count: usize);
    /// `a + b`.
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    /// `a - b`.
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V;
    /// `a * b`.
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V;
    /// `a / b`.
    unsafe fn div(a: Self::V, b: Self::V) -> Self::V;
    /// The larger of both; NaN if `b` is, anything if `a` is.
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V;
    /// The smaller of both; NaN if `b` is, anything if `a` is.
    unsafe fn min(a: Self::V, b: Self::V) -> Self::V;
    /// `v * 2^k` of whole `k` in `-252..=252`; anything for others.
    unsafe fn scale_exp2(v: Self::V, k: Self::V) -> Self::V;
    /// `a * b + c`.
    unsafe fn mul_add(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `c - a * b`.
    unsafe fn neg_mul_add(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `a` where it is above 0 or NaN, else 0: what a ReLU gives.
    unsafe fn relu(a: Self::V) -> Self::V;
    /// `v` where `condition` is above 0 or NaN, else 0: the gradient of a ReLU, from what it was
    /// given or gave.
    unsafe fn where_positive(condition: Self::V, v: Self::V) -> Self::V;
    /// `a` where `condition` is above 0 or NaN, else `b`.
    unsafe fn select_positive(condition: Self::V, a: Self::V, b: Self::V) -> Self::V;
    /// A value and what belongs to it: those of `candidate` where its value is the larger one or
    /// NaN, else those of `best`. So the first of equal values stays, and the last NaN.
    unsafe fn take_larger(best: [Self::V; 2], candidate: [Self::V; 2]) -> [Self::V; 2];
    /// Value `j` of result `i` is value `i` of argument `j`.
    unsafe fn transpose(rows: [Self::V; LANES]) -> [Self::V; LANES];
    /// Values 0, 2, .. 30 of the 32 of `a` and `b`.
    unsafe fn evens(a: Self::V, b: Self::V) -> Self::V;
    /// Values 1, 3, .. 31 of the 32 of `a` and `b`.
    unsafe fn odds(a: Self::V, b: Self::V) -> Self::V;
    /// The 32 values `a0 b0 a1 b1 ..`.
    unsafe fn interleave(a: Self::V, b: Self::V) -> [Self::V; 2];
    /// Sum of all values, in an order that depends on the set alone.
    unsafe fn sum(v: Self::V) -> f32;
    /// Asks for a cache line, to be used soon; any address is allowed.
    unsafe fn prefetch(at: *const f32);
    /// Asks for a cache line in the second-level cache, to be used later; any address is allowed.
    unsafe fn prefetch_far(at: *const f32);

    /// Zeros.
    #[inline(always)]
    unsafe fn zero() -> Self::V {
        // SAFETY: as this function's.
        unsafe { Self::splat(0.0) }
    }

    /// As [`load_first`](Self::load_first), faster where whole vectors are usual: masked loads are
    /// slow with AVX2.
    #[inline(always)]
    unsafe fn load_up_to(from: *const f32, count: usize) -> Self::V {
        // SAFETY: as this function's.
        unsafe {
            if count >= LANES {
                Self::load(from)
            } else {
                Self::load_first(from, count)
            }
        }
    }
}

/// An instruction set that kernels are compiled for, and that this machine has: there is no other
/// way to one than [`available`](Self::available) and [`chosen`](Self::chosen), which ask the
/// processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InstructionSet(Set);

/// The instruction sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Set {
    /// AVX-512 (F, DQ, BW, VL) with FMA.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// AVX2 with FMA.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// NEON.
    #[cfg(target_arch = "aarch64")]
    Neon,
    /// What every machine of the architecture has.
    Portable,
}

/// [`SIMD_VARIABLE`] names an instruction set that is not known or not there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{SIMD_VARIABLE} is {given:?}; this machine has {}",
    .available.iter().map(|set| set.to_string()).collect::<Vec<_>>().join(", ")
)]
pub struct UnknownInstructionSet {
    given: String,
    available: Vec<InstructionSet>,
}

impl InstructionSet {
    /// What every machine has.
    #[cfg(test)]
    pub(crate) const PORTABLE: Self = Self(Set::Portable);

    /// Those that this machine has, the fastest first.
    pub fn available() -> Vec<Self> {
        let mut sets = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            let fma = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            let wide = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vl");
            if fma && wide {
                sets.push(Set::Avx512);
            }
            if fma {
                sets.push(Set::Avx2);
            }
        }
        #[cfg(target_arch = "aarch64")]
        sets.push(Set::Neon);
        sets.push(Set::Portable);
        sets.into_iter().map(Self).collect()
    }

    /// The set that kernels use: the one that the environment variable [`SIMD_VARIABLE`] names, or
    /// the fastest. It is chosen once.
    ///
    /// # Errors
    ///
    /// When the variable names none that this machine has.
    pub fn chosen() -> Result<Self, UnknownInstructionSet> {
        static CHOSEN: OnceLock<Result<InstructionSet, UnknownInstructionSet>> = OnceLock::new();
        let choose = || {
            let available = Self::available();
            let Some(given) = std::env::var_os(SIMD_VARIABLE) else {
                return Ok(available[0]);
            };
            let given = given.to_string_lossy().into_owned();
            let found = available.iter().find(|set| set.to_string() == given);
            found
                .copied()
                .ok_or(UnknownInstructionSet { given, available })
        };
        CHOSEN.get_or_init(choose).clone()
    }

    /// Runs a kernel with this set.
    ///
    /// # Safety
    ///
    /// What the kernel asks of its pointers.
    pub(crate) unsafe fn run<K: Kernel>(self, kernel: K) -> K::Output {
        // SAFETY: the machine has the set, since nothing else makes one; the rest by this function's
        // own conditions.
        unsafe {
            match self.0 {
                #[cfg(target_arch = "x86_64")]
                Set::Avx512 => Avx512::call(kernel),
                #[cfg(target_arch = "x86_64")]
                Set::Avx2 => Avx2::call(kernel),
                #[cfg(target_arch = "aarch64")]
                Set::Neon => Neon::call(kernel),
                Set::Portable => Portable::call(kernel),
            }
        }
    }

    /// Rows and width of the largest tile of a product, [`Simd::ROWS`] and 16 times
    /// [`Simd::VECTORS`].
    pub(crate) fn tile(self) -> [usize; 2] {
        const fn tile<S: Simd>() -> [usize; 2] {
            [S::ROWS, LANES * S::VECTORS]
        }
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 => tile::<Avx512>(),
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => tile::<Avx2>(),
            #[cfg(target_arch = "aarch64")]
            Set::Neon => tile::<Neon>(),
            Set::Portable => tile::<Portable>(),
        }
    }
}

impl fmt::Display for InstructionSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 => "avx512",
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => "avx2",
            #[cfg(target_arch = "aarch64")]
            Set::Neon => "neon",
            Set::Portable => "portable",
        })
    }
}

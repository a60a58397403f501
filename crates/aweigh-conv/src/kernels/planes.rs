//! Passes over memory: how they are split into jobs, and into vectors.

use std::ops::Range;

use super::threads::parallel;

/// Values that a job passes over at least: 128 kB, long against the nanoseconds that a job costs
/// and short enough to share out.
const JOB_VALUES: usize = 1 << 15;

/// Values that are summed in the lanes of vectors before the sum goes on in `f64`: a lane of four
/// vectors sums 64 of them, so that its rounding errors stay below 1e-6 of the values.
pub(crate) const SUM_VALUES: usize = 4096;

/// Runs `work` for ranges of `0..planes`, of `values` values each, with a state per thread. The
/// ranges depend on the sizes alone.
pub(crate) fn for_planes<T>(
    planes: usize,
    values: usize,
    state: impl Fn() -> T + Sync,
    work: impl Fn(&mut T, Range<usize>) + Sync,
) {
    let each = (JOB_VALUES / values.max(1)).max(1);
    parallel(planes.div_ceil(each), state, |state, job| {
        work(state, job * each..((job + 1) * each).min(planes));
    });
}

/// Runs `work` for ranges of `0..count` values, as [`for_planes`].
pub(crate) fn for_values(count: usize, work: impl Fn(Range<usize>) + Sync) {
    for_planes(count, 1, || (), |(), range| work(range));
}

/// Runs a block for every vector of `$count` values: `$i` is the place of its first value, `$n` how
/// many it has, and `$turn`, of `0..4`, which of four running sums it belongs to.
///
/// A macro, so that the block becomes part of its function, and one for whole vectors, whose `$n`
/// the compiler knows. Four turns hide the latency of an addition.
macro_rules! vectors {
    ($count:expr, |$i:ident, $n:ident, $turn:ident| $block:block) => {{
        let count: usize = $count;
        let mut at = 0;
        while at + 4 * $crate::simd::LANES <= count {
            for $turn in 0..4 {
                let ($i, $n) = (at + $turn * $crate::simd::LANES, $crate::simd::LANES);
                $block
            }
            at += 4 * $crate::simd::LANES;
        }
        while at + $crate::simd::LANES <= count {
            let ($i, $n, $turn) = (at, $crate::simd::LANES, 0);
            $block
            at += $crate::simd::LANES;
        }
        if at < count {
            let ($i, $n, $turn) = (at, count - at, 0);
            $block
        }
    }};
    ($count:expr, |$i:ident, $n:ident| $block:block) => {
        $crate::kernels::planes::vectors!($count, |$i, $n, _turn| $block)
    };
}
pub(crate) use vectors;

/// Sum of four running sums.
///
/// # Safety
///
/// The machine has the instructions of `S`.
#[inline(always)]
pub(crate) unsafe fn total<S: crate::simd::Simd>(sums: [S::V; 4]) -> f64 {
    // SAFETY: by this function's own condition.
    unsafe {
        f64::from(S::sum(S::add(
            S::add(sums[0], sums[1]),
            S::add(sums[2], sums[3]),
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_cover_all_planes_once() {
        for (planes, values) in [(0, 5), (1, 0), (7, 10_000), (100, 3000), (3, 1 << 20)] {
            let seen: Vec<_> = (0..planes)
                .map(|_| std::sync::atomic::AtomicUsize::new(0))
                .collect();
            for_planes(
                planes,
                values,
                || (),
                |(), range| {
                    for i in range {
                        seen[i].fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    }
                },
            );
            assert!(seen.into_iter().all(|count| count.into_inner() == 1));
        }
    }

    #[test]
    fn vectors_cover_all_values_in_order() {
        for count in [0, 1, 15, 16, 17, 63, 64, 65, 80, 129, 200] {
            let mut next = 0;
            vectors!(count, |i, n, turn| {
                assert_eq!(i, next);
                assert!((1..=16).contains(&n) && turn < 4);
                next += n;
            });
            assert_eq!(next, count);
        }
    }
}

//! Maximum pooling. What is kept for backward is the tap of each maximum, a byte.

mod backward;
#[cfg(test)]
mod tests;

use std::mem::MaybeUninit;
use std::ops::Range;

pub(crate) use backward::backward;

use super::planes::for_planes;
use super::threads::Shared;
use crate::simd::{InstructionSet, Kernel, LANES, Simd};

/// Sizes of a pooling of `[N, H, W]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PoolSizes {
    /// Planes N: images times channels.
    pub(crate) planes: usize,
    /// Height and width of the input.
    pub(crate) input: [usize; 2],
    /// Height and width of a window, of at most 256 taps.
    pub(crate) kernel: [usize; 2],
    /// Step of the windows, down and across.
    pub(crate) stride: [usize; 2],
    /// Rows and columns around the map that no maximum is taken of, less than the kernel's.
    pub(crate) padding: [usize; 2],
}

impl PoolSizes {
    /// Height and width of the output: `(n + 2 padding - k) / stride + 1`, 0 where the kernel is
    /// larger than the padded map.
    pub(crate) fn output(&self) -> [usize; 2] {
        std::array::from_fn(|i| {
            let padded = self.input[i] + 2 * self.padding[i];
            match padded.checked_sub(self.kernel[i]) {
                Some(room) if self.input[i] > 0 => room / self.stride[i] + 1,
                _ => 0,
            }
        })
    }

    fn pixels_in(&self) -> usize {
        self.input[0] * self.input[1]
    }

    fn pixels_out(&self) -> usize {
        let [height, width] = self.output();
        height * width
    }

    #[track_caller]
    fn check(&self, input: usize, output: usize) {
        assert!(
            self.kernel[0] * self.kernel[1] <= 256,
            "more taps than a byte has values"
        );
        let padded = |i: usize| self.stride[i] > 0 && self.padding[i] < self.kernel[i];
        assert!(padded(0) && padded(1), "a window would have no pixel");
        assert_eq!(input, self.planes * self.pixels_in());
        assert_eq!(output, self.planes * self.pixels_out());
    }

    /// Taps of the window at `place` along `axis` that are inside of the map.
    fn taps(&self, axis: usize, place: usize) -> Range<usize> {
        let first = place * self.stride[axis];
        let inside = self.input[axis] + self.padding[axis] - first;
        self.padding[axis].saturating_sub(first)..inside.min(self.kernel[axis])
    }

    /// Places along `axis` whose windows are all inside of the map.
    fn whole(&self, axis: usize) -> Range<usize> {
        let first = self.padding[axis].div_ceil(self.stride[axis]);
        match (self.input[axis] + self.padding[axis]).checked_sub(self.kernel[axis]) {
            Some(last) => first..(last / self.stride[axis] + 1).max(first),
            None => first..first,
        }
    }
}

/// The maximum of each window, and the tap where it is, `i kw + j`, in `taps` if wanted.
///
/// As in Burn, the first of equal values in the order of rows is taken, and the last NaN if there
/// is one.
///
/// # Panics
///
/// When a length does not fit the sizes, when a window may lie in the padding, or when it has more
/// than 256 taps.
pub(crate) fn forward(
    set: InstructionSet,
    sizes: &PoolSizes,
    x: &[f32],
    out: &mut [MaybeUninit<f32>],
    taps: Option<&mut [MaybeUninit<u8>]>,
) {
    sizes.check(x.len(), out.len());
    assert!(taps.as_ref().is_none_or(|taps| taps.len() == out.len()));
    let (from, to) = (sizes.pixels_in(), sizes.pixels_out());
    let (out, taps) = (Shared::new(out), taps.map(Shared::new));
    for_planes(
        sizes.planes,
        from,
        || (),
        |(), range| {
            for plane in range {
                let kernel = Forward {
                    sizes,
                    x: &x[plane * from..][..from],
                    // SAFETY: places of the outputs, which have as many planes as the input.
                    out: unsafe { out.get().add(plane * to).cast() },
                    taps: taps.map(|taps| unsafe { taps.get().add(plane * to).cast() }),
                };
                // SAFETY: as long as a plane; each job writes to planes of its own.
                unsafe { set.run(kernel) };
            }
        },
    );
}

/// One plane.
struct Forward<'a> {
    sizes: &'a PoolSizes,
    x: &'a [f32],
    out: *mut f32,
    taps: Option<*mut u8>,
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: the outputs are valid for a plane.
        unsafe {
            match (self.sizes.kernel, self.sizes.stride) {
                ([3, 3], [2, 2]) => self.plane::<S, 3, 2>(3),
                (kernel, [_, 1]) => self.plane::<S, 0, 1>(kernel[1]),
                // The vectors of a step of 2 read in pairs, of which both must be inside.
                (kernel, [_, 2]) if kernel[1] > 1 => self.plane::<S, 0, 2>(kernel[1]),
                _ => self.plane::<S, 0, 0>(self.sizes.kernel[1]),
            }
        }
    }
}

impl Forward<'_> {
    /// `KERNEL` is the width of the kernel or 0 if it is not known, `STRIDE` the step across or 0
    /// if there are no vectors of it.
    #[inline(always)]
    unsafe fn plane<S: Simd, const KERNEL: usize, const STRIDE: usize>(&self, kernel: usize) {
        let kernel = if KERNEL > 0 { KERNEL } else { kernel };
        let [height, width] = self.sizes.output();
        let mut whole = self.sizes.whole(1);
        if STRIDE == 0 || whole.len() < LANES {
            whole = 0..0;
        }
        for row in 0..height {
            let rows = self.sizes.taps(0, row);
            // SAFETY: as `run`'s; the windows of `whole` are inside of the map.
            unsafe {
                for column in (0..whole.start).chain(whole.end..width) {
                    self.window(row, column);
                }
                let mut column = whole.start;
                while column < whole.end {
                    // The last vector overlaps the one before.
                    let first = column.min(whole.end - LANES);
                    self.windows::<S, STRIDE>(row, first, rows.clone(), kernel);
                    column += LANES;
                }
            }
        }
    }

    /// One window.
    #[inline(always)]
    unsafe fn window(&self, row: usize, column: usize) {
        let s = self.sizes;
        let (mut best, mut at) = (f32::NEG_INFINITY, None);
        for i in s.taps(0, row) {
            let x = &self.x[(row * s.stride[0] + i - s.padding[0]) * s.input[1]..][..s.input[1]];
            for j in s.taps(1, column) {
                let value = x[column * s.stride[1] + j - s.padding[1]];
                if at.is_none() || value > best || value.is_nan() {
                    (best, at) = (value, Some(i * s.kernel[1] + j));
                }
            }
        }
        let place = row * s.output()[1] + column;
        // SAFETY: as `run`'s.
        unsafe {
            *self.out.add(place) = best;
            if let Some(taps) = self.taps {
                *taps.add(place) = at.unwrap_or(0) as u8;
            }
        }
    }

    /// 16 windows, all of their columns inside of the map.
    #[inline(always)]
    unsafe fn windows<S: Simd, const STRIDE: usize>(
        &self,
        row: usize,
        column: usize,
        rows: Range<usize>,
        kernel: usize,
    ) {
        let s = self.sizes;
        // SAFETY: as `run`'s, and by this function's own condition.
        unsafe {
            let first = column * STRIDE - s.padding[1];
            let tap = (rows.start * kernel) as f32;
            let mut best = [S::splat(f32::NEG_INFINITY), S::splat(tap)];
            // The rows that the windows below read first, which the hardware does not foresee: it
            // saves a third of the time.
            let below = (row + 1) * s.stride[0] + s.kernel[0] - s.padding[0];
            for row in 1..=s.stride[0] {
                let at = below
                    .wrapping_sub(row)
                    .wrapping_mul(s.input[1])
                    .wrapping_add(first);
                for line in 0..STRIDE {
                    S::prefetch(self.x.as_ptr().wrapping_add(at + line * LANES));
                }
            }
            for i in rows {
                let y = row * s.stride[0] + i - s.padding[0];
                let x = self.x.as_ptr().add(y * s.input[1] + first);
                for j in 0..kernel {
                    let value = match (STRIDE, j) {
                        (1, _) => S::load(x.add(j)),
                        (_, 0) => S::evens(S::load(x), S::load(x.add(LANES))),
                        // One value back, so that nothing behind the last is read.
                        (_, j) => S::odds(S::load(x.add(j - 1)), S::load(x.add(j - 1 + LANES))),
                    };
                    let tap = S::splat((i * kernel + j) as f32);
                    best = S::take_larger(best, [value, tap]);
                }
            }
            let place = row * s.output()[1] + column;
            S::store(self.out.add(place), best[0]);
            if let Some(taps) = self.taps {
                let mut found = [0.0f32; LANES];
                S::store(found.as_mut_ptr(), best[1]);
                let found = found.map(|tap| tap.to_int_unchecked::<i32>() as u8);
                taps.add(place).cast::<[u8; LANES]>().write_unaligned(found);
            }
        }
    }
}

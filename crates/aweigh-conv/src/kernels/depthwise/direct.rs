//! Square kernels of a known size, straight from the map.

use super::correlate::{Correlation, Plane};
use crate::kernels::planes::SUM_VALUES;
use crate::simd::{Kernel, LANES, Simd};

/// One plane, whose values stand side by side, and a kernel without dilation that starts no later
/// than the map.
///
/// Row by row, so that memory is read and written in order: tiles of several rows load less, but
/// write to as many places at a time, which takes half as long again where maps do not fit the
/// caches.
pub(super) struct Direct<'a> {
    pub(super) plane: Plane<'a>,
    /// A row of zeros: what is read above and below the map.
    pub(super) zeros: &'a [f32],
}

impl Kernel for Direct<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: `out` is valid for a plane, and zeros for a row of the map.
        unsafe {
            match (
                self.plane.correlation.kernel[0],
                self.plane.correlation.stride[0],
            ) {
                (3, 1) => self.compute::<S, 3, 1>(),
                (3, 2) => self.compute::<S, 3, 2>(),
                (kernel, stride) => unreachable!("a kernel of {kernel} and a stride of {stride}"),
            }
        }
    }
}

/// What a kernel does that is gone through by [`Direct`].
#[inline(always)]
pub(super) fn is_direct(c: &Correlation) -> bool {
    let steps = c.stride[0] == c.stride[1] && [1, 2].contains(&c.stride[0]);
    let plain = c.dilation == [1; 2] && c.map.spread == [1; 2];
    c.kernel == [3; 2] && steps && plain && c.map.padding.iter().all(|padding| *padding >= 0)
}

/// The rows of a map that a row of the output reads.
#[inline(always)]
pub(super) fn rows<const KERNEL: usize>(
    map: &[f32],
    [height, width]: [usize; 2],
    first: isize,
    zeros: &[f32],
) -> [*const f32; KERNEL] {
    let mut rows = [zeros.as_ptr(); KERNEL];
    for (i, row) in rows.iter_mut().enumerate() {
        let y = first + i as isize;
        if (0..height as isize).contains(&y) {
            *row = map[y as usize * width..][..width].as_ptr();
        }
    }
    rows
}

/// Vectors of outputs, by their first places, that read nothing outside of a row of `width`.
#[inline(always)]
pub(super) fn whole(kernel: usize, stride: usize, padding: usize, width: usize) -> [usize; 2] {
    let first = padding.div_ceil(stride).next_multiple_of(LANES);
    // The last place that a vector reads, as from its first output's.
    let reach = kernel - 1 + stride * LANES;
    match (width + padding).checked_sub(reach) {
        Some(last) => [first, last / stride + 1],
        None => [first, 0],
    }
}

/// What tap `tap` of 16 outputs from `x` on multiplies, of a row of `width`; zeros outside of it.
/// Where `EDGE` is false all is inside.
///
/// # Safety
///
/// The machine has the instructions of `S`, and the row is valid.
#[inline(always)]
pub(super) unsafe fn tap<S: Simd, const STRIDE: usize, const EDGE: bool>(
    row: *const f32,
    width: usize,
    x: usize,
    tap: usize,
    padding: usize,
) -> S::V {
    let at = (x * STRIDE + tap) as isize - padding as isize;
    // SAFETY: by this function's own conditions.
    unsafe {
        let low = load::<S, EDGE>(row, width, at);
        if STRIDE == 1 {
            return low;
        }
        S::evens(low, load::<S, EDGE>(row, width, at + LANES as isize))
    }
}

/// 16 values of a row of `width` from place `at` on, as [`tap`].
///
/// # Safety
///
/// As [`tap`]'s.
#[inline(always)]
pub(super) unsafe fn load<S: Simd, const EDGE: bool>(
    row: *const f32,
    width: usize,
    at: isize,
) -> S::V {
    let from = row.wrapping_offset(at);
    // SAFETY: as `tap`'s.
    unsafe {
        if EDGE {
            let end = (width as isize - at).max(0);
            S::load_between(from, (-at).max(0) as usize, end as usize)
        } else {
            S::load(from)
        }
    }
}

/// Asks for what the next row of outputs reads first. With a stride of 1 that is one row, which
/// the hardware foresees; with 2 it takes a fifth off the time.
#[inline(always)]
unsafe fn prefetch_below<S: Simd, const STRIDE: usize>(row: *const f32, width: usize, x: usize) {
    if STRIDE > 1 {
        for below in 1..=STRIDE {
            for line in 0..STRIDE {
                let at = below * width + x * STRIDE + line * LANES;
                // SAFETY: any address is allowed.
                unsafe { S::prefetch(row.wrapping_add(at)) };
            }
        }
    }
}

impl Direct<'_> {
    #[inline(always)]
    unsafe fn compute<S: Simd, const KERNEL: usize, const STRIDE: usize>(&self) {
        let c = self.plane.correlation;
        let [height, width] = c.output;
        let [top, left] = c.map.padding;
        let mut weight = [[0.0; KERNEL]; KERNEL];
        for (i, weight) in weight.iter_mut().enumerate() {
            weight.copy_from_slice(&self.plane.weight[i * KERNEL..][..KERNEL]);
        }
        let [first, end] = whole(KERNEL, STRIDE, left as usize, c.map.size[1]);
        for y in 0..height {
            let rows = rows::<KERNEL>(
                self.plane.map,
                c.map.size,
                (y * STRIDE) as isize - top,
                self.zeros,
            );
            let mut x = 0;
            // SAFETY: as `run`'s.
            unsafe {
                while x < first.min(width) {
                    self.vector::<S, KERNEL, STRIDE, true>(&rows, &weight, y, x);
                    x += LANES;
                }
                while x < end {
                    self.vector::<S, KERNEL, STRIDE, false>(&rows, &weight, y, x);
                    x += LANES;
                }
                while x < width {
                    self.vector::<S, KERNEL, STRIDE, true>(&rows, &weight, y, x);
                    x += LANES;
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn vector<S: Simd, const KERNEL: usize, const STRIDE: usize, const EDGE: bool>(
        &self,
        rows: &[*const f32; KERNEL],
        weight: &[[f32; KERNEL]; KERNEL],
        y: usize,
        x: usize,
    ) {
        let c = self.plane.correlation;
        let (padding, width) = (c.map.padding[1] as usize, c.map.size[1]);
        // SAFETY: as `run`'s.
        unsafe {
            prefetch_below::<S, STRIDE>(rows[KERNEL - 1], width, x);
            let mut sums = [S::zero(); KERNEL];
            sums[0] = S::splat(self.plane.bias);
            for ((row, weight), sum) in rows.iter().zip(weight).zip(&mut sums) {
                for (j, weight) in weight.iter().enumerate() {
                    let value = tap::<S, STRIDE, EDGE>(*row, width, x, j, padding);
                    *sum = S::mul_add(value, S::splat(*weight), *sum);
                }
            }
            let mut sum = sums[0];
            for other in &sums[1..] {
                sum = S::add(sum, *other);
            }
            let sum = self.plane.activation.of::<S>(sum);
            let count = if EDGE { c.output[1] - x } else { LANES };
            S::store_first(self.plane.out.add(y * c.output[1] + x), sum, count);
        }
    }
}

/// Adds the products of one plane to the gradient of its channel's 3x3 kernel, of a convolution
/// that [`is_direct`].
pub(super) struct DirectWeight<'a> {
    pub(super) correlation: &'a Correlation,
    pub(super) map: &'a [f32],
    pub(super) grad: &'a [f32],
    /// A row of zeros: what is read above and below the map.
    pub(super) zeros: &'a [f32],
    /// One for each tap.
    pub(super) sums: &'a mut [f64],
}

impl Kernel for DirectWeight<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: zeros are a row of the map.
        unsafe {
            match self.correlation.stride[0] {
                1 => self.plane::<S, 1>(),
                2 => self.plane::<S, 2>(),
                stride => unreachable!("a stride of {stride}"),
            }
        }
    }
}

impl DirectWeight<'_> {
    #[inline(always)]
    unsafe fn plane<S: Simd, const STRIDE: usize>(self) {
        let c = self.correlation;
        let [height, width] = c.output;
        if width == 0 {
            return;
        }
        let [top, left] = c.map.padding;
        let vectors = whole(3, STRIDE, left as usize, c.map.size[1]);
        let block = (SUM_VALUES / 4 / width).max(1);
        for first in (0..height).step_by(block) {
            // SAFETY: as `run`'s.
            unsafe {
                let mut lanes = [[S::zero(); 3]; 3];
                for y in first..(first + block).min(height) {
                    let first = (y * STRIDE) as isize - top;
                    let rows = rows::<3>(self.map, c.map.size, first, self.zeros);
                    let grad = &self.grad[y * width..][..width];
                    self.row::<S, STRIDE>(&rows, grad, vectors, &mut lanes);
                }
                for (sum, lanes) in self.sums.iter_mut().zip(lanes.into_iter().flatten()) {
                    *sum += f64::from(S::sum(lanes));
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn row<S: Simd, const STRIDE: usize>(
        &self,
        rows: &[*const f32; 3],
        grad: &[f32],
        [first, end]: [usize; 2],
        lanes: &mut [[S::V; 3]; 3],
    ) {
        let mut x = 0;
        // SAFETY: as `run`'s.
        unsafe {
            while x < first.min(grad.len()) {
                self.vector::<S, STRIDE, true>(rows, grad, x, lanes);
                x += LANES;
            }
            while x < end {
                self.vector::<S, STRIDE, false>(rows, grad, x, lanes);
                x += LANES;
            }
            while x < grad.len() {
                self.vector::<S, STRIDE, true>(rows, grad, x, lanes);
                x += LANES;
            }
        }
    }

    #[inline(always)]
    unsafe fn vector<S: Simd, const STRIDE: usize, const EDGE: bool>(
        &self,
        rows: &[*const f32; 3],
        grad: &[f32],
        x: usize,
        lanes: &mut [[S::V; 3]; 3],
    ) {
        let map = &self.correlation.map;
        let (padding, width) = (map.padding[1] as usize, map.size[1]);
        // SAFETY: as `run`'s.
        unsafe {
            prefetch_below::<S, STRIDE>(rows[2], width, x);
            let count = if EDGE { grad.len() - x } else { LANES };
            let grad = S::load_first(grad.as_ptr().add(x), count);
            for (row, lanes) in rows.iter().zip(lanes) {
                for (j, lanes) in lanes.iter_mut().enumerate() {
                    let value = tap::<S, STRIDE, EDGE>(*row, width, x, j, padding);
                    *lanes = S::mul_add(value, grad, *lanes);
                }
            }
        }
    }
}

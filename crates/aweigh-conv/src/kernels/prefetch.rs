//! Prefetching: memory that will be read later.

use crate::simd::{LANES, Simd};

/// Memory that is asked for during a product, a cache line at each step, to be used later.
///
/// A core that only computes leaves the memory idle, and one that packs matrices waits for it.
#[derive(Clone, Copy)]
pub(crate) struct Prefetch {
    at: *const f32,
    /// From one row to the next.
    step: usize,
    rows: usize,
    /// Rows that are left at this place.
    row: usize,
    /// Lines of each row that are left.
    lines: usize,
}

impl Prefetch {
    /// Nothing.
    pub(crate) const NOTHING: Self = Self {
        at: std::ptr::null(),
        step: 0,
        rows: 0,
        row: 0,
        lines: 0,
    };

    /// `rows` rows of `len` values; any address is allowed.
    pub(crate) fn new(at: *const f32, step: usize, rows: usize, len: usize) -> Self {
        Self {
            at,
            step,
            rows,
            row: rows,
            lines: if rows > 0 { len.div_ceil(LANES) } else { 0 },
        }
    }

    /// Whether nothing is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.lines == 0
    }

    /// Asks for the next line: one of each row, then the next of each.
    ///
    /// # Safety
    ///
    /// The machine has the instructions of `S`.
    #[inline(always)]
    pub(super) unsafe fn next<S: Simd>(&mut self) {
        if self.lines == 0 {
            return;
        }
        // SAFETY: any address may be asked for.
        unsafe { S::prefetch_far(self.at) };
        self.at = self.at.wrapping_add(self.step);
        self.row -= 1;
        if self.row == 0 {
            let back = self.rows * self.step;
            self.at = self.at.wrapping_sub(back).wrapping_add(LANES);
            self.row = self.rows;
            self.lines -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::Portable;

    #[test]
    fn every_line_is_asked_for_once() {
        let values = [0.0f32; 1000];
        let mut prefetch = Prefetch::new(values.as_ptr(), 100, 3, 40);
        let mut places = Vec::new();
        while !prefetch.is_empty() {
            // SAFETY: both pointers are into the array.
            places.push(unsafe { prefetch.at.offset_from(values.as_ptr()) });
            // SAFETY: every machine has the portable set.
            unsafe { prefetch.next::<Portable>() };
        }
        assert_eq!(places, [0, 100, 200, 16, 116, 216, 32, 132, 232]);
        assert!(Prefetch::new(values.as_ptr(), 100, 0, 40).is_empty());
        assert!(Prefetch::NOTHING.is_empty());
    }
}

//! Panels of the right matrix that are packed and multiplied together.

use std::ops::Range;

use super::{Panels, Source};
use crate::kernels::prefetch::Prefetch;
use crate::kernels::product::Product;
use crate::simd::{LANES, Simd};

/// Values from one packed panel to the next: a line more than a panel, so that the same row of all
/// panels is not in the same set of the first-level cache.
pub(crate) fn panel_len(depth: usize, width: usize) -> usize {
    depth * width + LANES
}

/// Panels that are packed and multiplied together.
pub(crate) struct Tile {
    pub(crate) panels: Panels,
    pub(crate) range: Range<usize>,
}

impl Tile {
    /// Packs the right matrix, panel after panel, `[channels x taps][width]`.
    ///
    /// # Safety
    ///
    /// As [`Source::fill`]; `right` has room for all panels.
    #[inline(always)]
    pub(crate) unsafe fn fill<S: Simd>(
        &self,
        source: &impl Source,
        channels: Range<usize>,
        right: *mut f32,
        scratch: *mut f32,
    ) {
        let width = S::VECTORS * LANES;
        let panel = panel_len(channels.len() * source.taps(), width);
        for part in self.panels.parts(self.range.clone()) {
            let right = right.wrapping_add(part.panel * panel);
            let to = |row, vector| {
                let place = vector / S::VECTORS * panel + row * width;
                right.wrapping_add(place + vector % S::VECTORS * LANES)
            };
            // SAFETY: by this function's own conditions.
            unsafe { source.fill::<S>(part.image, channels.clone(), part.pixels, scratch, to) };
        }
    }

    /// Multiplies all panels by the same left matrix; `out` gives the place of the result for
    /// image, first pixel, and number of the panel. Asks for memory meanwhile.
    ///
    /// # Safety
    ///
    /// As [`Product::compute`], of which `right`, `columns` and `out` are set here.
    #[inline(always)]
    pub(crate) unsafe fn multiply<S: Simd>(
        &self,
        product: Product,
        mut prefetch: Prefetch,
        out: impl Fn(usize, usize, usize) -> *mut f32,
    ) -> Prefetch {
        let width = S::VECTORS * LANES;
        let mut right = product.right;
        for part in self.panels.parts(self.range.clone()) {
            for (i, first) in part.pixels.clone().step_by(width).enumerate() {
                let panel = Product {
                    columns: width.min(part.pixels.end - first),
                    right,
                    right_step: width,
                    out: out(part.image, first, part.panel + i),
                    ..product
                };
                // SAFETY: by this function's own conditions.
                prefetch = unsafe { panel.compute_and_prefetch::<S>(prefetch) };
                right = right.wrapping_add(panel_len(product.depth, width));
            }
        }
        prefetch
    }
}

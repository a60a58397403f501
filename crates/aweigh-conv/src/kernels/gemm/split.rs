//! How a product is split into jobs.

use std::ops::Range;

use super::BLOCK;
use crate::kernels::share::share;

/// Multiplications and additions of a job that are worth another thread, some 20 microseconds.
const JOB: usize = 1 << 21;

/// Sizes of a product.
pub(crate) struct Extent {
    /// Panels of all images.
    pub(crate) panels: usize,
    /// Pixels of a panel.
    pub(crate) width: usize,
    /// Rows of a group, and how many groups of rows they are.
    pub(crate) rows: usize,
    pub(crate) row_groups: usize,
    pub(crate) groups: usize,
    /// Depth of the largest block, and of all.
    pub(crate) block: usize,
    pub(crate) depth: usize,
}

/// How the outputs of a group are split into jobs.
pub(crate) struct Split {
    panels: usize,
    /// Tiles of panels.
    pub(crate) tiles: usize,
    /// Parts of the rows of a tile.
    pub(crate) parts: usize,
}

impl Split {
    /// Splits so that all threads have work.
    ///
    /// For each tile the left matrix is read again, for each part of the rows the right one is
    /// packed again, which takes about three times as long.
    pub(crate) fn new(extent: Extent) -> Self {
        let Extent { panels, groups, .. } = extent;
        // Where sums are short, a tile is large, so that rows of it read the same rows of the map.
        let panel = extent.block * extent.width;
        let least = panels.div_ceil((BLOCK / panel.max(1)).clamp(4, 32));
        let pixels = panels * extent.width;
        let flops = 2 * pixels * extent.rows * extent.depth * groups;
        let wanted = match rayon::current_num_threads() {
            1 => 1,
            threads => (4 * threads).min(flops / JOB).max(1),
        };
        let split = |parts: usize| {
            let tiles = wanted.div_ceil(groups * parts).clamp(least, panels);
            let missing = wanted.saturating_sub(tiles * parts * groups);
            (
                missing,
                3 * pixels * parts + extent.rows * tiles,
                tiles,
                parts,
            )
        };
        let best = (1..=extent.row_groups).map(split).min();
        let (_, _, tiles, parts) = best.unwrap_or((0, 0, least, 1));
        Self {
            panels,
            tiles,
            parts,
        }
    }

    /// Panels of the largest tile.
    pub(crate) fn most_panels(&self) -> usize {
        self.panels.div_ceil(self.tiles)
    }

    /// The panels of the tile that the thread of the given one may compute next.
    pub(crate) fn next(&self, tile: usize) -> Option<Range<usize>> {
        let next = tile + (rayon::current_num_threads() / self.parts).max(1);
        (next < self.tiles).then(|| self.tile(next))
    }

    /// The panels of a tile.
    pub(crate) fn tile(&self, tile: usize) -> Range<usize> {
        share(self.panels, self.tiles, tile)
    }
}

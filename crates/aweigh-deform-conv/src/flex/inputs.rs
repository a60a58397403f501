//! The tensors of a call as slices.

use crate::call::Sizes;
use crate::options::DeformConvOptions;

/// Positions that one task processes: many tasks for a chunk, and each with enough to do.
pub(super) const TILE: usize = 16;

/// The tensors of a call.
pub(super) struct Inputs<'a, T> {
    pub(super) x: &'a [T],
    pub(super) offset: &'a [T],
    pub(super) weight: &'a [T],
    pub(super) mask: Option<&'a [T]>,
    pub(super) sizes: Sizes,
    pub(super) options: DeformConvOptions,
}

impl<T> Inputs<'_, T> {
    /// Samples of one position that have an offset of their own.
    pub(super) fn samples_per_position(&self) -> usize {
        self.options.offset_groups * self.sizes.taps()
    }
}

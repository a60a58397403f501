//! Rows of a padded map.

use std::ops::Range;

use crate::simd::LANES;

/// Values of a strip: 24 kB, so that it stays in a first-level cache of 32 kB beside the rows that
/// are read and written.
const STRIP_VALUES: usize = 6 << 10;

/// A map whose values stand apart, with zeros between and around them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Map {
    /// Height and width.
    pub(super) size: [usize; 2],
    /// Distance of neighbouring values, down and across.
    pub(super) spread: [usize; 2],
    /// Rows of zeros above the map and columns left of it; where it is negative so many are left
    /// out.
    pub(super) padding: [isize; 2],
}

/// A strip of rows that is gone through with a kernel, `[rows][step]`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Strip {
    /// Rows of the output that one strip gives.
    pub(super) outputs: usize,
    /// Rows of the padded map.
    pub(super) rows: usize,
    /// Values from row to row.
    pub(super) step: usize,
}

impl Strip {
    /// The strips for outputs of the given height and width. What a vector of outputs reads is
    /// inside, even where the last ones of it do not count.
    pub(super) fn new(
        output: [usize; 2],
        kernel: [usize; 2],
        stride: [usize; 2],
        dilation: [usize; 2],
    ) -> Self {
        let reach = |i: usize| dilation[i] * (kernel[i] - 1) + 1;
        // Vectors of a step of 2 are read as pairs.
        let step = output[1].next_multiple_of(LANES) * stride[1] + reach(1) + LANES;
        let rows = |outputs: usize| (outputs.max(1) - 1) * stride[0] + reach(0);
        let fit = (STRIP_VALUES / step).saturating_sub(rows(1)) / stride[0] + 1;
        // At least as many outputs as rows that two strips share, or they are mostly copies.
        let outputs = fit.max(reach(0)).max(8).min(output[0]);
        Self {
            outputs,
            rows: rows(outputs),
            step,
        }
    }

    /// Its values.
    pub(super) fn len(&self) -> usize {
        self.rows * self.step
    }
}

impl Map {
    /// Writes padded rows from `first` on to `to`, as many as it has room for.
    #[inline(always)]
    pub(super) fn fill(&self, map: &[f32], first: usize, step: usize, to: &mut [f32]) {
        let columns = self.places(1, 0, step);
        for (row, to) in to.chunks_exact_mut(step).enumerate() {
            let rows = self.places(0, first + row, 1);
            if rows.is_empty() || columns.is_empty() {
                to.fill(0.0);
                continue;
            }
            let from = &map[rows.start * self.size[1]..][columns.clone()];
            let start = (columns.start * self.spread[1]).wrapping_add_signed(self.padding[1]);
            if self.spread[1] == 1 {
                let end = start + from.len();
                to[..start].fill(0.0);
                to[start..end].copy_from_slice(from);
                to[end..].fill(0.0);
            } else {
                to.fill(0.0);
                let places = to[start..].iter_mut().step_by(self.spread[1]);
                places.zip(from).for_each(|(to, from)| *to = *from);
            }
        }
    }

    /// Which rows (axis 0) or columns (axis 1) of the map stand among `count` padded ones from
    /// `first` on.
    #[inline(always)]
    fn places(&self, axis: usize, first: usize, count: usize) -> Range<usize> {
        let place = |padded: usize| {
            let spread = padded.checked_add_signed(-self.padding[axis]).unwrap_or(0);
            spread.div_ceil(self.spread[axis]).min(self.size[axis])
        };
        place(first)..place(first + count)
    }
}

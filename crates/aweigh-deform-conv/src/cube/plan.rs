//! How a call's work is cut to fit the budget.

use std::ops::Range;

use super::call::Call;
use super::layout::gcd;
use crate::call::Sizes;

/// Most parts a weight gradient is computed in.
const PARTS: usize = 4;

/// Positions that a part of a weight gradient has at least: shorter sums do not pay for adding up
/// the parts.
const PART_POSITIONS: usize = 512;

/// Scratch memory in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scratch {
    /// Of the call.
    pub(super) fixed: usize,
    /// Of every image worked on at a time.
    pub(super) image: usize,
    /// Of every position worked on at a time.
    pub(super) position: usize,
    /// The same, of the copy of its output or output gradient, if one is made.
    pub(super) copy: usize,
}

/// How a call is cut: images worked on at a time, and positions of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Plan {
    batch: usize,
    positions: usize,
    images: usize,
    /// Most positions of a chunk.
    pub(super) chunk: usize,
    /// Whether outputs or output gradients pass through a copy.
    pub(super) copied: bool,
}

impl Plan {
    /// Images are worked on together as far as the budget holds them with all of their columns;
    /// without copies of images, a chunk may span any number of them.
    ///
    /// Products read or write a chunk's outputs where they are if all chunks start at multiples of
    /// `alignment` positions, where a device can bind their rows to a kernel. Without alignment, or
    /// where groups of images start elsewhere, a chunk's outputs pass through a copy.
    pub(super) fn new(
        sizes: &Sizes,
        budget: usize,
        scratch: &Scratch,
        alignment: Option<usize>,
    ) -> Self {
        // More images than fit with all of their columns would only make chunks smaller.
        let images = match scratch.image {
            0 => sizes.batch,
            image => {
                let columns = sizes.positions() * (scratch.position + scratch.copy);
                let fit = budget.saturating_sub(scratch.fixed) / (image + columns);
                fit.clamp(1, sizes.batch)
            }
        };
        let positions = images * sizes.positions();
        let alignment = alignment
            .filter(|alignment| images == sizes.batch || positions.is_multiple_of(*alignment));
        let position = scratch.position + alignment.map_or(scratch.copy, |_| 0);
        let room = budget.saturating_sub(scratch.fixed + images * scratch.image) / position;
        // Multiples of the parts of a weight gradient as well, if there is room: a chunk is summed
        // in parts only if it divides into them.
        let step = match alignment.unwrap_or(1) {
            alignment if room >= alignment * PARTS => alignment * PARTS,
            alignment => alignment,
        };
        // Chunks of one length, not full ones and a short rest: Burn chooses a kernel for every
        // shape of a product anew, by measuring. Rounding up stays within `most`, a multiple itself.
        let most = (room / step * step).max(step);
        let chunk = positions
            .div_ceil(positions.div_ceil(most))
            .next_multiple_of(step);
        Self {
            batch: sizes.batch,
            positions: sizes.positions(),
            images,
            chunk,
            copied: alignment.is_none(),
        }
    }

    /// Groups of images.
    pub(super) fn images(&self) -> impl Iterator<Item = Range<usize>> {
        split(0..self.batch, self.images)
    }

    /// Chunks of positions of some images, counted over all images.
    pub(super) fn chunks(&self, images: &Range<usize>) -> impl Iterator<Item = Range<usize>> {
        let [first, end] = [images.start, images.end].map(|image| image * self.positions);
        split(first..end, self.chunk)
    }
}

fn split(range: Range<usize>, step: usize) -> impl Iterator<Item = Range<usize>> {
    let end = range.end;
    range
        .step_by(step)
        .map(move |first| first..(first + step).min(end))
}

/// Positions after which rows of `row` bytes start anew where memory may be bound to a kernel.
pub(super) fn alignment(call: &Call, row: usize) -> usize {
    let alignment = call.client.properties().memory.alignment as usize;
    alignment / gcd(alignment, row)
}

/// Parts that a weight gradient is computed in if a chunk divides into them.
///
/// Its product is small and sums over very many positions: in one piece it would keep a few
/// processors busy. Parts are added up afterwards; they may take a sixth of the budget.
pub(super) fn most_parts(call: &Call) -> usize {
    let part = call.weight_len() * call.wide().size();
    let fits = |parts: &usize| parts * part <= call.options.column_budget / 6;
    // Products of several weight groups are a batch already.
    match call.options.weight_groups {
        1 => [PARTS, PARTS / 2].into_iter().find(fits).unwrap_or(1),
        _ => 1,
    }
}

/// Parts for a chunk of so many positions.
pub(super) fn parts(most: usize, positions: usize) -> usize {
    if positions.is_multiple_of(most) && positions / most >= PART_POSITIONS {
        most
    } else {
        1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// P3 of two images whose shorter side is 800 px, 3x3, 256 channels to 256.
    fn sizes() -> Sizes {
        Sizes {
            batch: 2,
            channels_in: 256,
            channels_out: 256,
            input: [100, 152],
            output: [100, 152],
            kernel: [3, 3],
        }
    }

    /// Scratch of the backward pass at these sizes in `f32`.
    const SCRATCH: Scratch = Scratch {
        fixed: 5 * 4 * 256 * 256 * 9,
        image: 4 * 256 * 15_200,
        position: 4 * 256 * 9,
        copy: 4 * 256,
    };

    fn bytes(plan: &Plan, scratch: &Scratch) -> usize {
        let copy = if plan.copied { scratch.copy } else { 0 };
        scratch.fixed + plan.images * scratch.image + plan.chunk * (scratch.position + copy)
    }

    fn check(budget: usize, scratch: &Scratch, alignment: Option<usize>) {
        let sizes = sizes();
        let plan = Plan::new(&sizes, budget, scratch, alignment);
        let used = bytes(&plan, scratch);
        // The smallest chunk is one step of one image.
        let least = scratch.fixed + scratch.image + (scratch.position + scratch.copy) * 64;
        assert!(used <= budget.max(least), "{used} of {budget}: {plan:?}");
        let mut next = 0;
        for images in plan.images() {
            for chunk in plan.chunks(&images) {
                assert_eq!(chunk.start, next, "chunks follow each other: {plan:?}");
                assert!(!chunk.is_empty() && chunk.len() <= plan.chunk);
                let bound = plan.copied || alignment.is_none_or(|a| chunk.start.is_multiple_of(a));
                assert!(bound, "chunks start where memory can be bound: {plan:?}");
                next = chunk.end;
            }
        }
        assert_eq!(next, sizes.batch * sizes.positions(), "{plan:?}");
    }

    #[test]
    fn plans_cover_every_position_within_the_budget() {
        let direct = Scratch {
            image: 0,
            ..SCRATCH
        };
        for budget in [0, 1 << 20, 24 << 20, 64 << 20, 100 << 20, 1 << 30, 1 << 40] {
            for alignment in [None, Some(1), Some(7), Some(64)] {
                check(budget, &SCRATCH, alignment);
                check(budget, &direct, alignment);
            }
        }
    }

    #[test]
    fn large_chunks_divide_into_parts() {
        let plan = Plan::new(&sizes(), 64 << 20, &SCRATCH, Some(1));
        assert_eq!(plan.chunk % PARTS, 0);
        assert_eq!(parts(PARTS, plan.chunk), PARTS);
        assert_eq!(parts(PARTS, plan.chunk + 1), 1);
        assert_eq!(parts(PARTS, PARTS), 1);
    }
}

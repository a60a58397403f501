//! How a call is cut into pieces that fit its memory budget.
//!
//! Channels are cut into blocks (usually one), images into groups, and the output positions of a
//! group into chunks. One row of columns belongs to one position; it holds the samples of a block
//! as `[panel][tap][channel]`, where a panel is the part of one weight group in the block.

use std::ops::Range;

use crate::call::Sizes;
use crate::options::DeformConvOptions;

/// Channels that are split only into blocks of at least this many: a cache line of `f32`, and as
/// many lanes as the widest vectors have.
const MIN_BLOCK: usize = 16;

/// Positions of the smallest chunk: fewer would make products of no use.
const MIN_CHUNK: usize = 64;

/// Bytes of columns in a chunk, whatever the budget: enough for efficient products, and little
/// enough that the columns stay near the cores and few fresh pages are touched. It does not depend
/// on the number of threads, because the order of summation depends on it.
const CHUNK_BYTES: usize = 8 << 20;

/// Channels that share a weight group and an offset group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    /// First channel, from the start of the block.
    pub(super) channel: usize,
    pub(super) len: usize,
    pub(super) offset_group: usize,
    /// Place of the first tap's samples in a row of columns.
    pub(super) column: usize,
    /// Distance in a row of columns from one tap to the next.
    pub(super) tap_stride: usize,
}

/// The part of a weight group in a block: one matrix product.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Panel {
    /// Weight group.
    pub(super) group: usize,
    /// First channel, from the start of the weight group.
    pub(super) channel_in_group: usize,
    /// Channels.
    pub(super) len: usize,
    /// Place in a row of columns.
    pub(super) column: usize,
}

/// Channels that are processed together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Block {
    /// Channels of the input.
    pub(super) channels: Range<usize>,
    pub(super) panels: Vec<Panel>,
    pub(super) segments: Vec<Segment>,
    /// Length of a row of columns.
    pub(super) row: usize,
}

/// Scratch memory of a pass, in elements, for each thing that there is one of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Buffers {
    /// Channel-last maps per image: the input, its gradient.
    pub(super) maps: usize,
    /// Matrices of columns: the samples, their gradients.
    pub(super) columns: usize,
    /// Rearranged copies of the weight.
    pub(super) weights: usize,
    /// Numbers per position, tap and offset group: the table of samples and what is found there.
    pub(super) per_sample: usize,
}

/// The pieces of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) blocks: Vec<Block>,
    /// Images of a group.
    pub(super) images: usize,
    /// Positions of a chunk, counted over the images of a group.
    pub(super) chunk: usize,
}

impl Plan {
    /// Cuts a call whose numbers take `width` bytes.
    pub(super) fn new(
        sizes: &Sizes,
        options: &DeformConvOptions,
        buffers: Buffers,
        width: usize,
    ) -> Self {
        let channels = sizes.channels_in;
        let per_group = channels / options.weight_groups;
        let weight = sizes.channels_out * per_group * sizes.taps();
        // In numbers from here on. The weight is needed whatever the pieces are.
        let budget = (options.column_budget / width).saturating_sub(buffers.weights * weight);
        // Maps take at most half, so that columns always get the other half. A map has the row of
        // zeros that corners outside of it read.
        let map = |channels: usize| buffers.maps * (sizes.pixels() + 1) * channels;
        // Channels are cut only if the maps of a single image do not fit: every block finds the
        // samples of all positions anew.
        let fitting = (budget / 2 / map(1)).max(MIN_BLOCK.min(channels));
        let blocks = blocks(sizes, options, fitting);
        let widest = blocks.iter().map(|b| b.channels.len()).max().unwrap_or(1);
        // Several small images are one group, so that their positions fill a chunk.
        let images = (budget / 2 / map(widest)).clamp(1, sizes.batch.max(1));
        let left = budget.saturating_sub(images * map(widest));
        let samples = options.offset_groups * sizes.taps();
        // Of one position: its row of columns, and what is known of its samples.
        let row = buffers.columns * widest * sizes.taps() + buffers.per_sample * samples;
        let chunk = (left / row).min(CHUNK_BYTES / width / row).max(MIN_CHUNK);
        Self {
            blocks,
            images,
            chunk: chunk.min(images * sizes.positions()),
        }
    }
}

/// Cuts the channels into blocks of at most `fitting`: whole weight groups if one fits, equal
/// parts of a group otherwise.
fn blocks(sizes: &Sizes, options: &DeformConvOptions, fitting: usize) -> Vec<Block> {
    let channels = sizes.channels_in;
    let per_group = channels / options.weight_groups;
    let per_offset_group = channels / options.offset_groups;
    let step = match fitting / per_group {
        0 => per_group.div_ceil(per_group.div_ceil(fitting)),
        groups => groups * per_group,
    };
    let mut found = Vec::new();
    let mut start = 0;
    while start < channels {
        // A block that is smaller than a weight group ends with the group: its channels then
        // share one matrix of the weight. A larger one holds whole groups.
        let group_end = (start / per_group + 1) * per_group;
        let end = (start + step).min(group_end.max(start + step / per_group * per_group));
        let channels = start..end.min(channels);
        start = channels.end;
        found.push(block(channels, per_group, per_offset_group, sizes.taps()));
    }
    found
}

/// Cuts a block at the borders of weight groups into panels, and those at the borders of offset
/// groups into segments.
fn block(channels: Range<usize>, per_group: usize, per_offset: usize, taps: usize) -> Block {
    let (mut panels, mut segments) = (Vec::new(), Vec::new());
    let mut column = 0;
    let mut start = channels.start;
    while start < channels.end {
        let group = start / per_group;
        let end = ((group + 1) * per_group).min(channels.end);
        let len = end - start;
        panels.push(Panel {
            group,
            channel_in_group: start - group * per_group,
            len,
            column,
        });
        let mut channel = start;
        while channel < end {
            let offset_group = channel / per_offset;
            let stop = ((offset_group + 1) * per_offset).min(end);
            segments.push(Segment {
                channel: channel - channels.start,
                len: stop - channel,
                offset_group,
                column: column + channel - start,
                tap_stride: len,
            });
            channel = stop;
        }
        // The next panel begins after all taps of this one, so that each panel's columns are a
        // matrix of their own.
        column += taps * len;
        start = end;
    }
    Block {
        channels,
        panels,
        segments,
        row: column,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(channels: usize, size: usize) -> Sizes {
        Sizes {
            batch: 4,
            channels_in: channels,
            channels_out: channels,
            input: [size, size],
            output: [size, size],
            kernel: [3, 3],
        }
    }

    fn plan(channels: usize, size: usize, groups: [usize; 2], budget: usize) -> Plan {
        let options = DeformConvOptions {
            weight_groups: groups[0],
            offset_groups: groups[1],
            column_budget: budget,
            ..DeformConvOptions::default()
        };
        let buffers = Buffers {
            maps: 2,
            columns: 2,
            weights: 2,
            per_sample: 10,
        };
        Plan::new(&sizes(channels, size), &options, buffers, 4)
    }

    /// Channels of the blocks, images of a group.
    #[track_caller]
    fn check(plan: &Plan, blocks: &[usize], images: usize) {
        let found: Vec<usize> = plan.blocks.iter().map(|b| b.channels.len()).collect();
        assert_eq!((found.as_slice(), plan.images), (blocks, images));
    }

    #[test]
    fn blocks_hold_whole_weight_groups_or_parts_of_one() {
        check(&plan(64, 16, [1, 1], 64 << 20), &[64], 4);
        check(&plan(64, 16, [32, 4], 64 << 20), &[64], 4);
        // Half of the budget is 32 channels of two 64 x 64 maps.
        let two_maps_of = |channels: usize| 2 * 4 * 4097 * channels * 2;
        let weights = |groups: usize| 2 * 4 * 64 * 64 * 9 / groups;
        check(
            &plan(64, 64, [1, 1], two_maps_of(32) + weights(1)),
            &[32, 32],
            1,
        );
        check(
            &plan(64, 64, [4, 1], two_maps_of(40) + weights(4)),
            &[32, 32],
            1,
        );
        check(
            &plan(64, 64, [2, 1], two_maps_of(24) + weights(2)),
            &[16, 16, 16, 16],
            1,
        );
    }

    #[test]
    fn no_budget_leaves_the_smallest_pieces() {
        let plan = plan(64, 64, [1, 1], 0);
        check(&plan, &[16, 16, 16, 16], 1);
        assert_eq!(plan.chunk, MIN_CHUNK);
    }

    #[test]
    fn segments_cover_the_channels_once_and_in_order() {
        for groups in [[1, 1], [2, 1], [1, 4], [4, 2], [2, 3], [3, 2]] {
            let plan = plan(48, 64, groups, 3 << 20);
            let mut covered = 0;
            for block in &plan.blocks {
                for segment in &block.segments {
                    let first = block.channels.start + segment.channel;
                    assert_eq!(first, covered, "{groups:?}");
                    assert_eq!(first / (48 / groups[1]), segment.offset_group);
                    covered += segment.len;
                }
                let columns: usize = block.panels.iter().map(|p| p.len * 9).sum();
                assert_eq!(columns, block.row);
            }
            assert_eq!(covered, 48);
        }
    }
}

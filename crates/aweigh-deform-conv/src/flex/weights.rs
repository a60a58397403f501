//! The weight in the order of a block's columns.

use super::gemm::{Layout, Matrix};
use super::plan::{Block, Panel};
use super::real::Real;
use crate::call::Sizes;
use crate::options::DeformConvOptions;

/// The weight, or its gradient, of one block: for each panel `[output channel of the group][tap]
/// [channel]`, the order of a row of columns.
#[derive(Debug)]
pub(super) struct BlockWeight<T> {
    pub(super) values: Vec<T>,
    /// Output channels of a weight group.
    pub(super) outputs: usize,
    taps: usize,
    /// Input channels of a weight group.
    inputs: usize,
}

impl<T: Real> BlockWeight<T> {
    pub(super) fn zeros(sizes: &Sizes, options: &DeformConvOptions, block: &Block) -> Self {
        let outputs = sizes.channels_out / options.weight_groups;
        Self {
            values: vec![T::ZERO; outputs * block.row],
            outputs,
            taps: sizes.taps(),
            inputs: sizes.channels_in / options.weight_groups,
        }
    }

    /// The block's part of `weight`, `[C_out, C / groups, kh, kw]`.
    pub(super) fn gather(
        weight: &[T],
        sizes: &Sizes,
        options: &DeformConvOptions,
        block: &Block,
    ) -> Self {
        let mut found = Self::zeros(sizes, options, block);
        found.for_each(block, |at, in_weight, values| {
            values[at] = weight[in_weight]
        });
        found
    }

    /// Writes the block's part of `weight`.
    pub(super) fn scatter(mut self, weight: &mut [T], block: &Block) {
        self.for_each(block, |at, in_weight, values| {
            weight[in_weight] = values[at]
        });
    }

    /// Where the matrix of a panel lies, `[output channel of the group, taps * channels]`.
    pub(super) fn layout(&self, panel: &Panel) -> Layout {
        let row = self.taps * panel.len;
        Layout::rows(panel.column * self.outputs, self.outputs, row, row)
    }

    /// The matrix of a panel.
    pub(super) fn matrix(&self, panel: &Panel) -> Matrix<'_, T> {
        Matrix {
            values: &self.values,
            layout: self.layout(panel),
        }
    }

    /// Walks the values in order, with the place of each in the whole weight.
    fn for_each(&mut self, block: &Block, mut visit: impl FnMut(usize, usize, &mut [T])) {
        for panel in &block.panels {
            let mut at = panel.column * self.outputs;
            for output in 0..self.outputs {
                let row = (panel.group * self.outputs + output) * self.inputs;
                for tap in 0..self.taps {
                    for channel in 0..panel.len {
                        let input = row + panel.channel_in_group + channel;
                        visit(at, input * self.taps + tap, &mut self.values);
                        at += 1;
                    }
                }
            }
        }
    }
}

//! The products of the 36 planes.

use std::ops::Range;

use super::transform::PLANES;
use crate::kernels::product::{Left, Product};
use crate::kernels::share::groups;
use crate::simd::{Kernel, LANES, Simd};

/// The products of transformed inputs and weights in all planes, sums over inputs.
pub(super) struct Planes<'a> {
    /// Tiles that are multiplied at a time: the first, and their number.
    pub(super) groups: &'a [(usize, usize)],
    /// Panels of outputs: the first, and their number.
    pub(super) panels: &'a [(usize, usize)],
    /// Inputs that have been transformed.
    pub(super) channels: usize,
    /// Inputs of these weights; unless they are the first, the products are added.
    pub(super) inputs: Range<usize>,
    /// `[plane][group][block][tile][16]`.
    pub(super) left: *const f32,
    pub(super) left_step: usize,
    /// `[plane][panel][input][width]`.
    pub(super) weights: *const f32,
    pub(super) weight_step: usize,
    /// `[plane][panel][tile][width]`.
    pub(super) sums: *mut f32,
    pub(super) sum_step: usize,
}

impl Kernel for Planes<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let tiles: usize = self.groups.iter().map(|(_, rows)| rows).sum();
        for plane in 0..PLANES {
            for &(output, width) in self.panels {
                for &(tile, rows) in self.groups {
                    // SAFETY: the planes have room for all tiles and channels.
                    unsafe {
                        let left = self.left.add(plane * self.left_step);
                        let left = left.add(tile * self.channels + self.inputs.start * rows);
                        let right = self.weights.add(plane * self.weight_step);
                        let out = self.sums.add(plane * self.sum_step);
                        let product = Product {
                            rows,
                            columns: width,
                            depth: self.inputs.len(),
                            left: Left::Blocks(left),
                            right: right.add(output * self.inputs.len()),
                            right_step: width,
                            out: out.add(output * tiles + tile * width),
                            out_step: width,
                            accumulate: self.inputs.start > 0,
                            finish: None,
                        };
                        product.compute::<S>();
                    }
                }
            }
        }
    }
}

/// Tiles whose products are one sum, at most; longer sums are sums of these. The error of one
/// running sum over 2048 tiles is 4.2e-6 of the gradient's size, of sums of 64 it is 1e-6.
pub(super) const SUM: usize = 64;

/// The products of transformed gradients of outputs and inputs in some planes, sums over tiles.
pub(super) struct TileSums<'a> {
    /// Planes that are multiplied.
    pub(super) planes: Range<usize>,
    pub(super) tiles: usize,
    /// Outputs of a block.
    pub(super) outputs: usize,
    /// Panels of inputs: the first, and their number.
    pub(super) panels: &'a [(usize, usize)],
    /// `[plane][tile][outputs]`.
    pub(super) gradients: *const f32,
    pub(super) gradient_step: usize,
    /// `[plane][panel][tile][width]`.
    pub(super) maps: *const f32,
    pub(super) map_step: usize,
    /// `[plane][panel][row][width]`.
    pub(super) sums: *mut f32,
    pub(super) sum_step: usize,
    /// Rows of a panel of the sums.
    pub(super) rows: usize,
    /// Row of the block's first output.
    pub(super) row: usize,
    /// Whether the products are added to what is there.
    pub(super) accumulate: bool,
}

impl Kernel for TileSums<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        for plane in self.planes.clone() {
            for &(input, width) in self.panels {
                for (output, rows) in groups(self.outputs, S::ROWS) {
                    // SAFETY: the planes have room for all tiles and channels.
                    unsafe { self.tile::<S>(plane, [output, rows], [input, width]) };
                }
            }
        }
    }
}

impl TileSums<'_> {
    /// Some outputs and a panel of inputs.
    #[inline(always)]
    unsafe fn tile<S: Simd>(
        &self,
        plane: usize,
        [output, rows]: [usize; 2],
        [input, width]: [usize; 2],
    ) {
        // SAFETY: as `run`'s.
        unsafe {
            let left = self.gradients.add(plane * self.gradient_step + output);
            let right = self.maps.add(plane * self.map_step + input * self.tiles);
            let out = self.sums.add(plane * self.sum_step);
            let out = out.add(input * self.rows + (self.row + output) * width);
            if self.accumulate {
                // Sums of an earlier pass may lie in memory; they come while products are computed.
                for i in (0..rows * width).step_by(LANES) {
                    S::prefetch(out.add(i));
                }
            }
            for (first, tiles) in groups(self.tiles, SUM) {
                let product = Product {
                    rows,
                    columns: width,
                    depth: tiles,
                    left: Left::Columns(left.add(first * self.outputs), self.outputs),
                    right: right.add(first * width),
                    right_step: width,
                    out,
                    out_step: width,
                    accumulate: self.accumulate || first > 0,
                    finish: None,
                };
                product.compute::<S>();
            }
        }
    }
}

//! The convolution of a map, which is the gradient of the input as well.

use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::Range;

use super::layout::{Place, Shape, Side, left_places, panels, plane_step, planes_len, round_up};
use super::planes::Planes;
use super::tiles::{Finish, FromPlanes, ToPlanes};
use super::transform::{Input, PLANES};
use super::weights::{Weights, WeightsToPlanes};
use crate::kernels::scratch::Scratch;
use crate::kernels::share::groups;
use crate::kernels::threads::{Shared, parallel};
use crate::simd::{InstructionSet, LANES};

/// A convolution of a map.
pub(super) struct Convolution<'a> {
    pub(super) set: InstructionSet,
    pub(super) shape: Shape,
    /// `[batch][inputs][height][width]`.
    pub(super) x: &'a [f32],
    pub(super) weights: Weights<'a>,
    pub(super) finish: Finish<'a>,
    /// `[batch][outputs][height][width]`.
    pub(super) out: Shared<MaybeUninit<f32>>,
}

/// Bytes of a chunk's transformed inputs and products: half of a second-level cache of 1 MB.
const CHUNK: usize = 1 << 19;
/// Tiles of a chunk, at least, however many channels there are: each chunk reads all transformed
/// weights, mostly from the third-level cache, 5 bytes a cycle with 14 tiles.
const FEWEST: usize = 14;
/// Tiles of a chunk, at most.
const MOST: usize = 84;
/// Chunks that a convolution should have for many threads, if they are not too small then.
const CHUNKS: usize = 16;
/// Inputs whose weights are transformed by a job.
const WEIGHT_INPUTS: usize = 64;
/// Inputs whose weights are transformed and multiplied at a time, for few tiles: with 32 outputs
/// their planes are 590 KB, which the second-level cache holds.
const PANEL_INPUTS: usize = 128;
/// Bytes of all transformed inputs up to which they are kept, for many outputs.
const KEPT: usize = 6 << 20;

impl Convolution<'_> {
    /// Computes it.
    pub(super) fn compute(&self) {
        let tiles = self.shape.tiles();
        let bytes = planes_len(tiles * round_up(self.shape.inputs)) * size_of::<f32>();
        if tiles <= 64 || (bytes <= KEPT && self.shape.outputs >= 128) {
            self.by_outputs();
        } else {
            self.by_tiles();
        }
    }

    /// For large maps: weights are transformed once, then chunks of tiles are jobs.
    fn by_tiles(&self) {
        let channels = [self.shape.inputs, self.shape.outputs].map(round_up);
        let mut weights = Scratch::new(planes_len(channels[0] * channels[1]));
        let weights = weights.shared();
        self.transform_weights(weights);
        let tiles = self.chunk_tiles();
        let chunks: Vec<_> = groups(self.shape.tiles(), tiles).collect();
        let room = || channels.map(|channels| Scratch::new(planes_len(tiles * channels)));
        parallel(chunks.len(), room, |[left, sums], job| {
            let (first, count) = chunks[job];
            let tiles = first..first + count;
            self.chunk(tiles, weights.get().cast(), left.get(), sums.get());
        });
    }

    /// Transforms all weights, `[plane][panel][input][width]`.
    fn transform_weights(&self, planes: Shared<MaybeUninit<f32>>) {
        let [inputs, outputs] = [self.shape.inputs, self.shape.outputs].map(round_up);
        let [_, width] = self.set.tile();
        let panels: Vec<_> = panels(outputs, width).collect();
        let parts: Vec<_> = groups(inputs / LANES, WEIGHT_INPUTS / LANES).collect();
        let work = |(): &mut (), job: usize| {
            let (first, width) = panels[job / parts.len()];
            let (part, blocks) = parts[job % parts.len()];
            let from = part * LANES;
            let at = first * inputs + from * width;
            // SAFETY: the planes have room for all panels; each job has inputs of its own.
            unsafe {
                self.set.run(WeightsToPlanes {
                    weights: self.weights,
                    outputs: first..first + width,
                    inputs: from..from + blocks * LANES,
                    planes: planes.get().cast::<f32>().add(at),
                    step: plane_step(inputs * outputs),
                });
            }
        };
        parallel(panels.len() * parts.len(), || (), work);
    }

    /// Tiles of a chunk, at most.
    fn chunk_tiles(&self) -> usize {
        let [rows, _] = self.set.tile();
        let channels = round_up(self.shape.inputs) + round_up(self.shape.outputs);
        let fitting = CHUNK / (channels * PLANES * size_of::<f32>());
        let even = self.shape.tiles() / CHUNKS;
        fitting.min(even).clamp(FEWEST, MOST).next_multiple_of(rows)
    }

    /// A chunk of tiles, with `weights` of all panels.
    fn chunk(&self, tiles: Range<usize>, weights: *const f32, left: *mut f32, sums: *mut f32) {
        let (inputs, outputs) = (round_up(self.shape.inputs), round_up(self.shape.outputs));
        let [rows, width] = self.set.tile();
        let count = tiles.len();
        let groups: Vec<_> = groups(count, rows).collect();
        let places = left_places(&groups, inputs);
        let panels: Vec<_> = panels(outputs, width).collect();
        let (left_step, sum_step) = (plane_step(count * inputs), plane_step(count * outputs));
        let product = Planes {
            groups: &groups,
            panels: &panels,
            channels: inputs,
            inputs: 0..inputs,
            left,
            left_step,
            weights,
            weight_step: plane_step(inputs * outputs),
            sums,
            sum_step,
        };
        for block in 0..inputs / LANES {
            self.to_planes(block, tiles.clone(), &places, left, left_step);
        }
        // SAFETY: all planes have room for the tiles and channels.
        unsafe { self.set.run(product) };
        for &(first, width) in &panels {
            let sums = sums.wrapping_add(first * count);
            self.panel_to_outputs(first, width, tiles.clone(), sums, sum_step);
        }
    }

    /// For small maps: inputs are transformed once, then panels of outputs are jobs.
    fn by_outputs(&self) {
        let (inputs, outputs) = (round_up(self.shape.inputs), round_up(self.shape.outputs));
        let [rows, width] = self.set.tile();
        let tiles = self.shape.tiles();
        let groups: Vec<_> = groups(tiles, rows).collect();
        let places = left_places(&groups, inputs);
        let left_step = plane_step(tiles * inputs);
        let mut left = Scratch::new(planes_len(tiles * inputs));
        let left = left.shared();
        parallel(
            inputs / LANES,
            || (),
            |(), block| {
                self.to_planes(block, 0..tiles, &places, left.get().cast(), left_step);
            },
        );
        let panels: Vec<_> = panels(outputs, width).collect();
        let room = || {
            let weights = planes_len(PANEL_INPUTS.min(inputs) * width);
            [weights, planes_len(tiles * width)].map(Scratch::new)
        };
        parallel(panels.len(), room, |[weights, sums], job| {
            let (first, width) = panels[job];
            self.panel(
                first,
                width,
                &groups,
                left.get().cast(),
                weights.get(),
                sums.get(),
            );
        });
    }

    /// A panel of outputs of all tiles.
    fn panel(
        &self,
        first: usize,
        width: usize,
        groups: &[(usize, usize)],
        left: *const f32,
        weights: *mut f32,
        sums: *mut f32,
    ) {
        let (tiles, inputs) = (self.shape.tiles(), round_up(self.shape.inputs));
        let sum_step = plane_step(tiles * width);
        for from in (0..inputs).step_by(PANEL_INPUTS) {
            let part = from..inputs.min(from + PANEL_INPUTS);
            let weight_step = plane_step(part.len() * width);
            // SAFETY: the planes have room for the tiles, and for the panel's part.
            unsafe {
                self.set.run(WeightsToPlanes {
                    weights: self.weights,
                    outputs: first..first + width,
                    inputs: part.clone(),
                    planes: weights,
                    step: weight_step,
                });
                self.set.run(Planes {
                    groups,
                    panels: &[(0, width)],
                    channels: inputs,
                    inputs: part,
                    left,
                    left_step: plane_step(tiles * inputs),
                    weights,
                    weight_step,
                    sums,
                    sum_step,
                });
            }
        }
        self.panel_to_outputs(first, width, 0..tiles, sums, sum_step);
    }

    /// Transforms a block of input channels.
    fn to_planes(
        &self,
        block: usize,
        tiles: Range<usize>,
        places: &[Place],
        planes: *mut f32,
        step: usize,
    ) {
        let transform: ToPlanes<'_, _, Input> = ToPlanes {
            shape: &self.shape,
            map: self.x,
            channels: self.shape.inputs,
            side: Side::Input,
            before: self.shape.padding,
            block,
            tiles,
            places,
            planes,
            step,
            transform: PhantomData,
        };
        // SAFETY: the planes have room for the tiles.
        unsafe { self.set.run(transform) };
    }

    /// Transforms the products of a panel to outputs.
    fn panel_to_outputs(
        &self,
        first: usize,
        width: usize,
        tiles: Range<usize>,
        sums: *const f32,
        step: usize,
    ) {
        for lane in (0..width).step_by(LANES) {
            // SAFETY: the planes hold all tiles of the panel.
            unsafe {
                self.set.run(FromPlanes {
                    shape: &self.shape,
                    block: (first + lane) / LANES,
                    tiles: tiles.clone(),
                    planes: sums.add(lane),
                    step,
                    tile_step: width,
                    finish: self.finish,
                    out: self.out.get().cast(),
                });
            }
        }
    }
}

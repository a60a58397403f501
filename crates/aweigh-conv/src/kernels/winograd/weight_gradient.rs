//! The gradient of the weights.

use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::Range;

use super::layout::{Place, Shape, Side, panels, plane_step, planes_len, round_up};
use super::planes::{SUM, TileSums};
use super::tiles::ToPlanes;
use super::transform::{Gradient, Input, PLANES, TAPS};
use super::weights::PlanesToWeights;
use crate::kernels::scratch::Scratch;
use crate::kernels::share::groups;
use crate::kernels::threads::{Shared, parallel};
use crate::simd::{InstructionSet, LANES};

/// The gradient of the weights of a convolution.
pub(super) struct WeightGradient<'a> {
    pub(super) set: InstructionSet,
    pub(super) shape: Shape,
    /// `[batch][inputs][height][width]`.
    pub(super) x: &'a [f32],
    /// Gradient of the output, `[batch][outputs][height][width]`.
    pub(super) grad: &'a [f32],
    /// `[outputs][inputs][3][3]`.
    pub(super) out: Shared<MaybeUninit<f32>>,
}

/// Outputs of a block, at most.
const OUTPUTS: usize = 48;
/// Bytes of transformed maps up to which all are kept at once, with many channels.
const KEPT: usize = 12 << 20;
/// Bytes of transformed maps of a pass, about: less than a third-level cache, which other threads
/// and programs need too.
const PASS: usize = 4 << 20;
/// Tiles of a pass, at least: each pass reads and writes all sums.
const PASS_TILES: usize = 2 * SUM;
/// Tiles that a job transforms.
const PART: usize = 32;
/// Outputs whose gradients a job transforms.
const ROWS: usize = 8;

/// How channels are split, first channel and channels of each part.
struct Split {
    /// Panels of inputs.
    panels: Vec<(usize, usize)>,
    /// Blocks of outputs.
    blocks: Vec<(usize, usize)>,
}

/// Transformed maps of some tiles.
#[derive(Clone, Copy)]
struct Maps {
    tiles: usize,
    /// Gradients of outputs, `[plane][block][tile][outputs]`.
    gradients: Shared<MaybeUninit<f32>>,
    gradient_step: usize,
    /// Inputs, `[plane][panel][tile][width]`.
    inputs: Shared<MaybeUninit<f32>>,
    input_step: usize,
}

impl WeightGradient<'_> {
    /// Computes it.
    pub(super) fn compute(&self) {
        let [_, width] = self.set.tile();
        let split = Split {
            panels: panels(round_up(self.shape.inputs), width).collect(),
            blocks: panels(round_up(self.shape.outputs), OUTPUTS).collect(),
        };
        let tiles = self.shape.tiles();
        let [inputs, outputs] = self.channels();
        let bytes = tiles * (inputs + outputs) * PLANES * size_of::<f32>();
        if bytes <= KEPT && split.panels.len() * split.blocks.len() >= 16 {
            self.by_blocks(&split);
        } else {
            self.by_planes((PASS * tiles / bytes).max(PASS_TILES), &split);
        }
    }

    /// Channels of the input and the output, rounded up.
    fn channels(&self) -> [usize; 2] {
        [self.shape.inputs, self.shape.outputs].map(round_up)
    }

    /// Memory for the transformed maps of some tiles.
    fn room(&self, tiles: usize) -> [Scratch; 2] {
        self.channels()
            .map(|channels| Scratch::new(planes_len(tiles * channels)))
    }

    /// Transforms both maps.
    fn transform(&self, tiles: Range<usize>, split: &Split, room: &mut [Scratch; 2]) -> Maps {
        let maps = self.maps(tiles.len(), room);
        let parts: Vec<_> = groups(tiles.len(), PART).collect();
        let jobs = (split.panels.len() + split.blocks.len()) * parts.len();
        parallel(
            jobs,
            || (),
            |(), job| {
                let (first, count) = parts[job % parts.len()];
                let part = tiles.start + first..tiles.start + first + count;
                self.to_planes(job / parts.len(), split, part, first, &maps);
            },
        );
        maps
    }

    /// Where transformed maps are stored.
    fn maps(&self, tiles: usize, [inputs, gradients]: &mut [Scratch; 2]) -> Maps {
        let [input_step, gradient_step] = self.channels().map(|c| plane_step(tiles * c));
        Maps {
            tiles,
            inputs: inputs.shared(),
            input_step,
            gradients: gradients.shared(),
            gradient_step,
        }
    }

    /// Transforms a panel of inputs or, after the last one, a block of outputs; the first tile has
    /// place `first`.
    fn to_planes(
        &self,
        panel: usize,
        split: &Split,
        tiles: Range<usize>,
        first: usize,
        maps: &Maps,
    ) {
        let shape = &self.shape;
        let of_outputs = panel.checked_sub(split.panels.len());
        let (channel, width) = match of_outputs {
            None => split.panels[panel],
            Some(block) => split.blocks[block],
        };
        let place = |tile| Place {
            first: (first + tile) * width,
            block_step: 0,
        };
        let places: Vec<_> = (0..tiles.len()).map(place).collect();
        for lane in (0..width).step_by(LANES) {
            let (block, at) = ((channel + lane) / LANES, channel * maps.tiles + lane);
            // SAFETY: the planes have room for all tiles and channels.
            unsafe {
                if of_outputs.is_none() {
                    self.set.run(ToPlanes::<_, Input> {
                        shape,
                        map: self.x,
                        channels: shape.inputs,
                        side: Side::Input,
                        before: shape.padding,
                        block,
                        tiles: tiles.clone(),
                        places: &places,
                        planes: maps.inputs.get().cast::<f32>().add(at),
                        step: maps.input_step,
                        transform: PhantomData,
                    });
                } else {
                    self.set.run(ToPlanes::<_, Gradient> {
                        shape,
                        map: self.grad,
                        channels: shape.outputs,
                        side: Side::Output,
                        before: [0; 2],
                        block,
                        tiles: tiles.clone(),
                        places: &places,
                        planes: maps.gradients.get().cast::<f32>().add(at),
                        step: maps.gradient_step,
                        transform: PhantomData,
                    });
                }
            }
        }
    }

    /// Adds the products of a block of outputs with all inputs.
    fn sum(
        &self,
        planes: Range<usize>,
        (output, outputs): (usize, usize),
        split: &Split,
        maps: &Maps,
        (sums, sum_step): (*mut f32, usize),
        accumulate: bool,
    ) {
        let [_, rows] = self.channels();
        // SAFETY: the planes hold all channels, and the sums have room for them.
        unsafe {
            self.set.run(TileSums {
                planes,
                tiles: maps.tiles,
                outputs,
                panels: &split.panels,
                gradients: maps.gradients.get().cast::<f32>().add(output * maps.tiles),
                gradient_step: maps.gradient_step,
                maps: maps.inputs.get().cast(),
                map_step: maps.input_step,
                sums,
                sum_step,
                rows,
                row: output,
                accumulate,
            });
        }
    }

    /// For few tiles and many channels: a block of outputs and a panel of inputs is a job, whose
    /// sums stay in the cache.
    fn by_blocks(&self, split: &Split) {
        let tiles = self.shape.tiles();
        let mut room = self.room(tiles);
        let maps = self.transform(0..tiles, split, &mut room);
        let Split { panels, blocks } = split;
        let [_, width] = self.set.tile();
        let room = || Scratch::new(planes_len(width * OUTPUTS));
        parallel(panels.len() * blocks.len(), room, |sums, job| {
            // Neighbouring jobs have the same outputs.
            let (input, width) = panels[job % panels.len()];
            let (output, rows) = blocks[job / panels.len()];
            let (sums, sum_step) = (sums.get(), plane_step(width * rows));
            // SAFETY: the planes hold all channels, and the sums have room for the block.
            unsafe {
                self.set.run(TileSums {
                    planes: 0..PLANES,
                    tiles: maps.tiles,
                    outputs: rows,
                    panels: &[(0, width)],
                    gradients: maps.gradients.get().cast::<f32>().add(output * maps.tiles),
                    gradient_step: maps.gradient_step,
                    maps: maps.inputs.get().cast::<f32>().add(input * maps.tiles),
                    map_step: maps.input_step,
                    sums,
                    sum_step,
                    rows,
                    row: 0,
                    accumulate: false,
                });
            }
            let outputs = output..self.shape.outputs.min(output + rows);
            self.to_weights(sums, sum_step, outputs, (input, width));
        });
    }

    /// For many tiles, in passes: a block of outputs in a plane is a job.
    fn by_planes(&self, most: usize, split: &Split) {
        let [inputs, outputs] = self.channels();
        let (tiles, blocks) = (self.shape.tiles(), split.blocks.len());
        let sum_step = plane_step(inputs * outputs);
        let mut sums = Scratch::new(planes_len(inputs * outputs));
        let sums = sums.shared();
        let mut room = self.room(most.min(tiles));
        for (first, count) in groups(tiles, most) {
            let maps = self.transform(first..first + count, split, &mut room);
            parallel(
                PLANES * blocks,
                || (),
                |(), job| {
                    let planes = job / blocks..job / blocks + 1;
                    let block = split.blocks[job % blocks];
                    let sums = (sums.get().cast(), sum_step);
                    self.sum(planes, block, split, &maps, sums, first > 0);
                },
            );
        }
        self.finish(sums, sum_step, split);
    }

    /// Transforms the sums of all channels.
    fn finish(&self, sums: Shared<MaybeUninit<f32>>, step: usize, split: &Split) {
        let [_, rows] = self.channels();
        parallel(
            self.shape.outputs.div_ceil(ROWS),
            || (),
            |(), job| {
                let outputs = job * ROWS..self.shape.outputs.min(job * ROWS + ROWS);
                for &(input, width) in &split.panels {
                    let at = input * rows + outputs.start * width;
                    // SAFETY: the sums of the panel's outputs are there.
                    let sums = unsafe { sums.get().cast::<f32>().add(at) };
                    self.to_weights(sums, step, outputs.clone(), (input, width));
                }
            },
        );
    }

    /// Transforms sums of a panel of inputs, `[plane][output][width]`.
    fn to_weights(
        &self,
        sums: *const f32,
        step: usize,
        outputs: Range<usize>,
        (input, width): (usize, usize),
    ) {
        let inputs = self.shape.inputs;
        for lane in (0..width).step_by(LANES) {
            let input = input + lane;
            let at = (outputs.start * inputs + input) * TAPS * TAPS;
            // SAFETY: the sums have these outputs and inputs, and so has the gradient.
            unsafe {
                self.set.run(PlanesToWeights {
                    planes: sums.add(lane),
                    step,
                    output_step: width,
                    outputs: outputs.len(),
                    inputs: (inputs - input).min(LANES),
                    out: self.out.get().cast::<f32>().add(at),
                    out_step: inputs * TAPS * TAPS,
                });
            }
        }
    }
}

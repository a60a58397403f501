//! The gradient by the input of a convolution with a stride.
//!
//! Inputs fall into phases, `stride m + phase`: those of a phase see the same taps, and are the
//! outputs of a convolution with a stride of 1. The phases of a row are computed apart, in scratch,
//! and then interleaved.

use std::mem::MaybeUninit;
use std::ops::Range;

use super::backward;
use super::gather::Columns;
use crate::kernels::gemm::{
    Blocks, Extent, PackedRows, Panels, Source, Split, Tile, Weights, panel_len,
};
use crate::kernels::prefetch::Prefetch;
use crate::kernels::product::{Left, Product};
use crate::kernels::scratch::Scratch;
use crate::kernels::share::share;
use crate::kernels::sizes::ConvSizes;
use crate::kernels::threads::{Shared, parallel};
use crate::simd::{InstructionSet, Kernel, LANES, Simd};

/// Values of the phases of a row that a job keeps, 1 MB.
const KEPT: usize = 1 << 18;

/// One of `stride x stride` convolutions.
struct Phase<'a> {
    source: Columns<'a>,
    weights: Weights<'a>,
    packed: Option<Scratch>,
}

/// Inputs of a group, by phase.
struct Strided<'a> {
    sizes: &'a ConvSizes,
    phases: Vec<Phase<'a>>,
    /// Height and width of the map of a phase.
    map: [usize; 2],
    /// Channels of the input and of the output, of a group.
    channels: [usize; 2],
    most: usize,
}

pub(super) fn input_gradient(
    set: InstructionSet,
    sizes: &ConvSizes,
    grad: &[f32],
    weight: &[f32],
    out: &mut [MaybeUninit<f32>],
) {
    if out.is_empty() {
        return;
    }
    let [most, width] = set.tile();
    let channels = [sizes.channels_in, sizes.channels_out].map(|channels| channels / sizes.groups);
    let phase = |i: usize| {
        let phase = [i / sizes.stride[1], i % sizes.stride[1]];
        let (source, weights) = backward(sizes, phase, grad, weight);
        let rows = PackedRows::new(&weights, channels[0], channels[1], most);
        let packed = (source.taps() > 0).then(|| rows.pack(set, sizes.groups));
        Phase {
            packed,
            source,
            weights,
        }
    };
    let strided = Strided {
        sizes,
        phases: (0..sizes.stride[0] * sizes.stride[1]).map(phase).collect(),
        map: [0, 1].map(|axis| sizes.input[axis].div_ceil(sizes.stride[axis])),
        channels,
        most,
    };
    strided.run(set, width, out);
}

impl Strided<'_> {
    fn run(&self, set: InstructionSet, width: usize, out: &mut [MaybeUninit<f32>]) {
        let (groups, across) = (self.sizes.groups, self.sizes.stride[1]);
        let panels = Panels::new(self.map[0] * self.map[1], width);
        let row_groups = self.channels[0].div_ceil(self.most);
        let blocks = |phase: &Phase| Blocks::new(self.channels[1], phase.source.taps());
        let depth = self.phases.iter().map(|phase| blocks(phase).depth()).max();
        let depth = depth.unwrap_or(0);
        let [rows, channels] = self.channels;
        let split = Split::new(Extent {
            panels: self.sizes.batch * panels.per_image(),
            width,
            rows,
            row_groups,
            groups,
            block: depth,
            depth: channels * self.sizes.taps(),
        });
        let pixels = split.most_panels() * width;
        let kept = across * self.channels[0] * pixels;
        let parts = split.parts.max(kept.div_ceil(KEPT)).min(row_groups);
        let fill = self.phases.iter().map(|phase| phase.source.scratch(pixels));
        let right = panel_len(depth, width) * split.most_panels();
        let kept = across * row_groups.div_ceil(parts) * self.most * pixels;
        let len = right + kept + fill.max().unwrap_or(0);
        let out = Shared::new(out);
        parallel(
            groups * split.tiles * parts,
            || Scratch::new(len),
            |scratch, job| {
                let (rest, part) = (job / parts, job % parts);
                let (group, tile) = (rest / split.tiles, rest % split.tiles);
                let scratch = scratch.get();
                let job = Job {
                    strided: self,
                    tile: Tile {
                        panels,
                        range: split.tile(tile),
                    },
                    group,
                    row_groups: share(row_groups, parts, part),
                    pitch: pixels,
                    right: scratch,
                    kept: scratch.wrapping_add(right),
                    fill: scratch.wrapping_add(right + kept),
                    out: out.get().cast(),
                };
                // SAFETY: scratch and output are as long as the sizes say. Jobs write to tiles and
                // rows of their own.
                unsafe { set.run(job) }
            },
        );
    }

    /// The weights of a phase as they are packed.
    fn packed_rows<'b>(&self, phase: &'b Phase) -> PackedRows<'b> {
        let [rows, channels] = self.channels;
        PackedRows::new(&phase.weights, rows, channels, self.most)
    }
}

/// Some rows of a tile, in all phases.
struct Job<'a, 'b> {
    strided: &'b Strided<'a>,
    tile: Tile,
    group: usize,
    row_groups: Range<usize>,
    /// Distance of the rows that are kept.
    pitch: usize,
    right: *mut f32,
    /// `[phases across][rows][pitch]`.
    kept: *mut f32,
    fill: *mut f32,
    out: *mut f32,
}

impl Kernel for Job<'_, '_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let [down, across] = self.strided.sizes.stride;
        for y in 0..down {
            // SAFETY: by the conditions of `Strided::run`.
            unsafe {
                for x in 0..across {
                    let phase = &self.strided.phases[y * across + x];
                    self.compute::<S>(phase, x);
                }
                self.interleave::<S>(y);
            }
        }
    }
}

impl Job<'_, '_> {
    /// The rows of the job, within a group.
    fn rows(&self) -> Range<usize> {
        let rows = self.strided.channels[0];
        let row_groups = rows.div_ceil(self.strided.most);
        let first = |row_group| share(rows, row_groups, row_group).start;
        first(self.row_groups.start)..first(self.row_groups.end)
    }

    /// Computes a phase, if it has taps.
    #[inline(always)]
    unsafe fn compute<S: Simd>(&self, phase: &Phase, across: usize) {
        let Some(packed) = &phase.packed else {
            return;
        };
        let packed_rows = self.strided.packed_rows(phase);
        let (taps, channels, rows) = (phase.source.taps(), self.strided.channels[1], self.rows());
        let kept = self.kept.wrapping_add(across * rows.len() * self.pitch);
        for block in Blocks::new(channels, taps).each() {
            let first = self.group * channels;
            let of_all = first + block.start..first + block.end;
            // SAFETY: by the conditions of `Strided::run`.
            unsafe {
                self.tile
                    .fill::<S>(&phase.source, of_all, self.right, self.fill);
                for row_group in self.row_groups.clone() {
                    let (first, count) = packed_rows.rows(row_group);
                    let place = packed_rows.place(self.group, row_group, block.start);
                    let product = Product {
                        rows: count,
                        columns: 0,
                        depth: block.len() * taps,
                        left: Left::Columns(packed.as_ptr().add(place), count),
                        right: self.right,
                        right_step: 0,
                        out: kept,
                        out_step: self.pitch,
                        accumulate: block.start > 0,
                        finish: None,
                    };
                    let kept = kept.add((first - rows.start) * self.pitch);
                    let width = S::VECTORS * LANES;
                    self.tile
                        .multiply::<S>(product, Prefetch::NOTHING, |_, _, panel| {
                            kept.add(panel * width)
                        });
                }
            }
        }
    }

    /// Writes row `stride m + down` of the inputs.
    #[inline(always)]
    unsafe fn interleave<S: Simd>(&self, down: usize) {
        let (strided, rows) = (self.strided, self.rows());
        let ([height, width], stride) = (strided.sizes.input, strided.sizes.stride);
        let phases = &strided.phases[down * stride[1]..][..stride[1]];
        for (n, row) in rows.clone().enumerate() {
            for part in self.tile.panels.parts(self.tile.range.clone()) {
                let channel =
                    part.image * strided.sizes.channels_in + self.group * strided.channels[0] + row;
                let first = n * self.pitch + part.panel * S::VECTORS * LANES;
                for (y, columns, before) in phases[0].source.rows(part.pixels) {
                    let (y, x) = (stride[0] * y + down, stride[1] * columns.start);
                    if y >= height {
                        continue;
                    }
                    let line = Line {
                        from: self.kept.wrapping_add(first + before),
                        apart: rows.len() * self.pitch,
                        count: columns.len(),
                        out: self.out.wrapping_add((channel * height + y) * width + x),
                        room: width - x,
                    };
                    // SAFETY: by the conditions of `Strided::run`.
                    unsafe { line.write::<S>(phases) };
                }
            }
        }
    }
}

/// Neighbouring values of all phases of a row.
struct Line {
    /// `[phases][apart]`.
    from: *const f32,
    apart: usize,
    /// Values of each phase.
    count: usize,
    out: *mut f32,
    /// Values up to the end of the row.
    room: usize,
}

impl Line {
    /// Writes them in turn, 0 for phases without taps.
    #[inline(always)]
    unsafe fn write<S: Simd>(&self, phases: &[Phase]) {
        // SAFETY: by the conditions of `Strided::run`.
        unsafe {
            match phases {
                [phase] => {
                    for at in (0..self.count).step_by(LANES) {
                        let v = self.load::<S>(phase, 0, at);
                        S::store_first(self.out.add(at), v, self.count - at);
                    }
                }
                [even, odd] => {
                    let end = self.room.min(2 * self.count);
                    for at in (0..self.count).step_by(LANES) {
                        let even = self.load::<S>(even, 0, at);
                        let odd = self.load::<S>(odd, 1, at);
                        let [low, high] = S::interleave(even, odd);
                        let (out, left) = (self.out.add(2 * at), end - 2 * at);
                        S::store_first(out, low, left);
                        let left = left.saturating_sub(LANES);
                        S::store_first(out.wrapping_add(LANES), high, left);
                    }
                }
                _ => {
                    let end = self.room.min(phases.len() * self.count);
                    for i in 0..end {
                        let (at, phase) = (i / phases.len(), i % phases.len());
                        *self.out.add(i) = match phases[phase].packed {
                            Some(_) => *self.from.add(phase * self.apart + at),
                            None => 0.0,
                        };
                    }
                }
            }
        }
    }

    /// Values of a phase from `at` on.
    #[inline(always)]
    unsafe fn load<S: Simd>(&self, phase: &Phase, i: usize, at: usize) -> S::V {
        // SAFETY: by the conditions of `Strided::run`.
        unsafe {
            if phase.packed.is_some() {
                S::load_first(self.from.add(i * self.apart + at), self.count - at)
            } else {
                S::zero()
            }
        }
    }
}

//! Sums over pixels for few outputs: 16 pixels are a vector, and nothing is transposed.

use std::mem::MaybeUninit;
use std::ops::Range;

use super::{BLOCK, Columns, PIXELS, fills_vectors};
use crate::kernels::gemm::{JOBS, Source, WeightGradient};
use crate::kernels::scratch::Scratch;
use crate::kernels::share::share;
use crate::kernels::threads::parallel;
use crate::simd::{InstructionSet, Kernel, LANES, Simd};

/// Outputs of a group up to which this is faster than transposing.
const OUTPUTS: usize = 8;

/// Taps of a row of the kernel whose sums are kept in registers together.
const TAPS: usize = 3;

/// Whether the sums are computed faster here.
pub(in super::super) fn fits_weight_gradient(gradient: &WeightGradient<Columns>) -> bool {
    gradient.outputs <= OUTPUTS && fills_vectors(gradient.source)
}

/// How the sums of a group are split.
struct Split {
    /// Rows of outputs of an image.
    height: usize,
    /// Strips of rows of an image.
    strips: usize,
    /// Ranges of strips of all images, each with sums of its own; they depend on the sizes alone.
    parts: usize,
    /// Blocks of channels.
    blocks: usize,
    /// Channels of the largest block.
    channels: usize,
    /// Room for the lines of a channel.
    lines: usize,
}

impl Split {
    fn new(gradient: &WeightGradient<Columns>) -> Self {
        let (source, width) = (gradient.source, gradient.source.width());
        let height = source.pixels() / width;
        let strips = height.div_ceil((PIXELS / width).max(1));
        let lines = source.lines_room(height.div_ceil(strips));
        let blocks = gradient.channels.div_ceil((BLOCK / lines).max(1));
        let parts = JOBS
            .div_ceil(gradient.groups * blocks)
            .min(gradient.batch * strips);
        Self {
            height,
            strips,
            parts,
            blocks,
            channels: gradient.channels.div_ceil(blocks),
            lines,
        }
    }

    /// Image and rows of a strip.
    fn strip(&self, strip: usize) -> (usize, Range<usize>) {
        let (image, strip) = (strip / self.strips, strip % self.strips);
        (image, share(self.height, self.strips, strip))
    }
}

/// Computes the sums.
///
/// # Panics
///
/// As [`WeightGradient::run`].
pub(in super::super) fn run_weight_gradient(
    gradient: &WeightGradient<Columns>,
    set: InstructionSet,
    out: &mut [MaybeUninit<f32>],
) {
    if gradient.is_trivial(out) {
        return;
    }
    let split = Split::new(gradient);
    let mut partial = Scratch::new(split.parts * out.len());
    let shared = partial.shared();
    let sums = split.channels * gradient.source.taps() * gradient.outputs * LANES;
    let grad_step = gradient.source.width().next_multiple_of(LANES);
    let grad = gradient.outputs * split.height.div_ceil(split.strips) * grad_step;
    let lines = split.channels * split.lines;
    let state = || Scratch::new(sums + grad + lines);
    let jobs = split.parts * gradient.groups * split.blocks;
    parallel(jobs, state, |scratch, job| {
        let (rest, block) = (job / split.blocks, job % split.blocks);
        let (part, group) = (rest / gradient.groups, rest % gradient.groups);
        let scratch = scratch.get();
        let job = Job {
            gradient,
            split: &split,
            group,
            channels: share(gradient.channels, split.blocks, block),
            strips: share(gradient.batch * split.strips, split.parts, part),
            sums: scratch,
            grad: scratch.wrapping_add(sums),
            grad_step,
            lines: scratch.wrapping_add(sums + grad),
            to: shared.get().cast::<f32>().wrapping_add(part * out.len()),
        };
        // SAFETY: scratch is as long as the sizes say. Jobs write to sums of their own.
        unsafe { set.run(job) }
    });
    let len = out.len();
    for (i, out) in out.iter_mut().enumerate() {
        // SAFETY: all sums of all parts were written above.
        let part = |part: usize| unsafe { *partial.as_ptr().add(part * len + i) };
        out.write((1..split.parts).fold(part(0), |sum, next| sum + part(next)));
    }
}

/// The sums of some channels of a group, over some strips.
struct Job<'a, 'b> {
    gradient: &'b WeightGradient<'a, Columns<'a>>,
    split: &'b Split,
    group: usize,
    channels: Range<usize>,
    strips: Range<usize>,
    /// `[channels][taps][outputs][16]`.
    sums: *mut f32,
    /// `[outputs][rows][step]`, with zeros after each row.
    grad: *mut f32,
    grad_step: usize,
    lines: *mut f32,
    /// `[groups][outputs][channels][taps]`.
    to: *mut f32,
}

impl Kernel for Job<'_, '_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        for strip in self.strips.clone() {
            let (image, rows) = self.split.strip(strip);
            // SAFETY: by the conditions of `run_weight_gradient`.
            unsafe {
                self.copy_grad::<S>(image, rows.clone());
                self.add_strip::<S>(image, rows, strip == self.strips.start);
            }
        }
        let (taps, outputs) = (self.gradient.source.taps(), self.gradient.outputs);
        let depth = self.gradient.channels * taps;
        for (i, tap) in (self.channels.start * taps..self.channels.end * taps).enumerate() {
            for k in 0..outputs {
                // SAFETY: by the conditions of `run_weight_gradient`.
                unsafe {
                    let sum = S::sum(S::load(self.sums.add((i * outputs + k) * LANES)));
                    *self.to.add((self.group * outputs + k) * depth + tap) = sum;
                }
            }
        }
    }
}

impl Job<'_, '_> {
    /// Copies the gradient of a strip, so that vectors end with zeros where a row ends.
    #[inline(always)]
    unsafe fn copy_grad<S: Simd>(&self, image: usize, rows: Range<usize>) {
        let (grad, width, outputs) = (
            &self.gradient.grad,
            self.gradient.source.width(),
            self.gradient.outputs,
        );
        for k in 0..outputs {
            let channel = image * grad.channels + self.group * outputs + k;
            for (n, y) in rows.clone().enumerate() {
                let from = grad
                    .values
                    .as_ptr()
                    .wrapping_add(channel * grad.pixels + y * width);
                let to = self
                    .grad
                    .wrapping_add((k * rows.len() + n) * self.grad_step);
                for x in (0..width).step_by(LANES) {
                    // SAFETY: by the conditions of `run_weight_gradient`.
                    unsafe { S::store(to.add(x), S::load_first(from.add(x), width - x)) }
                }
            }
        }
    }

    /// Adds the products of a strip.
    #[inline(always)]
    unsafe fn add_strip<S: Simd>(&self, image: usize, rows: Range<usize>, first: bool) {
        let (source, outputs) = (self.gradient.source, self.gradient.outputs);
        let (taps, taps_across) = (source.taps(), source.taps_across());
        let window = source.window_of_rows(rows.clone());
        let tile = Pairs {
            rows: rows.len(),
            width: self.grad_step,
            grad_apart: rows.len() * self.grad_step,
            line_step: source.down_step(&window),
            places: [0; TAPS],
            grad: self.grad,
            lines: self.lines,
            sums: self.sums,
            outputs,
            accumulate: !first,
        };
        // Twelve sums and what they are made of fit into 32 registers, six vectors of two registers
        // each into 16.
        let most = if S::VECTORS > 1 { 4 } else { 2 };
        for (i, channel) in self.channels.clone().enumerate() {
            let lines = self.lines.wrapping_add(i * self.split.lines);
            // SAFETY: by the conditions of `run_weight_gradient`.
            unsafe {
                let channel = self.group * self.gradient.channels + channel;
                source.write_lines::<S>(image, channel, &window, lines);
                let mut places = source.places(&window);
                let mut tap = i * taps;
                while tap < (i + 1) * taps {
                    let across = TAPS.min(taps_across - (tap - i * taps) % taps_across);
                    let mut here = [0; TAPS];
                    for place in here.iter_mut().take(across) {
                        *place = places.next().unwrap_or(0);
                    }
                    for k in (0..outputs).step_by(most) {
                        let tile = Pairs {
                            places: here,
                            grad: self.grad.wrapping_add(k * tile.grad_apart),
                            lines,
                            sums: self.sums.wrapping_add((tap * outputs + k) * LANES),
                            ..tile
                        };
                        tile.add::<S>(most.min(outputs - k), across);
                    }
                    tap += across;
                }
            }
        }
    }
}

/// Products of some outputs and some taps of a row of the kernel, summed over a strip.
#[derive(Clone, Copy)]
struct Pairs {
    rows: usize,
    width: usize,
    /// From one output to the next.
    grad_apart: usize,
    /// From what a row of outputs reads to what the next one reads.
    line_step: usize,
    places: [usize; TAPS],
    grad: *const f32,
    lines: *const f32,
    /// `[taps][outputs][16]`.
    sums: *mut f32,
    outputs: usize,
    accumulate: bool,
}

/// [`Pairs`] whose numbers the compiler knows.
struct Tile<const OUT: usize, const ACROSS: usize>(Pairs);

impl<const OUT: usize, const ACROSS: usize> Kernel for Tile<OUT, ACROSS> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let pairs = self.0;
        // SAFETY: by the conditions of `run_weight_gradient`.
        unsafe {
            let mut sums = [[S::zero(); OUT]; ACROSS];
            for y in 0..pairs.rows {
                let grad = pairs.grad.add(y * pairs.width);
                let lines = pairs.lines.add(y * pairs.line_step);
                for x in (0..pairs.width).step_by(LANES) {
                    let mut values = [S::zero(); OUT];
                    for (k, value) in values.iter_mut().enumerate() {
                        *value = S::load(grad.add(k * pairs.grad_apart + x));
                    }
                    for (sums, place) in sums.iter_mut().zip(pairs.places) {
                        let line = S::load(lines.add(place + x));
                        for (sum, value) in sums.iter_mut().zip(values) {
                            *sum = S::mul_add(line, value, *sum);
                        }
                    }
                }
            }
            for (j, sums) in sums.into_iter().enumerate() {
                for (k, sum) in sums.into_iter().enumerate() {
                    let to = pairs.sums.add((j * pairs.outputs + k) * LANES);
                    let sum = if pairs.accumulate {
                        S::add(S::load(to), sum)
                    } else {
                        sum
                    };
                    S::store(to, sum);
                }
            }
        }
    }
}

/// Calls the tile of the given numbers.
macro_rules! tiles {
    ($pairs:ident, $S:ident, $numbers:expr, $($out:literal)+) => {
        match $numbers {
            $(
                ($out, 1) => $S::call(Tile::<$out, 1>($pairs)),
                ($out, 2) => $S::call(Tile::<$out, 2>($pairs)),
                ($out, 3) => $S::call(Tile::<$out, 3>($pairs)),
            )+
            (outputs, taps) => unreachable!("a tile of {outputs} outputs and {taps} taps"),
        }
    };
}

impl Pairs {
    /// Adds the products.
    #[inline(always)]
    unsafe fn add<S: Simd>(self, outputs: usize, across: usize) {
        // SAFETY: by the conditions of `run_weight_gradient`.
        unsafe { tiles!(self, S, (outputs, across), 1 2 3 4) }
    }
}

//! Products of few rows: the maps are not packed as columns, which would take longer than the
//! products, but read from lines, once for each tap.

mod weight_gradient;

use std::mem::MaybeUninit;
use std::ops::Range;

pub(super) use weight_gradient::{fits_weight_gradient, run_weight_gradient};

use super::gather::Columns;
use crate::kernels::gemm::{Multiply, PackedRows, Source};
use crate::kernels::product::{Left, Product};
use crate::kernels::scratch::Scratch;
use crate::kernels::share::share;
use crate::kernels::threads::{Shared, parallel};
use crate::simd::{InstructionSet, Kernel, LANES, Simd};

/// Rows up to which this is faster than packing.
const ROWS: usize = 16;

/// Pixels of a strip, so that most rows of a map are read for one strip alone.
const PIXELS: usize = 1024;

/// Values of the lines of a block of channels, 128 KB.
const BLOCK: usize = 1 << 15;

/// Whether a product is computed faster here: it has few rows, and rows of outputs that fill
/// vectors.
pub(super) fn fits(multiply: &Multiply<Columns>) -> bool {
    multiply.rows <= ROWS && fills_vectors(multiply.source)
}

/// Whether rows of outputs fill three quarters of their vectors.
fn fills_vectors(source: &Columns) -> bool {
    let width = source.width();
    3 * width.next_multiple_of(LANES) <= 4 * width
}

/// Computes the product.
///
/// # Panics
///
/// As [`Multiply::run`].
pub(super) fn run(multiply: &Multiply<Columns>, set: InstructionSet, out: &mut [MaybeUninit<f32>]) {
    let source = multiply.source;
    let (pixels, width) = (source.pixels(), source.width());
    assert_eq!(
        out.len(),
        multiply.batch * multiply.groups * multiply.rows * pixels
    );
    if out.is_empty() {
        return;
    }
    let [most, _] = set.tile();
    let packed_rows = PackedRows::new(&multiply.weights, multiply.rows, multiply.channels, most);
    let packed = packed_rows.pack(set, multiply.groups);
    let height = pixels / width;
    let strips = height.div_ceil((PIXELS / width).max(1));
    let lines = source.lines_room(height.div_ceil(strips));
    let blocks = multiply.channels.div_ceil((BLOCK / lines).max(1)).max(1);
    let channels = multiply.channels.div_ceil(blocks);
    let out = Shared::new(out);
    let state = || (Scratch::new(channels * lines), Vec::new());
    let jobs = multiply.batch * multiply.groups * strips;
    parallel(jobs, state, |(scratch, places), job| {
        let (rest, strip) = (job / strips, job % strips);
        let job = Job {
            multiply,
            packed_rows: &packed_rows,
            packed: packed.as_ptr(),
            image: rest / multiply.groups,
            group: rest % multiply.groups,
            strip: share(height, strips, strip),
            blocks,
            lines: scratch.get(),
            room: lines,
            places,
            out: out.get().cast(),
        };
        // SAFETY: scratch and output are as long as the sizes say. Jobs write to strips of their
        // own.
        unsafe { set.run(job) }
    });
}

/// Some rows of pixels of a group of an image.
struct Job<'a, 'b> {
    multiply: &'b Multiply<'a, Columns<'a>>,
    packed_rows: &'b PackedRows<'b>,
    packed: *const f32,
    image: usize,
    group: usize,
    strip: Range<usize>,
    /// Blocks of channels.
    blocks: usize,
    lines: *mut f32,
    /// Room for the lines of a channel.
    room: usize,
    /// Where each row of the matrix of columns begins in the lines; memory that is used again.
    places: &'b mut Vec<usize>,
    out: *mut f32,
}

impl Kernel for Job<'_, '_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let (source, all) = (self.multiply.source, self.multiply.channels);
        let window = source.window_of_rows(self.strip.clone());
        for block in 0..self.blocks {
            let channels = share(all, self.blocks, block);
            self.places.clear();
            for (i, channel) in channels.clone().enumerate() {
                let lines = i * self.room;
                // SAFETY: by the conditions of `run`.
                unsafe {
                    let channel = self.group * all + channel;
                    source.write_lines::<S>(self.image, channel, &window, self.lines.add(lines));
                }
                let places = source.places(&window).map(|place| lines + place);
                self.places.extend(places);
            }
            for row_group in 0..self.packed_rows.row_groups() {
                // SAFETY: by the conditions of `run`.
                unsafe { self.rows::<S>(row_group, channels.clone(), source.down_step(&window)) }
            }
        }
    }
}

impl Job<'_, '_> {
    /// A block of the sums of a group of rows; the lines that outputs read are `step` values from
    /// those that the outputs above read.
    #[inline(always)]
    unsafe fn rows<S: Simd>(&self, row_group: usize, channels: Range<usize>, step: usize) {
        let Multiply { groups, rows, .. } = self.multiply;
        let (pixels, width) = (self.multiply.source.pixels(), self.multiply.source.width());
        let (first, count) = self.packed_rows.rows(row_group);
        let row = self.group * rows + first;
        let place = self
            .packed_rows
            .place(self.group, row_group, channels.start);
        let left = self.packed.wrapping_add(place);
        let finish = self.multiply.finish(row, &channels);
        let out = (self.image * groups * rows + row) * pixels;
        for (n, y) in self.strip.clone().enumerate() {
            for x in (0..width).step_by(S::VECTORS * LANES) {
                let product = Product {
                    rows: count,
                    columns: (width - x).min(S::VECTORS * LANES),
                    depth: self.places.len(),
                    left: Left::Places(left, count, self.places.as_ptr()),
                    right: self.lines.wrapping_add(n * step + x),
                    right_step: 0,
                    out: self.out.wrapping_add(out + y * width + x),
                    out_step: pixels,
                    accumulate: channels.start > 0,
                    finish,
                };
                // SAFETY: by the conditions of `run`.
                unsafe { product.compute::<S>() }
            }
        }
    }
}

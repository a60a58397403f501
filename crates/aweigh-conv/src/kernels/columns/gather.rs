//! The matrix of columns of a convolution, made from maps.

use std::ops::Range;

use super::axis::{Axis, Tap};
use super::lines::Lines;
use crate::kernels::gemm::Source;
use crate::kernels::prefetch::Prefetch;
use crate::simd::{LANES, Simd};

/// Channels from one whose rows are written to the one whose rows are asked for.
const AHEAD: usize = 2;

/// Maps `[batch, channels, H, W]` as the matrix `[channels x taps, outputs]` of what every tap reads
/// for every output; 0 beyond the map.
pub(super) struct Columns<'a> {
    values: &'a [f32],
    channels: usize,
    down: Axis,
    lines: Lines,
}

/// The part of a map that some outputs read.
pub(super) struct Window {
    /// Rows of outputs.
    rows: Range<usize>,
    /// First output of a row, and outputs of a row.
    outputs: (usize, usize),
    /// The first row of the map that is read, or beyond it.
    first: isize,
    /// Room for the lines of a row.
    room: usize,
}

impl<'a> Columns<'a> {
    pub(super) fn new(values: &'a [f32], channels: usize, down: Axis, across: Axis) -> Self {
        Self {
            values,
            channels,
            down,
            lines: Lines::new(across),
        }
    }

    /// Outputs of a row.
    pub(super) fn width(&self) -> usize {
        self.lines.across.outputs
    }

    /// Taps of a row of the kernel.
    pub(super) fn taps_across(&self) -> usize {
        self.lines.across.taps.len()
    }

    /// Room for a row of the matrix, and vectors written beyond.
    fn row_pitch(pixels: usize) -> usize {
        pixels.next_multiple_of(LANES) + LANES
    }

    /// Splits pixels by row: the row, the outputs in it, and the number of pixels before.
    #[inline(always)]
    pub(super) fn rows(
        &self,
        pixels: Range<usize>,
    ) -> impl Iterator<Item = (usize, Range<usize>, usize)> {
        let (width, start) = (self.width(), pixels.start);
        let (mut next, mut row, mut column) = (start, start / width, start % width);
        std::iter::from_fn(move || {
            (next < pixels.end).then(|| {
                let count = (width - column).min(pixels.end - next);
                let found = (row, column..column + count, next - start);
                (next, row, column) = (next + count, row + 1, 0);
                found
            })
        })
    }

    /// Rows of the map from the first that is read to the last, by so many rows of outputs.
    fn reach(&self, rows: usize) -> usize {
        let offsets = self.down.taps.iter().map(|tap| self.down.offset(*tap));
        match (offsets.clone().min(), offsets.max()) {
            (Some(least), Some(most)) => (rows - 1) * self.down.step + (most - least) as usize + 1,
            _ => 0,
        }
    }

    /// What pixels read.
    #[inline(always)]
    fn window(&self, pixels: &Range<usize>) -> Window {
        let width = self.width();
        let rows = pixels.start / width..(pixels.end - 1) / width + 1;
        let outputs = if rows.len() == 1 {
            (pixels.start % width, pixels.len())
        } else {
            (0, width)
        };
        let offsets = self.down.taps.iter().map(|tap| self.down.offset(*tap));
        Window {
            first: (rows.start * self.down.step) as isize + offsets.min().unwrap_or(0),
            rows,
            outputs,
            room: self.lines.room(outputs.1),
        }
    }

    /// What whole rows of outputs read.
    #[inline(always)]
    pub(super) fn window_of_rows(&self, rows: Range<usize>) -> Window {
        self.window(&(rows.start * self.width()..rows.end * self.width()))
    }

    /// Room for the lines of a channel that so many rows of outputs read.
    pub(super) fn lines_room(&self, rows: usize) -> usize {
        self.reach(rows) * self.lines.room(self.width())
    }

    /// Where the first outputs of a window of whole rows read with each tap, in the lines of a
    /// channel.
    #[inline(always)]
    pub(super) fn places(&self, window: &Window) -> impl Iterator<Item = usize> {
        let (first, row, outputs) = (window.first, window.rows.start, window.outputs.1);
        let room = window.room;
        self.down.taps.iter().flat_map(move |tap| {
            let slot = (self.down.position(*tap, row) - first) as usize;
            self.lines
                .places(outputs)
                .map(move |place| slot * room + place)
        })
    }

    /// Distance of the lines that an output reads from those that the output above reads.
    pub(super) fn down_step(&self, window: &Window) -> usize {
        self.down.step * window.room
    }

    /// Writes the lines of all rows of a window, of one channel of an image.
    ///
    /// # Safety
    ///
    /// As [`Source::fill`].
    #[inline(always)]
    pub(super) unsafe fn write_lines<S: Simd>(
        &self,
        image: usize,
        channel: usize,
        window: &Window,
        lines: *mut f32,
    ) {
        let map = self.down.len * self.lines.across.len;
        let place = (image * self.channels + channel) * map;
        // SAFETY: by this function's own conditions.
        unsafe { self.lines::<S>(self.values.as_ptr().wrapping_add(place), window, lines) }
    }

    /// Writes the lines of all rows of a window, of one channel.
    #[inline(always)]
    unsafe fn lines<S: Simd>(&self, map: *const f32, window: &Window, lines: *mut f32) {
        let (len, across) = (self.down.len, &self.lines.across);
        let ahead = AHEAD * len * across.len;
        for (i, &tap) in self.down.taps.iter().enumerate() {
            let before = &self.down.taps[..i];
            for y in window.rows.clone() {
                if before.iter().any(|other| window.reads(*other, tap, y)) {
                    continue;
                }
                let position = self.down.position(tap, y);
                let row = usize::try_from(position).ok().filter(|row| *row < len);
                let row = row.map(|row| map.wrapping_add(row * across.len));
                let slot = (position - window.first) as usize;
                // SAFETY: by the conditions of `Source::fill`.
                unsafe {
                    if let Some(row) = row {
                        let (first, outputs) = window.outputs;
                        let first = row.wrapping_add(ahead + first * across.step);
                        for at in (0..outputs * across.step).step_by(LANES) {
                            S::prefetch(first.wrapping_add(at));
                        }
                    }
                    let lines = lines.add(slot * window.room);
                    self.lines.write::<S>(row, window.outputs, lines);
                }
            }
        }
    }
}

impl Window {
    /// Whether tap `other` reads, for one of the rows, what `tap` reads for row `y`.
    #[inline(always)]
    fn reads(&self, other: Tap, tap: Tap, y: usize) -> bool {
        let row = y as isize + tap.shift - other.shift;
        other.phase == tap.phase && self.rows.contains(&(row as usize))
    }
}

impl Source for Columns<'_> {
    fn taps(&self) -> usize {
        self.down.taps.len() * self.lines.across.taps.len()
    }

    fn pixels(&self) -> usize {
        self.down.outputs * self.width()
    }

    fn scratch(&self, pixels: usize) -> usize {
        let width = self.width().max(1);
        let rows = pixels.div_ceil(width) + 1;
        self.reach(rows) * self.lines.room(width) + self.taps() * Self::row_pitch(pixels)
    }

    fn prefetch(&self, image: usize, channels: Range<usize>, pixels: Range<usize>) -> Prefetch {
        let across = self.lines.across.len;
        let (map, window) = (self.down.len * across, self.window(&pixels));
        let rows = self.reach(window.rows.len());
        let first = window.first.max(0) as usize;
        let len = rows.min(self.down.len.saturating_sub(first)) * across;
        let place = (image * self.channels + channels.start) * map + first * across;
        Prefetch::new(
            self.values.as_ptr().wrapping_add(place),
            map,
            channels.len(),
            len,
        )
    }

    #[inline(always)]
    unsafe fn fill<S: Simd>(
        &self,
        image: usize,
        channels: Range<usize>,
        pixels: Range<usize>,
        scratch: *mut f32,
        to: impl Fn(usize, usize) -> *mut f32,
    ) {
        let window = self.window(&pixels);
        let (taps, row_pitch) = (self.taps(), Self::row_pitch(pixels.len()));
        let lines = scratch.wrapping_add(taps * row_pitch);
        // Rows of outputs that begin within a vector are put together first.
        let aligned = self.width().is_multiple_of(LANES);
        for (n, channel) in channels.enumerate() {
            // SAFETY: image, channels and pixels are there, so that all values read are in the
            // slice; scratch is as long as `scratch` says, and `to` answers for its places.
            unsafe {
                self.write_lines::<S>(image, channel, &window, lines);
                let mut tap = 0;
                for &down in &self.down.taps {
                    for place in self.lines.places(window.outputs.1) {
                        for (y, outputs, before) in self.rows(pixels.clone()) {
                            let slot = (self.down.position(down, y) - window.first) as usize;
                            let skipped = outputs.start - window.outputs.0;
                            let from = lines.add(slot * window.room + place + skipped);
                            for at in (0..outputs.len()).step_by(LANES) {
                                let place = if aligned {
                                    to(n * taps + tap, (before + at) / LANES)
                                } else {
                                    scratch.add(tap * row_pitch + before + at)
                                };
                                S::store(place, S::load(from.add(at)));
                            }
                        }
                        tap += 1;
                    }
                }
                if !aligned {
                    for tap in 0..taps {
                        let row = scratch.add(tap * row_pitch);
                        S::store(row.add(pixels.len()), S::zero());
                        for v in 0..pixels.len().div_ceil(LANES) {
                            S::store(to(n * taps + tap, v), S::load(row.add(v * LANES)));
                        }
                    }
                }
            }
        }
    }
}

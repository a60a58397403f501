//! Rows of a map with their borders, as the taps across read them.

use super::axis::{Axis, Tap};
use crate::simd::{LANES, Simd};

/// How a row is split: by phase, so that every tap reads neighbouring values for neighbouring
/// outputs.
pub(super) struct Lines {
    pub(super) across: Axis,
    /// The phases of all taps, ascending.
    phases: Vec<usize>,
    /// Of all taps: number of the line and place in it of what the first output reads.
    places: Vec<(usize, usize)>,
    /// The least shift.
    least: isize,
    /// By how much the largest is more.
    spread: usize,
}

impl Lines {
    pub(super) fn new(across: Axis) -> Self {
        let ((least, spread), phases) = (across.shifts(), across.phases());
        let place = |tap: &Tap| {
            let line = phases.partition_point(|phase| *phase < tap.phase);
            (line, (tap.shift - least) as usize)
        };
        Self {
            places: across.taps.iter().map(place).collect(),
            across,
            phases,
            least,
            spread,
        }
    }

    /// Room for a line of so many outputs, its borders, and vectors written beyond.
    fn pitch(&self, outputs: usize) -> usize {
        (outputs + self.spread + 3 * LANES).next_multiple_of(LANES)
    }

    /// Room for all lines of a row.
    pub(super) fn room(&self, outputs: usize) -> usize {
        self.phases.len() * self.pitch(outputs)
    }

    /// Where each tap's values begin in the lines of so many outputs.
    #[inline(always)]
    pub(super) fn places(&self, outputs: usize) -> impl Iterator<Item = usize> {
        let pitch = self.pitch(outputs);
        self.places
            .iter()
            .map(move |(line, place)| line * pitch + place)
    }

    /// Writes the lines of a row for `outputs` outputs from `first` on:
    /// `lines[phase][i] = row[step (first + least + i) + phase]`, 0 beyond the row or without one.
    ///
    /// # Safety
    ///
    /// The machine has the instructions of `S`, the row is as long as the axis says, and there is
    /// [`room`](Self::room) for the lines.
    #[inline(always)]
    pub(super) unsafe fn write<S: Simd>(
        &self,
        row: Option<*const f32>,
        (first, outputs): (usize, usize),
        lines: *mut f32,
    ) {
        let (pitch, start) = (self.pitch(outputs), first as isize + self.least);
        // Whole vectors are read for the last outputs.
        let count = outputs + self.spread + LANES;
        let before = start.min(0).unsigned_abs().min(count);
        let from = start.max(0) as usize;
        // SAFETY: a line has room for a vector more than `count`; only values of the row are read.
        unsafe {
            for i in 0..self.phases.len() {
                for at in (0..before).step_by(LANES) {
                    S::store(lines.add(i * pitch + at), S::zero());
                }
            }
            let mut written = 0;
            if let Some(row) = row {
                let room = count - before;
                written = self.copy::<S>(row, from, room, lines.add(before), pitch);
            }
            for i in 0..self.phases.len() {
                for at in (before + written..count).step_by(LANES) {
                    S::store(lines.add(i * pitch + at), S::zero());
                }
            }
        }
    }

    /// Copies values from number `from` of each phase on, as many as there are or fit, and 0 where
    /// a phase has one less than others; returns how many.
    #[inline(always)]
    unsafe fn copy<S: Simd>(
        &self,
        row: *const f32,
        from: usize,
        room: usize,
        lines: *mut f32,
        pitch: usize,
    ) -> usize {
        let (len, step) = (self.across.len, self.across.step);
        let count = len.div_ceil(step).saturating_sub(from).min(room);
        // SAFETY: all values are read within the row; there is room for whole vectors.
        unsafe {
            match step {
                1 => {
                    for i in (0..count).step_by(LANES) {
                        let at = from + i;
                        S::store(lines.add(i), S::load_up_to(row.add(at), len - at));
                    }
                }
                2 => {
                    for i in (0..count).step_by(LANES) {
                        let at = 2 * (from + i);
                        let low = S::load_up_to(row.add(at), len - at);
                        let rest = len.saturating_sub(at + LANES);
                        let high = S::load_up_to(row.wrapping_add(at + LANES), rest);
                        let both = [S::evens(low, high), S::odds(low, high)];
                        for (line, &phase) in self.phases.iter().enumerate() {
                            S::store(lines.add(line * pitch + i), both[phase & 1]);
                        }
                    }
                }
                _ => {
                    for (line, phase) in self.phases.iter().enumerate() {
                        for i in 0..count {
                            let at = step * (from + i) + phase;
                            let value = if at < len { *row.add(at) } else { 0.0 };
                            *lines.add(line * pitch + i) = value;
                        }
                    }
                }
            }
        }
        count
    }
}

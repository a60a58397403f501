//! Which values the taps of a kernel read, down or across a map.

use crate::kernels::sizes::ConvSizes;

/// Where a tap reads: output `o` at `step * (o + shift) + phase`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tap {
    pub(super) shift: isize,
    /// Less than the step.
    pub(super) phase: usize,
}

/// The taps of one direction.
#[derive(Debug, Clone)]
pub(super) struct Axis {
    /// Values of the map that is read.
    pub(super) len: usize,
    /// Outputs.
    pub(super) outputs: usize,
    /// Values from one output to the next.
    pub(super) step: usize,
    pub(super) taps: Vec<Tap>,
}

impl Axis {
    /// The axis `axis` of a convolution: output `o` reads `stride o + dilation tap - padding`.
    pub(super) fn forward(sizes: &ConvSizes, axis: usize) -> Self {
        let step = sizes.stride[axis];
        let tap = |i| {
            let offset = (i * sizes.dilation[axis]) as isize - sizes.padding[axis] as isize;
            Tap {
                shift: offset.div_euclid(step as isize),
                phase: offset.rem_euclid(step as isize) as usize,
            }
        };
        Self {
            len: sizes.input[axis],
            outputs: sizes.output()[axis],
            step,
            taps: (0..sizes.kernel[axis]).map(tap).collect(),
        }
    }

    /// What the gradient by every `stride`-th input reads, from the input `phase` on; and the
    /// kernel's taps.
    ///
    /// Input `stride m + phase` has part in output `m + (phase + padding - dilation tap) / stride`
    /// where that is whole.
    pub(super) fn backward(sizes: &ConvSizes, axis: usize, phase: usize) -> (Self, Vec<usize>) {
        let stride = sizes.stride[axis] as isize;
        let offset =
            |i: usize| (phase + sizes.padding[axis]) as isize - (i * sizes.dilation[axis]) as isize;
        let places: Vec<_> = (0..sizes.kernel[axis])
            .filter(|i| offset(*i) % stride == 0)
            .collect();
        let tap = |i: &usize| Tap {
            shift: offset(*i) / stride,
            phase: 0,
        };
        let axis = Self {
            len: sizes.output()[axis],
            outputs: sizes.input[axis].div_ceil(sizes.stride[axis]),
            step: 1,
            taps: places.iter().map(tap).collect(),
        };
        (axis, places)
    }

    /// Where a tap reads for output 0.
    #[inline(always)]
    pub(super) fn offset(&self, tap: Tap) -> isize {
        self.position(tap, 0)
    }

    /// Where a tap reads for an output, on the map or beyond it.
    #[inline(always)]
    pub(super) fn position(&self, tap: Tap, output: usize) -> isize {
        self.step as isize * (output as isize + tap.shift) + tap.phase as isize
    }

    /// The least shift, and by how much the largest is more.
    pub(super) fn shifts(&self) -> (isize, usize) {
        let shifts = self.taps.iter().map(|tap| tap.shift);
        let least = shifts.clone().min().unwrap_or(0);
        (
            least,
            shifts.max().map_or(0, |most| (most - least) as usize),
        )
    }

    /// The phases of all taps, each once.
    pub(super) fn phases(&self) -> Vec<usize> {
        let mut phases: Vec<_> = self.taps.iter().map(|tap| tap.phase).collect();
        phases.sort_unstable();
        phases.dedup();
        phases
    }
}

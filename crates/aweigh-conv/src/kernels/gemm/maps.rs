//! Maps as the matrix that they are.

use std::ops::Range;

use super::Source;
use crate::kernels::prefetch::Prefetch;
use crate::simd::{LANES, Simd};

/// Maps `[batch, channels, pixels]`: a row is a channel.
#[derive(Clone, Copy)]
pub(crate) struct Maps<'a> {
    pub(crate) values: &'a [f32],
    pub(crate) channels: usize,
    pub(crate) pixels: usize,
}

impl Source for Maps<'_> {
    fn taps(&self) -> usize {
        1
    }

    fn pixels(&self) -> usize {
        self.pixels
    }

    fn scratch(&self, _: usize) -> usize {
        0
    }

    fn prefetch(&self, image: usize, channels: Range<usize>, pixels: Range<usize>) -> Prefetch {
        let first = (image * self.channels + channels.start) * self.pixels + pixels.start;
        let at = self.values.as_ptr().wrapping_add(first);
        Prefetch::new(at, self.pixels, channels.len(), pixels.len())
    }

    #[inline(always)]
    unsafe fn fill<S: Simd>(
        &self,
        image: usize,
        channels: Range<usize>,
        pixels: Range<usize>,
        _: *mut f32,
        to: impl Fn(usize, usize) -> *mut f32,
    ) {
        let (whole, rest) = (pixels.len() / LANES, pixels.len() % LANES);
        // SAFETY: image, channels and pixels are there, so that all values read are in the slice;
        // `to` answers for the places written.
        unsafe {
            for (r, channel) in channels.enumerate() {
                let place = (image * self.channels + channel) * self.pixels + pixels.start;
                let row = self.values.as_ptr().add(place);
                for v in 0..whole {
                    // Rows are far apart, beyond what the machine foresees.
                    S::prefetch(row.wrapping_add(4 * self.pixels + v * LANES));
                    S::store(to(r, v), S::load(row.add(v * LANES)));
                }
                if rest > 0 {
                    let last = S::load_first(row.add(whole * LANES), rest);
                    S::store(to(r, whole), last);
                }
            }
        }
    }
}

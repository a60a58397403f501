//! Memory for intermediate values.

use std::mem::MaybeUninit;

use super::threads::Shared;
use crate::simd::LANES;

/// Memory for `f32` that begins at a cache line, with nothing in it.
///
/// Vectors that cross a line cost two accesses to the first-level cache.
pub(crate) struct Scratch {
    values: Vec<MaybeUninit<f32>>,
    first: usize,
}

impl Scratch {
    /// Room for `len` values.
    pub(crate) fn new(len: usize) -> Self {
        let mut values: Vec<MaybeUninit<f32>> = Vec::with_capacity(len + LANES);
        // SAFETY: the capacity is that, and values may be uninitialised by their type.
        unsafe { values.set_len(len + LANES) };
        let first = values.as_ptr().align_offset(LANES * size_of::<f32>());
        // An offset that is not known is `usize::MAX`: then nothing is aligned.
        let first = if first < LANES { first } else { 0 };
        Self { values, first }
    }

    /// The first value.
    pub(crate) fn get(&mut self) -> *mut f32 {
        self.values[self.first..].as_mut_ptr().cast()
    }

    /// The first value, to read.
    pub(crate) fn as_ptr(&self) -> *const f32 {
        self.values[self.first..].as_ptr().cast()
    }

    /// The values, for many threads.
    pub(crate) fn shared(&mut self) -> Shared<MaybeUninit<f32>> {
        Shared::new(&mut self.values[self.first..])
    }
}

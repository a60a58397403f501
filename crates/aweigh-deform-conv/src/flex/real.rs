//! The number types that the CPU implementation computes in.

use std::ops::{Add, AddAssign, Mul, Sub};

use burn::tensor::Element;
use bytemuck::Pod;

/// `f32` or `f64`. Narrower tensors are widened to `f32`.
pub(super) trait Real:
    Element
    + Pod
    + PartialOrd
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + AddAssign
    + Send
    + Sync
{
    const ZERO: Self;
    const ONE: Self;

    fn floor(self) -> Self;

    /// Exact below 2^24 in `f32`.
    fn from_int(value: i64) -> Self;

    /// Truncates; the caller has checked that the value is an index.
    fn to_index(self) -> usize;
}

macro_rules! real {
    ($type:ty) => {
        impl Real for $type {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;

            fn floor(self) -> Self {
                self.floor()
            }

            fn from_int(value: i64) -> Self {
                value as Self
            }

            fn to_index(self) -> usize {
                self as usize
            }
        }
    };
}

real!(f32);
real!(f64);

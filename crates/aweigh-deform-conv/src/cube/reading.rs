//! How the input of a call is read.

use std::ops::Range;

use burn_cubecl::tensor::CubeTensor;

use super::call::Call;
use super::launch;
use super::layout::{PixelStrides, Pixels};

/// How the input is read.
#[derive(Clone, Copy)]
pub(super) enum Reading {
    /// Where it is.
    Direct(PixelStrides),
    /// From a copy as rows of channels, made for some images at a time.
    Copied,
}

impl Reading {
    /// The input is copied if its channels do not lie side by side: a copy costs one pass over the
    /// map, reads without it one memory transaction per channel, tap and corner. An image that takes
    /// more than half the budget is read as it lies nevertheless, if the kernels can.
    pub(super) fn choose(x: &CubeTensor, call: &Call) -> Self {
        let image = call.map_len() * call.dtype.size();
        match PixelStrides::of(x) {
            Some(strides) if strides.channel == 1 => Self::Direct(strides),
            Some(strides) if image > call.options.column_budget / 2 => Self::Direct(strides),
            _ => Self::Copied,
        }
    }

    /// Scratch bytes of an image.
    pub(super) fn bytes(&self, call: &Call) -> usize {
        match self {
            Self::Direct(_) => 0,
            Self::Copied => call.map_len() * call.dtype.size(),
        }
    }

    /// The pixels of some images.
    pub(super) fn pixels(&self, x: &CubeTensor, images: &Range<usize>, call: &Call) -> Pixels {
        match *self {
            Self::Direct(strides) => Pixels {
                tensor: x.clone(),
                strides,
                first_image: 0,
            },
            Self::Copied => {
                let channels = call.sizes.channels_in;
                let pixels = call.sizes.pixels();
                let rows = images.start * pixels..images.end * pixels;
                let tensor = call.buffer(rows.len() * channels, x.dtype);
                launch::to_rows(x, &tensor, rows, channels);
                Pixels {
                    tensor,
                    strides: PixelStrides {
                        image: pixels * channels,
                        pixel: channels,
                        channel: 1,
                    },
                    first_image: images.start,
                }
            }
        }
    }
}

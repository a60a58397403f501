//! What every kernel that samples is told.

use cubecl::prelude::*;

/// Sizes and options of a call.
#[derive(CubeType, CubeLaunch)]
pub(crate) struct Geometry {
    /// Size of the input map.
    pub(crate) height: usize,
    pub(crate) width: usize,
    /// Positions of one output map and of one of its rows.
    pub(crate) positions: usize,
    pub(crate) out_width: usize,
    /// Taps of the kernel and of one of its rows.
    pub(crate) taps: usize,
    pub(crate) kernel_width: usize,
    pub(crate) stride_y: usize,
    pub(crate) stride_x: usize,
    pub(crate) dilation_y: usize,
    pub(crate) dilation_x: usize,
    pub(crate) padding_y: i32,
    pub(crate) padding_x: i32,
    pub(crate) offset_groups: usize,
}

/// Positions of a launch and how its tensors lie in memory.
#[derive(CubeType, CubeLaunch)]
pub(crate) struct Chunk {
    /// First position, counted over all images, and how many there are.
    pub(crate) first: usize,
    pub(crate) count: usize,
    /// Image whose pixels the input's memory starts with, and the input gradient's.
    pub(crate) first_image: usize,
    pub(crate) first_gradient_image: usize,
    /// Strides of the input.
    pub(crate) image_stride: usize,
    pub(crate) pixel_stride: usize,
    pub(crate) vector_stride: usize,
    /// Vectors of an offset group.
    pub(crate) vectors: usize,
}

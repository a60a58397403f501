//! How tensors lie in memory.

use burn::tensor::Shape;
use burn_cubecl::{cubecl::zspace::metadata::Metadata, tensor::CubeTensor};

/// A part of a tensor's memory, from a number of elements on, under another shape.
pub(super) fn view<const D: usize>(
    tensor: &CubeTensor,
    first: usize,
    shape: [usize; D],
    strides: [usize; D],
) -> CubeTensor {
    let handle = match first {
        0 => tensor.handle.clone(),
        _ => tensor
            .handle
            .clone()
            .offset_start((first * tensor.dtype.size()) as u64),
    };
    let (client, device) = (tensor.client.clone(), tensor.device.clone());
    let meta = Metadata::new(Shape::new(shape), strides);
    CubeTensor::new(client, handle, meta, device, tensor.dtype)
}

/// Rows of channels, one after another, as a map `[B, C, H, W]`.
pub(super) fn as_map(rows: &CubeTensor, [b, c, h, w]: [usize; 4]) -> CubeTensor {
    view(rows, 0, [b, c, h, w], [h * w * c, 1, w * c, c])
}

/// Strides of a map whose pixels lie at equal distances.
#[derive(Clone, Copy)]
pub(super) struct PixelStrides {
    pub(super) image: usize,
    pub(super) pixel: usize,
    pub(super) channel: usize,
}

impl PixelStrides {
    /// Of a map `[B, C, H, W]`; none if its rows are padded or it is permuted in another way.
    pub(super) fn of(map: &CubeTensor) -> Option<Self> {
        let [b, c, h, w] = map.meta.shape().dims();
        let strides = map.meta.strides();
        // A stride along an axis of size 1 says nothing.
        let channel = if c == 1 { 1 } else { strides[1] };
        let pixel = match (h, w) {
            // A single pixel: no distance is read, and this one divides into vectors.
            (1, 1) if b == 1 => c * channel,
            (1, 1) => strides[0],
            (_, 1) => strides[2],
            (1, _) => strides[3],
            // Rows of pixels that follow each other; CUDA pads those of new tensors.
            _ if strides[2] == w * strides[3] => strides[3],
            _ => return None,
        };
        let image = if b == 1 { h * w * pixel } else { strides[0] };
        Some(Self {
            image,
            pixel,
            channel,
        })
    }

    /// Distance between rows of channels, if the map is nothing but such rows at equal distances.
    pub(super) fn row(map: &CubeTensor) -> Option<usize> {
        let [_, c, h, w] = map.meta.shape().dims();
        Self::of(map)
            .filter(|found| {
                found.channel == 1 && found.pixel >= c && found.image == h * w * found.pixel
            })
            .map(|found| found.pixel)
    }
}

/// The input as kernels read it: as it is, or some images of it as rows of channels.
pub(super) struct Pixels {
    pub(super) tensor: CubeTensor,
    pub(super) strides: PixelStrides,
    /// Image that the memory starts with.
    pub(super) first_image: usize,
}

/// Greatest common divisor: the longest vectors that two lengths divide into.
pub(super) fn gcd(a: usize, b: usize) -> usize {
    match b {
        0 => a,
        _ => gcd(b, a % b),
    }
}

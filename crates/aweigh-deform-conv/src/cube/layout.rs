//! How a call's tensors lie in memory.

use std::ops::Range;

use burn::tensor::{DType, Shape};
use burn_cubecl::{
    CubeDevice, cubecl::zspace::metadata::Metadata, ops::numeric::empty_device_contiguous_dtype,
    tensor::CubeTensor,
};
use cubecl::client::Client;

use super::launch;
use crate::options::{DeformConvOptions, Sizes};

/// Sizes, options, type and place of a call.
pub(super) struct Call {
    pub(super) sizes: Sizes,
    pub(super) options: DeformConvOptions,
    pub(super) dtype: DType,
    pub(super) client: Client,
    device: CubeDevice,
}

impl Call {
    /// # Panics
    ///
    /// When shapes break a rule or the tensors differ in type.
    pub(super) fn new(
        x: &CubeTensor,
        offset: &CubeTensor,
        weight: &CubeTensor,
        mask: Option<&CubeTensor>,
        options: DeformConvOptions,
    ) -> Self {
        let types = [Some(x), Some(offset), Some(weight), mask];
        let types: Vec<DType> = types.into_iter().flatten().map(|t| t.dtype).collect();
        assert!(
            types.iter().all(|dtype| *dtype == x.dtype),
            "deformable convolution: input, offset, weight and mask have one type; got {types:?}"
        );
        let mask = mask.map(|mask| mask.meta.shape());
        let [shape_x, shape_offset, shape_weight] =
            [x, offset, weight].map(|tensor| tensor.meta.shape());
        Self {
            sizes: Sizes::new(shape_x, shape_offset, shape_weight, mask, &options),
            options,
            dtype: x.dtype,
            client: x.client.clone(),
            device: x.device.clone(),
        }
    }

    /// Type of positions and of sums.
    pub(super) fn wide(&self) -> DType {
        match self.dtype {
            DType::F64 => DType::F64,
            _ => DType::F32,
        }
    }

    /// Memory for so many numbers, without padding.
    pub(super) fn buffer(&self, len: usize, dtype: DType) -> CubeTensor {
        let (client, device) = (self.client.clone(), self.device.clone());
        empty_device_contiguous_dtype(client, device, Shape::new([len]), dtype)
    }

    /// Memory for so many zeros, without padding.
    pub(super) fn zeros(&self, len: usize, dtype: DType) -> CubeTensor {
        let (client, device) = (self.client.clone(), self.device.clone());
        burn_cubecl::ops::numeric::zeros_client(client, device, Shape::new([len]), dtype)
    }

    /// Input channels of a weight group.
    pub(super) fn group_channels(&self) -> usize {
        self.sizes.channels_in / self.options.weight_groups
    }

    /// Output channels of a weight group.
    pub(super) fn group_outputs(&self) -> usize {
        self.sizes.channels_out / self.options.weight_groups
    }

    /// Columns of a position.
    pub(super) fn column_len(&self) -> usize {
        self.sizes.taps() * self.sizes.channels_in
    }

    /// Numbers in an image of the input.
    pub(super) fn map_len(&self) -> usize {
        self.sizes.channels_in * self.sizes.pixels()
    }

    /// Numbers in the weight.
    pub(super) fn weight_len(&self) -> usize {
        self.sizes.channels_out * self.sizes.taps() * self.group_channels()
    }
}

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
            (1, 1) if b == 1 => c * channel,
            (1, 1) => strides[0],
            (_, 1) => strides[2],
            (1, _) => strides[3],
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

/// How the input is read.
#[derive(Clone, Copy)]
pub(super) enum Reading {
    /// Where it is.
    Direct(PixelStrides),
    /// From a copy as rows of channels, made for some images at a time.
    Copied,
}

impl Reading {
    /// The input is copied if its channels do not lie side by side, unless an image takes more than
    /// half the budget; then it is read as it lies if the kernels can.
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
                launch::to_rows(call, x, &tensor, rows, channels);
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

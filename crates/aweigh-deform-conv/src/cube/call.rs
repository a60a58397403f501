//! Sizes and memory of a call on a device.

use burn::tensor::{DType, Shape};
use burn_cubecl::{
    CubeBackend, CubeDevice,
    ops::numeric::{empty_device_contiguous_dtype, zeros_client},
    tensor::CubeTensor,
};
use cubecl::client::Client;

use crate::call::{CheckedCall, Sizes};
use crate::ops::DeformConvTensors;
use crate::options::DeformConvOptions;

/// Sizes, options, type and device of a call.
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
    /// When the tensors are not those that were checked. Kernels read them without bounds checks,
    /// so what they are bound to must be what the sizes come from.
    pub(super) fn new(tensors: &DeformConvTensors<CubeBackend>, checked: CheckedCall) -> Self {
        tensors.expect(&checked);
        let x = &tensors.x;
        Self {
            sizes: checked.sizes,
            options: checked.options,
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
        zeros_client(client, device, Shape::new([len]), dtype)
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

//! CPU implementation: samples as columns, then matrix products.
//!
//! Maps are copied to channel-last order, so that the four corners of a sample are four runs of
//! neighbouring channels. Where the taps of a position sample is computed once, for all channels
//! of an offset group. Positions are processed in chunks that fit the memory budget:
//!
//! ```text
//! forward   locate -> sample -> out = W x columns
//! backward  locate -> d columns = W^T x d out -> differentiate (offset, mask) -> scatter (input)
//!                  -> sample -> d W += d out x columns^T
//! ```
//!
//! Everything runs in parallel over positions and images, but for the scatter, which runs over
//! channels: no two threads then add to the same place, and the result does not depend on their
//! number.

mod backward;
mod chunk;
mod forward;
mod gemm;
mod kernels;
mod maps;
mod plan;
mod real;
mod samples;
mod weights;

use burn::backend::flex::FlexTensor;
use burn::backend::{Flex, TensorMetadata, ops::FloatTensorOps, tensor::FloatTensor};
use burn::tensor::{DType, FloatDType, Shape, TensorData};

use crate::ops::{DeformConvGradients, DeformConvOps, Optional, Wanted};
use crate::options::{DeformConvOptions, Sizes};
use real::Real;

/// Positions that one task processes.
const TILE: usize = 16;

/// The tensors of a call.
struct Inputs<'a, T> {
    x: &'a [T],
    offset: &'a [T],
    weight: &'a [T],
    mask: Option<&'a [T]>,
    sizes: Sizes,
    options: DeformConvOptions,
}

impl<T> Inputs<'_, T> {
    /// Samples of one position that have an offset of their own.
    fn samples_per_position(&self) -> usize {
        self.options.offset_groups * self.sizes.taps()
    }
}

/// The primitives of a call, contiguous.
struct Primitives {
    x: FlexTensor,
    offset: FlexTensor,
    weight: FlexTensor,
    mask: Option<FlexTensor>,
    options: DeformConvOptions,
}

impl Primitives {
    fn new(
        x: FlexTensor,
        offset: FlexTensor,
        weight: FlexTensor,
        mask: Optional<Flex>,
        options: DeformConvOptions,
    ) -> Self {
        let mask = match mask {
            Optional::Present(mask) => Some(mask),
            Optional::Absent => None,
        };
        let compute = compute_dtype(x.dtype());
        let prepare = |tensor: FlexTensor| widen(tensor, compute).to_contiguous();
        Self {
            x: prepare(x),
            offset: prepare(offset),
            weight: prepare(weight),
            mask: mask.map(prepare),
            options,
        }
    }

    fn inputs<T: Real>(&self) -> Inputs<'_, T> {
        let mask = self.mask.as_ref();
        Inputs {
            x: self.x.storage(),
            offset: self.offset.storage(),
            weight: self.weight.storage(),
            mask: mask.map(FlexTensor::storage),
            sizes: Sizes::new(
                &self.x.shape(),
                &self.offset.shape(),
                &self.weight.shape(),
                mask.map(|mask| mask.shape()).as_ref(),
                &self.options,
            ),
            options: self.options,
        }
    }
}

/// The type that positions, samples and products of tensors of type `dtype` are computed in.
fn compute_dtype(dtype: DType) -> DType {
    match dtype {
        DType::F64 => DType::F64,
        _ => DType::F32,
    }
}

fn widen(tensor: FlexTensor, dtype: DType) -> FlexTensor {
    match tensor.dtype() == dtype {
        true => tensor,
        false => Flex::float_cast(tensor, FloatDType::from(dtype)),
    }
}

fn tensor<T: Real>(values: Vec<T>, shape: Shape, dtype: DType) -> FlexTensor {
    widen(FlexTensor::from_data(TensorData::new(values, shape)), dtype)
}

impl DeformConvOps for Flex {
    fn deform_conv_forward(
        x: FloatTensor<Self>,
        offset: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        mask: Optional<Self>,
        options: DeformConvOptions,
    ) -> FloatTensor<Self> {
        let dtype = x.dtype();
        let call = Primitives::new(x, offset, weight, mask, options);
        match compute_dtype(dtype) {
            DType::F64 => forward_as::<f64>(&call, dtype),
            _ => forward_as::<f32>(&call, dtype),
        }
    }

    fn deform_conv_backward(
        x: FloatTensor<Self>,
        offset: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        mask: Optional<Self>,
        grad: FloatTensor<Self>,
        options: DeformConvOptions,
        wanted: Wanted,
    ) -> DeformConvGradients<Self> {
        let dtype = x.dtype();
        let call = Primitives::new(x, offset, weight, mask, options);
        let grad = widen(grad, compute_dtype(dtype)).to_contiguous();
        match compute_dtype(dtype) {
            DType::F64 => backward_as::<f64>(&call, &grad, wanted, dtype),
            _ => backward_as::<f32>(&call, &grad, wanted, dtype),
        }
    }
}

fn forward_as<T: Real>(call: &Primitives, dtype: DType) -> FlexTensor {
    let inputs = call.inputs::<T>();
    let out = forward::forward(&inputs);
    tensor(out, inputs.sizes.output_shape(), dtype)
}

fn backward_as<T: Real>(
    call: &Primitives,
    grad: &FlexTensor,
    wanted: Wanted,
    dtype: DType,
) -> DeformConvGradients<Flex> {
    let found = backward::backward(&call.inputs::<T>(), grad.storage(), wanted);
    let like = |values: Option<Vec<T>>, shape: Shape| match values {
        Some(values) => Optional::Present(tensor(values, shape, dtype)),
        None => Optional::Absent,
    };
    DeformConvGradients {
        x: like(found.x, call.x.shape()),
        offset: like(found.offset, call.offset.shape()),
        weight: like(found.weight, call.weight.shape()),
        mask: match &call.mask {
            Some(mask) => like(found.mask, mask.shape()),
            None => Optional::Absent,
        },
    }
}

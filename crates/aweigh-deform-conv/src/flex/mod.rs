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
mod inputs;
mod kernels;
mod maps;
mod plan;
mod real;
mod samples;
mod scratch;
mod weights;

use burn::backend::flex::FlexTensor;
use burn::backend::{Flex, TensorMetadata, ops::FloatTensorOps, tensor::FloatTensor};
use burn::tensor::{DType, FloatDType, Shape, TensorData};

use crate::call::CheckedCall;
use crate::ops::{DeformConvGradients, DeformConvOps, DeformConvTensors, NeedsGrad, Optional};
use inputs::Inputs;
use real::Real;

/// The primitives of a call, contiguous.
struct Primitives {
    x: FlexTensor,
    offset: FlexTensor,
    weight: FlexTensor,
    mask: Option<FlexTensor>,
    call: CheckedCall,
}

impl Primitives {
    fn new(tensors: DeformConvTensors<Flex>, call: CheckedCall) -> Self {
        tensors.expect(&call);
        let compute = compute_dtype(tensors.x.dtype());
        let prepare = |tensor: FlexTensor| widen(tensor, compute).to_contiguous();
        Self {
            x: prepare(tensors.x),
            offset: prepare(tensors.offset),
            weight: prepare(tensors.weight),
            mask: tensors.mask.into_option().map(prepare),
            call,
        }
    }

    fn inputs<T: Real>(&self) -> Inputs<'_, T> {
        Inputs {
            x: self.x.storage(),
            offset: self.offset.storage(),
            weight: self.weight.storage(),
            mask: self.mask.as_ref().map(FlexTensor::storage),
            sizes: self.call.sizes,
            options: self.call.options,
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
    if tensor.dtype() == dtype {
        tensor
    } else {
        Flex::float_cast(tensor, FloatDType::from(dtype))
    }
}

fn tensor<T: Real>(values: Vec<T>, shape: Shape, dtype: DType) -> FlexTensor {
    widen(FlexTensor::from_data(TensorData::new(values, shape)), dtype)
}

impl DeformConvOps for Flex {
    fn deform_conv_forward(
        tensors: DeformConvTensors<Self>,
        call: CheckedCall,
    ) -> FloatTensor<Self> {
        let dtype = tensors.x.dtype();
        let primitives = Primitives::new(tensors, call);
        match compute_dtype(dtype) {
            DType::F64 => forward_as::<f64>(&primitives, dtype),
            _ => forward_as::<f32>(&primitives, dtype),
        }
    }

    fn deform_conv_backward(
        tensors: DeformConvTensors<Self>,
        grad: FloatTensor<Self>,
        call: CheckedCall,
        needs: NeedsGrad,
    ) -> DeformConvGradients<Self> {
        tensors.expect_gradient(&grad, &call);
        let dtype = tensors.x.dtype();
        let primitives = Primitives::new(tensors, call);
        let grad = widen(grad, compute_dtype(dtype)).to_contiguous();
        match compute_dtype(dtype) {
            DType::F64 => backward_as::<f64>(&primitives, &grad, needs, dtype),
            _ => backward_as::<f32>(&primitives, &grad, needs, dtype),
        }
    }
}

fn forward_as<T: Real>(primitives: &Primitives, dtype: DType) -> FlexTensor {
    let inputs = primitives.inputs::<T>();
    let out = forward::forward(&inputs);
    tensor(out, inputs.sizes.output_shape(), dtype)
}

fn backward_as<T: Real>(
    primitives: &Primitives,
    grad: &FlexTensor,
    needs: NeedsGrad,
    dtype: DType,
) -> DeformConvGradients<Flex> {
    let found = backward::backward(&primitives.inputs::<T>(), grad.storage(), needs);
    let like = |values: Option<Vec<T>>, like: &FlexTensor| {
        Optional::from(values.map(|values| tensor(values, like.shape(), dtype)))
    };
    DeformConvGradients {
        x: like(found.x, &primitives.x),
        offset: like(found.offset, &primitives.offset),
        weight: like(found.weight, &primitives.weight),
        mask: match &primitives.mask {
            Some(mask) => like(found.mask, mask),
            None => Optional::Absent,
        },
    }
}

//! Tensors of the CPU backend as slices.

use std::mem::MaybeUninit;

use burn::backend::TensorMetadata;
use burn::backend::flex::FlexTensor;
use burn::tensor::{Shape, TensorData};

use crate::profile::{Call, Kind, Pass, timed};
use crate::simd::InstructionSet;

/// The instruction set of all kernels.
pub(super) fn set() -> InstructionSet {
    InstructionSet::chosen().unwrap_or_else(|error| panic!("{error}"))
}

/// A tensor whose values lie one after another.
pub(super) struct Contiguous(pub(super) FlexTensor);

impl Contiguous {
    pub(super) fn new(tensor: FlexTensor) -> Self {
        match tensor.as_slice::<f32>() {
            Some(_) => Self(tensor),
            None => Self(tensor.to_contiguous()),
        }
    }

    pub(super) fn values(&self) -> &[f32] {
        self.0.as_slice().expect("contiguous single precision")
    }
}

/// `len` values, all of which `fill` writes.
pub(super) fn values(len: usize, fill: impl FnOnce(&mut [MaybeUninit<f32>])) -> Vec<f32> {
    let mut values = Vec::with_capacity(len);
    fill(&mut values.spare_capacity_mut()[..len]);
    // SAFETY: kernels write each value of their outputs; that is what `fill` is.
    unsafe { values.set_len(len) };
    values
}

pub(super) fn tensor(values: Vec<f32>, shape: impl Into<Shape>) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape))
}

/// A tensor of `shape`, all of whose values `fill` writes.
pub(super) fn filled(
    shape: impl Into<Shape>,
    fill: impl FnOnce(&mut [MaybeUninit<f32>]),
) -> FlexTensor {
    let shape = shape.into();
    tensor(values(shape.num_elements(), fill), shape)
}

/// A map's sizes, `[B, C, H, W]`.
pub(super) fn map_sizes(map: &FlexTensor) -> [usize; 4] {
    let shape = map.shape();
    [0, 1, 2, 3].map(|axis| shape[axis])
}

/// Runs an operator that is not counted in products, recorded.
pub(super) fn timed_as<R>(
    kind: Kind,
    pass: Pass,
    layer: Option<u64>,
    work: impl FnOnce() -> R,
) -> R {
    timed(Call { kind, layer, pass }, 0, work)
}

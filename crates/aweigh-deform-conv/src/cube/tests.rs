//! What cannot be reached through the operator: the ways to add up the input gradient.

use burn::backend::{Flex, TensorMetadata, ops::FloatTensorOps};
use burn::tensor::{DType, Shape, TensorData};
use burn_cubecl::cubecl::RuntimeId;
use burn_cubecl::{CubeBackend, CubeDevice};
use cubecl::{features::AtomicUsage, ir::Type};

use super::backward::Backward;
use super::call::Call;
use super::launch::{Adds, Sampling};
use crate::call::{CallShapes, CheckedCall};
use crate::ops::{DeformConvOps, DeformConvTensors, NeedsGrad, Optional};
use crate::options::DeformConvOptions;

const X: [usize; 4] = [2, 6, 7, 9];
const OFFSET: [usize; 4] = [2, 2 * 2 * 9, 7, 9];
const WEIGHT: [usize; 4] = [4, 6, 3, 3];
const OUTPUT: [usize; 4] = [2, 4, 7, 9];

const NEEDS: NeedsGrad = NeedsGrad {
    x: true,
    offset: false,
    weight: false,
    mask: false,
};

fn checked() -> CheckedCall {
    let options = DeformConvOptions {
        padding: [1, 1],
        offset_groups: 2,
        column_budget: 20_000,
        ..DeformConvOptions::default()
    };
    let shapes = CallShapes {
        x: Shape::new(X),
        offset: Shape::new(OFFSET),
        weight: Shape::new(WEIGHT),
        mask: None,
    };
    CheckedCall::new(shapes, options)
}

fn data(shape: [usize; 4], seed: usize) -> TensorData {
    let len: usize = shape.iter().product();
    let values = (0..len).map(|i| ((i * 37 + seed * 11) % 101) as f32 / 50.0 - 1.0);
    TensorData::new(values.collect(), shape)
}

#[allow(clippy::print_stdout)]
fn device() -> Option<CubeDevice> {
    let found = CubeDevice::enumerate_all()
        .into_iter()
        .find(|device| matches!(device.runtime(), RuntimeId::Wgpu));
    if found.is_none() {
        println!("not run: no wgpu adapter");
    }
    found
}

/// The input gradient of the CPU implementation.
fn expected() -> Vec<f32> {
    let tensor = |shape, seed| Flex::float_from_data(data(shape, seed), &Default::default());
    let tensors = DeformConvTensors {
        x: tensor(X, 0),
        offset: tensor(OFFSET, 1),
        weight: tensor(WEIGHT, 2),
        mask: Optional::Absent,
    };
    let found = Flex::deform_conv_backward(tensors, tensor(OUTPUT, 3), checked(), NEEDS);
    let Optional::Present(x) = found.x else {
        panic!("the input gradient is needed");
    };
    read::<Flex>(x)
}

fn read<B: FloatTensorOps<B> + burn::backend::Backend>(
    tensor: burn::backend::tensor::FloatTensor<B>,
) -> Vec<f32> {
    let data = B::float_into_data(tensor);
    let data = burn::tensor::try_read_sync(data)
        .expect("a result")
        .expect("data");
    data.iter::<f32>().collect()
}

/// The input gradient, added up in a given way.
fn found(device: &CubeDevice, adds: Adds) -> Vec<f32> {
    let tensor = |shape, seed| CubeBackend::float_from_data(data(shape, seed), device);
    let tensors = DeformConvTensors {
        x: tensor(X, 0),
        offset: tensor(OFFSET, 1),
        weight: tensor(WEIGHT, 2),
        mask: Optional::Absent,
    };
    let call = Call::new(&tensors, checked());
    let backward = Backward {
        sampling: Sampling {
            call: &call,
            offset: &tensors.offset,
            mask: None,
        },
        x: &tensors.x,
        grad: &tensor(OUTPUT, 3),
        needs: NEEDS,
        forced_adds: Some(adds),
    };
    let Optional::Present(x) = backward.run(tensors.weight).x else {
        panic!("the input gradient is needed");
    };
    assert_eq!(x.dtype(), DType::F32);
    read::<CubeBackend>(x)
}

fn check(device: &CubeDevice, adds: Adds) {
    for (got, want) in found(device, adds).into_iter().zip(expected()) {
        // Sums of up to a hundred terms of the order of 1 in another order.
        assert!((got - want).abs() < 1e-5, "{adds:?}: {got}, not {want}");
    }
}

#[test]
fn compare_and_swap_equals_the_cpu() {
    if let Some(device) = device() {
        check(&device, Adds::Exchange);
    }
}

#[test]
#[allow(clippy::print_stdout)]
fn atomic_additions_equal_the_cpu() {
    let Some(device) = device() else { return };
    let client = device.client();
    for size in [1, 2] {
        let element = burn::backend::cubecl::dtype_to_storage_type(DType::F32);
        let cell = Type::atomic(element.with_vector_size(size));
        let usage = client.properties().atomic_type_usage(cell);
        if usage.contains(AtomicUsage::Add) {
            check(&device, Adds::Native(size));
        } else {
            println!("not run: no atomic addition of {size} numbers");
        }
    }
}

//! What the tests share.

use aweigh_testkit::device;
use burn::tensor::{Device, Tensor, TensorData};

/// `count` values between -1 and 1, of zero mean, that do not repeat.
pub(crate) fn noise(count: usize, seed: u64) -> Vec<f32> {
    let value = |i: usize| {
        // SplitMix64.
        let mut z = (seed << 32)
            .wrapping_add(i as u64 + 1)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z >> 40) as f32 / (1u32 << 23) as f32 - 1.0
    };
    (0..count).map(value).collect()
}

/// A tensor of [`noise`].
pub(crate) fn tensor<const D: usize>(shape: [usize; D], seed: u64, device: &Device) -> Tensor<D> {
    let values = noise(shape.iter().product(), seed);
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// What a function of tensors gives, and the gradients of each of them.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) output: Vec<f32>,
    pub(crate) gradients: Vec<Vec<f32>>,
}

/// Runs `f` on tensors of these shapes; the gradient of the output is noise.
pub(crate) fn run(shapes: &[[usize; 4]], f: impl FnOnce(Vec<Tensor<4>>) -> Tensor<4>) -> Outcome {
    let device = device().autodiff();
    let seeds = 1u64..;
    let inputs: Vec<Tensor<4>> = shapes
        .iter()
        .zip(seeds)
        .map(|(shape, seed)| tensor(*shape, seed, &device).require_grad())
        .collect();
    let output = f(inputs.clone());
    let upstream: Tensor<4> = tensor(output.dims(), 99, &device);
    let gradients = (output.clone() * upstream).sum().backward();
    let values = |tensor: Tensor<4>| tensor.try_into_vec_as::<f32>().expect("values");
    Outcome {
        output: values(output.inner()),
        gradients: inputs
            .iter()
            .map(|input| values(input.grad(&gradients).expect("a gradient")))
            .collect(),
    }
}

/// Checks that values are equal within `tolerance` of the largest.
#[track_caller]
pub(crate) fn close(name: &str, found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len(), "{name}");
    let largest = expected.iter().fold(0.0f32, |most, e| most.max(e.abs()));
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        let error = (found - expected).abs();
        assert!(
            error <= tolerance * largest,
            "{name}[{i}] is {found}, not {expected}"
        );
    }
}

/// Checks an operator against its twin.
#[track_caller]
pub(crate) fn equal(name: &str, found: &Outcome, expected: &Outcome, tolerance: f32) {
    close(name, &found.output, &expected.output, tolerance);
    for (i, (found, expected)) in found.gradients.iter().zip(&expected.gradients).enumerate() {
        close(&format!("{name}, gradient {i}"), found, expected, tolerance);
    }
}

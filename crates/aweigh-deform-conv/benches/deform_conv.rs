//! The operator against Burn's built-in one, on the CPU.
//!
//! ```text
//! RAYON_NUM_THREADS=2 cargo bench -p aweigh-deform-conv
//! ```
//!
//! The built-in backward pass takes three minutes at the first shape, so it runs once.

use aweigh_deform_conv::{DeformConvInput, DeformConvOptions, deform_conv2d};
use aweigh_testkit::device;
use burn::tensor::{Distribution, Tensor, module, ops};
use divan::Bencher;

/// P3 of a 512 px image, P3 of an image whose shorter side is 800 px, and a small layer: channels
/// (in and out), height, width. 3x3, batch 1.
const SHAPES: [[usize; 3]; 3] = [[256, 64, 64], [256, 100, 152], [64, 64, 64]];

fn main() {
    divan::main();
}

/// Input, offset and weight.
fn inputs([channels, height, width]: [usize; 3]) -> [Tensor<4>; 3] {
    let random = |shape: [usize; 4], spread: f64| {
        Tensor::random(shape, Distribution::Normal(0.0, spread), &device())
    };
    [
        random([1, channels, height, width], 1.0),
        random([1, 18, height, width], 2.0),
        random([channels, channels, 3, 3], 0.02),
    ]
}

fn ours([x, offset, weight]: [Tensor<4>; 3]) -> Tensor<4> {
    let input = DeformConvInput {
        x,
        offset,
        mask: None,
    };
    let options = DeformConvOptions {
        padding: [1, 1],
        ..DeformConvOptions::default()
    };
    deform_conv2d(input, weight, None, options)
}

fn built_in([x, offset, weight]: [Tensor<4>; 3]) -> Tensor<4> {
    let options = ops::DeformConvOptions::new([1, 1], [1, 1], [1, 1], 1, 1);
    module::deform_conv2d(x, offset, weight, None, None, options)
}

fn forward(bencher: Bencher<'_, '_>, shape: [usize; 3], run: fn([Tensor<4>; 3]) -> Tensor<4>) {
    let inputs = inputs(shape);
    bencher.bench_local(|| run(inputs.clone()));
}

fn training(bencher: Bencher<'_, '_>, shape: [usize; 3], run: fn([Tensor<4>; 3]) -> Tensor<4>) {
    let inputs = inputs(shape).map(|tensor| tensor.autodiff().require_grad());
    bencher.bench_local(|| run(inputs.clone()).sum().backward());
}

#[divan::bench(args = SHAPES, sample_count = 20, sample_size = 1)]
fn forward_ours(bencher: Bencher<'_, '_>, shape: [usize; 3]) {
    forward(bencher, shape, ours);
}

#[divan::bench(args = SHAPES, sample_count = 5, sample_size = 1)]
fn forward_built_in(bencher: Bencher<'_, '_>, shape: [usize; 3]) {
    forward(bencher, shape, built_in);
}

#[divan::bench(args = SHAPES, sample_count = 10, sample_size = 1)]
fn forward_backward_ours(bencher: Bencher<'_, '_>, shape: [usize; 3]) {
    training(bencher, shape, ours);
}

/// The largest shape would take ten minutes.
#[divan::bench(args = [SHAPES[0], SHAPES[2]], sample_count = 1, sample_size = 1)]
fn forward_backward_built_in(bencher: Bencher<'_, '_>, shape: [usize; 3]) {
    training(bencher, shape, built_in);
}

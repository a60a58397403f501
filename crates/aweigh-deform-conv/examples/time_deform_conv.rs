//! Times the operator on the CPU for one shape and prints the seconds of each run as JSON.
//!
//! ```text
//! RAYON_NUM_THREADS=2 cargo run --release -p aweigh-deform-conv --example time_deform_conv -- \
//!     BATCH CHANNELS HEIGHT WIDTH RUNS
//! ```
//!
//! 3x3 kernel, as many channels out as in. `scripts/bench_deform_conv.py` compares the figures
//! with torchvision's.

// What it prints is its purpose.
#![allow(clippy::print_stdout)]

use std::time::Instant;

use aweigh_deform_conv::{DeformConvInput, DeformConvOptions, deform_conv2d};
use aweigh_testkit::device;
use burn::tensor::{Distribution, Tensor};

/// Runs before the measured ones.
const WARMUP: usize = 2;

fn main() {
    let numbers: Option<Vec<usize>> = std::env::args()
        .skip(1)
        .map(|number| number.parse().ok())
        .collect();
    let Some([batch, channels, height, width, runs]) = numbers.as_deref() else {
        panic!("expected five numbers: BATCH CHANNELS HEIGHT WIDTH RUNS");
    };
    let random = |shape: [usize; 4], spread: f64| {
        Tensor::<4>::random(shape, Distribution::Normal(0.0, spread), &device())
    };
    let inputs = [
        random([*batch, *channels, *height, *width], 1.0),
        random([*batch, 18, *height, *width], 2.0),
        random([*channels, *channels, 3, 3], 0.02),
    ];
    let leaves = inputs
        .clone()
        .map(|tensor| tensor.autodiff().require_grad());
    let forward = seconds(*runs, || drop(convolve(inputs.clone())));
    let training = seconds(*runs, || drop(convolve(leaves.clone()).sum().backward()));
    println!(r#"{{"forward": {forward:?}, "forward_backward": {training:?}}}"#);
}

fn convolve([x, offset, weight]: [Tensor<4>; 3]) -> Tensor<4> {
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

/// Seconds of each run; the CPU backend has finished when the call returns.
fn seconds(runs: usize, mut run: impl FnMut()) -> Vec<f64> {
    (0..WARMUP).for_each(|_| run());
    let timed = |_| {
        let start = Instant::now();
        run();
        start.elapsed().as_secs_f64()
    };
    (0..runs).map(timed).collect()
}

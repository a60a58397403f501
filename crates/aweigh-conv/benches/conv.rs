//! Times the passes of convolutions; prints one line of JSON per shape and pass.
//!
//! ```text
//! RAYON_NUM_THREADS=2 cargo bench -p aweigh-conv --bench conv -- --budget-ms 100 < SHAPES
//! ```
//!
//! `--algorithm exact` leaves Winograd's transforms out. Each line of the standard input is a shape:
//! the fields of [`ConvSizes`], `dilation` and `groups` if they are not 1, `passes` if not all of
//! them are timed, and a `name`, which is printed again; here broken in two:
//!
//! ```text
//! {"name": "P3", "batch": 2, "channels_in": 256, "channels_out": 256, "input": [64, 64],
//!  "kernel": [3, 3], "stride": [1, 1], "padding": [1, 1], "passes": ["forward"]}
//! ```
//!
//! A pass is repeated until the budget is spent; `ms` is the median. As in a training step, the
//! memory of a result is new, from the pool. `scripts/bench_conv.py` compares the figures with
//! PyTorch's.

// What it prints is its purpose.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::error::Error;
use std::hint::black_box;
use std::io::{IsTerminal, stdin};
use std::mem::MaybeUninit;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use aweigh_conv::allocator::PoolAllocator;
use aweigh_conv::{Activation, Algorithm, ConvSizes, Convolution, InstructionSet};
use serde::Deserialize;
use serde_json::json;

#[global_allocator]
static ALLOCATOR: PoolAllocator = PoolAllocator;

const USAGE: &str = "expected [--budget-ms N] [--algorithm fast|exact] and shapes, one JSON object \
                     a line, on the standard input";

/// Calls before the measured ones.
const WARMUP: usize = 1;
/// Measured calls, however long they take.
const FEWEST_REPEATS: usize = 3;

/// How it is timed.
struct Options {
    budget: Duration,
    algorithm: Algorithm,
}

/// What is computed of a convolution.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Pass {
    Forward,
    InputGradient,
    WeightGradient,
}

/// A line of the input.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Shape {
    name: String,
    batch: usize,
    channels_in: usize,
    channels_out: usize,
    input: [usize; 2],
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 2],
    #[serde(default = "no_dilation")]
    dilation: [usize; 2],
    #[serde(default = "one_group")]
    groups: usize,
    #[serde(default = "all_passes")]
    passes: Vec<Pass>,
}

fn no_dilation() -> [usize; 2] {
    [1, 1]
}

fn one_group() -> usize {
    1
}

fn all_passes() -> Vec<Pass> {
    vec![Pass::Forward, Pass::InputGradient, Pass::WeightGradient]
}

impl Shape {
    fn sizes(&self) -> ConvSizes {
        ConvSizes {
            batch: self.batch,
            channels_in: self.channels_in,
            channels_out: self.channels_out,
            input: self.input,
            kernel: self.kernel,
            stride: self.stride,
            padding: self.padding,
            dilation: self.dilation,
            groups: self.groups,
        }
    }
}

/// Input, weight and gradient of the output of a convolution.
struct Tensors {
    x: Vec<f32>,
    weight: Vec<f32>,
    grad: Vec<f32>,
}

impl Tensors {
    fn new(sizes: &ConvSizes) -> Self {
        // Values need no more than to be different and of unit scale.
        let noise = |i: usize| (i.wrapping_mul(2_654_435_761) % 2048) as f32 / 512.0 - 2.0;
        let noise = |count: usize| (0..count).map(noise).collect();
        Self {
            x: noise(sizes.input_len()),
            weight: noise(sizes.weight_len()),
            grad: noise(sizes.output_len()),
        }
    }
}

fn main() -> ExitCode {
    if let Err(error) = time_all() {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Times every shape of the standard input.
fn time_all() -> Result<(), Box<dyn Error>> {
    let options = options(std::env::args().skip(1))?;
    if stdin().is_terminal() {
        return Err(USAGE.into());
    }
    let set = InstructionSet::chosen()?;
    for line in stdin().lines() {
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        let shape: Shape =
            serde_json::from_str(&line).map_err(|error| format!("{line}: {error}"))?;
        time(&shape, &options, set);
    }
    Ok(())
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<Options, Box<dyn Error>> {
    let mut options = Options {
        budget: Duration::from_millis(100),
        algorithm: Algorithm::Fast,
    };
    while let Some(argument) = arguments.next() {
        // Cargo adds `--bench`.
        if argument == "--bench" {
            continue;
        }
        match (argument.as_str(), arguments.next().as_deref()) {
            ("--budget-ms", Some(value)) => options.budget = Duration::from_millis(value.parse()?),
            ("--algorithm", Some("fast")) => options.algorithm = Algorithm::Fast,
            ("--algorithm", Some("exact")) => options.algorithm = Algorithm::Exact,
            _ => return Err(USAGE.into()),
        }
    }
    Ok(options)
}

/// Times the passes of a shape.
fn time(shape: &Shape, options: &Options, set: InstructionSet) {
    let sizes = shape.sizes();
    let tensors = Tensors::new(&sizes);
    let convolution = Convolution {
        sizes: &[sizes],
        algorithm: options.algorithm,
        set,
    };
    for &pass in &shape.passes {
        let name = match pass {
            Pass::Forward => "forward",
            Pass::InputGradient => "input_gradient",
            Pass::WeightGradient => "weight_gradient",
        };
        let mut times = repeat(options.budget, || run(&convolution, pass, &tensors));
        let repeats = times.len();
        let ms = median(&mut times);
        let line = json!({"name": shape.name, "pass": name, "ms": ms, "repeats": repeats});
        println!("{line}");
    }
}

/// One call, with a new result.
fn run(convolution: &Convolution, pass: Pass, tensors: &Tensors) {
    let Tensors { x, weight, grad } = tensors;
    let sizes = &convolution.sizes[0];
    match pass {
        Pass::Forward => into_new(sizes.output_len(), |out| {
            convolution.forward(x, weight, None, Activation::None, out);
        }),
        Pass::InputGradient => into_new(sizes.input_len(), |out| {
            convolution.input_gradient(grad, weight, out);
        }),
        Pass::WeightGradient => into_new(sizes.weight_len(), |out| {
            convolution.weight_gradient(x, grad, out);
        }),
    }
}

fn into_new(count: usize, fill: impl FnOnce(&mut [MaybeUninit<f32>])) {
    let mut out = Vec::with_capacity(count);
    fill(&mut out.spare_capacity_mut()[..count]);
    black_box(&mut out);
}

/// Milliseconds of each call.
fn repeat(budget: Duration, mut call: impl FnMut()) -> Vec<f64> {
    (0..WARMUP).for_each(|_| call());
    let (begin, mut times) = (Instant::now(), Vec::new());
    while times.len() < FEWEST_REPEATS || begin.elapsed() < budget {
        let start = Instant::now();
        call();
        times.push(1000.0 * start.elapsed().as_secs_f64());
    }
    times
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    let middle = times.len() / 2;
    match times.len() % 2 {
        0 => (times[middle - 1] + times[middle]) / 2.0,
        _ => times[middle],
    }
}

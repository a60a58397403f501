//! Scratch memory stays under the budget at the size of a real detector's largest map.
//!
//! The allocator of this test binary counts. Each measurement is a process of its own, so that
//! other tests do not allocate meanwhile.

// The measured sizes are worth reading where the limits hold too.
#![allow(clippy::print_stdout)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use aweigh_deform_conv::{
    CallShapes, CheckedCall, DEFAULT_COLUMN_BUDGET, DeformConvInput, DeformConvOps,
    DeformConvOptions, DeformConvTensors, NeedsGrad, Optional, deform_conv2d,
};
use aweigh_testkit::device;
use burn::backend::Dispatch;
use burn::tensor::{Distribution, Tensor};

/// Bytes allocated now, and their largest number so far.
static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

/// The system's allocator, counting.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// An allocator cannot be written without `unsafe`. Every call goes to the system's allocator
// unchanged, under the same conditions that the caller has to meet.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grow(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        grow(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        grow(size);
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.realloc(pointer, layout, size) }
    }
}

fn grow(bytes: usize) {
    let live = LIVE.fetch_add(bytes, Ordering::Relaxed) + bytes;
    PEAK.fetch_max(live, Ordering::Relaxed);
}

/// What `run` gives, and the most bytes that were allocated during it on top of those before.
fn measure<T>(run: impl FnOnce() -> T) -> (T, usize) {
    let before = LIVE.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let result = run();
    (result, PEAK.load(Ordering::Relaxed) - before)
}

/// Runs an ignored test of this binary in a process of its own.
fn in_own_process(test: &str) {
    let binary = std::env::current_exe().expect("the path of this test");
    let done = Command::new(binary)
        .args([
            "--exact",
            test,
            "--ignored",
            "--nocapture",
            "--test-threads=1",
        ])
        .output()
        .expect("a process");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&done.stdout), text(&done.stderr));
    assert!(
        done.status.success() && stdout.contains("1 passed"),
        "{test}:\n{stdout}\n{stderr}"
    );
    for line in stdout.lines().filter(|line| line.starts_with("memory ")) {
        println!("{line}");
    }
}

/// P3 of two images whose shorter side is 800 px, 3x3, 256 channels to 256, v2.
struct Inputs {
    x: Tensor<4>,
    offset: Tensor<4>,
    weight: Tensor<4>,
    mask: Tensor<4>,
    bias: Tensor<1>,
}

impl Inputs {
    fn new() -> Self {
        let random = |shape: [usize; 4]| Tensor::random(shape, Distribution::Default, &device());
        Self {
            x: random([2, 256, 100, 152]),
            offset: random([2, 18, 100, 152]),
            weight: random([256, 256, 3, 3]),
            mask: random([2, 9, 100, 152]),
            bias: Tensor::ones([256], &device()),
        }
    }

    fn operands(&self) -> DeformConvTensors<Dispatch> {
        let dispatch = |tensor: &Tensor<4>| tensor.clone().into_dispatch();
        DeformConvTensors {
            x: dispatch(&self.x),
            offset: dispatch(&self.offset),
            weight: dispatch(&self.weight),
            mask: Optional::Present(dispatch(&self.mask)),
        }
    }

    fn call(&self, budget: usize) -> CheckedCall {
        let shapes = CallShapes {
            x: self.x.shape(),
            offset: self.offset.shape(),
            weight: self.weight.shape(),
            mask: Some(self.mask.shape()),
        };
        CheckedCall::new(shapes, options(budget))
    }

    /// Bytes of the gradients of all inputs. The output is as large as the input.
    fn gradient_bytes(&self) -> usize {
        let tensors = [&self.x, &self.offset, &self.weight, &self.mask];
        tensors.into_iter().map(bytes).sum()
    }
}

fn bytes(tensor: &Tensor<4>) -> usize {
    tensor.shape().num_elements() * size_of::<f32>()
}

fn options(column_budget: usize) -> DeformConvOptions {
    DeformConvOptions {
        padding: [1, 1],
        column_budget,
        ..DeformConvOptions::default()
    }
}

/// # Panics
///
/// When `peak` exceeds the bytes of the results by more than the budget and a tenth of it.
fn assert_lean(what: &str, peak: usize, results: usize, budget: usize) {
    let mebibytes = |bytes: usize| bytes as f64 / f64::from(1 << 20);
    let limit = budget + budget / 10;
    println!(
        "memory {what}: {:.1} MiB above inputs and results, budget {:.1} MiB",
        mebibytes(peak.saturating_sub(results)),
        mebibytes(budget)
    );
    assert!(
        peak <= results + limit,
        "{what}: {:.1} MiB above inputs and results, budget {:.1} MiB",
        mebibytes(peak.saturating_sub(results)),
        mebibytes(budget)
    );
}

/// The operator's forward and backward pass, each on its own.
fn check_operator(budget: usize) {
    let inputs = Inputs::new();
    let (output, peak) =
        measure(|| Dispatch::deform_conv_forward(inputs.operands(), inputs.call(budget)));
    assert_lean("forward", peak, bytes(&inputs.x), budget);
    let needs = NeedsGrad {
        x: true,
        offset: true,
        weight: true,
        mask: true,
    };
    let (_gradients, peak) = measure(|| {
        Dispatch::deform_conv_backward(inputs.operands(), output, inputs.call(budget), needs)
    });
    assert_lean("backward", peak, inputs.gradient_bytes(), budget);
}

/// The same through autodiff, with a bias: each pass, and what is kept between them.
fn check_training(budget: usize) {
    let inputs = Inputs::new();
    let leaf = |tensor: &Tensor<4>| tensor.clone().autodiff().require_grad();
    let call = || {
        let input = DeformConvInput {
            x: leaf(&inputs.x),
            offset: leaf(&inputs.offset),
            mask: Some(leaf(&inputs.mask)),
        };
        let bias = inputs.bias.clone().autodiff().require_grad();
        deform_conv2d(input, leaf(&inputs.weight), Some(bias), options(budget))
    };
    let before = LIVE.load(Ordering::Relaxed);
    let (output, peak) = measure(call);
    assert_lean("tracked forward", peak, bytes(&inputs.x), budget);
    let kept = LIVE.load(Ordering::Relaxed) - before;
    // Nothing is kept for the backward pass but the inputs; a hundredth for the graph itself.
    assert_lean("after forward", kept, bytes(&inputs.x), budget / 100);
    let loss = (output * inputs.x.clone()).sum();
    let (_gradients, peak) = measure(|| loss.backward());
    let gradients = inputs.gradient_bytes() + bytes(&inputs.x);
    assert_lean("tracked backward", peak, gradients, budget);
}

/// Less than the default needs: a smaller setting must be respected, too.
const SMALL_BUDGET: usize = 24 << 20;

/// Held while measuring, for those who run the ignored tests by hand.
static TURN: Mutex<()> = Mutex::new(());

fn check(budget: usize) {
    let _turn = TURN.lock();
    check_operator(budget);
    check_training(budget);
}

#[test]
#[ignore = "needs a process of its own, which `scratch_stays_under_the_default_budget` starts"]
fn measure_default_budget() {
    check(DEFAULT_COLUMN_BUDGET);
}

#[test]
#[ignore = "needs a process of its own, which `scratch_stays_under_a_small_budget` starts"]
fn measure_small_budget() {
    check(SMALL_BUDGET);
}

#[test]
fn scratch_stays_under_the_default_budget() {
    in_own_process("memory::measure_default_budget");
}

#[test]
fn scratch_stays_under_a_small_budget() {
    in_own_process("memory::measure_small_budget");
}

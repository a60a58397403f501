//! Where the time of a step goes: a record of every call of this crate's operators.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What an operator is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Convolution, with the bias and activation in its write-back.
    Convolution,
    /// Group or batch normalisation, with its activation.
    Norm,
    /// Residual sums with their activation, and its gradient.
    Activation,
    /// Pooling.
    Pooling,
    /// Upsampling.
    Upsampling,
    /// Losses.
    Loss,
}

/// Which computation of an operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pass {
    /// The output.
    Forward,
    /// The mask of a convolution's activation and the gradient of its bias; of other layers all
    /// gradients.
    Backward,
    /// The gradient of the input.
    InputGradient,
    /// The gradient of the weight.
    WeightGradient,
}

/// Calls that are counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Call {
    /// What was called.
    pub kind: Kind,
    /// The parameter that names the layer, as a number; none for operators without parameters.
    pub layer: Option<u64>,
    /// Which computation.
    pub pass: Pass,
}

/// What calls cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cost {
    /// Number of calls.
    pub calls: usize,
    /// Time of all of them.
    pub time: Duration,
    /// Arithmetic of direct convolution, multiplications and additions counted apart; 0 for other
    /// operators.
    pub flops: u64,
}

static ON: AtomicBool = AtomicBool::new(false);
static COSTS: Mutex<BTreeMap<Call, Cost>> = Mutex::new(BTreeMap::new());

/// Begins to record.
pub fn start() {
    ON.store(true, Ordering::Relaxed);
}

/// Stops recording.
pub fn stop() {
    ON.store(false, Ordering::Relaxed);
}

/// What was recorded since the last time.
pub fn take() -> BTreeMap<Call, Cost> {
    std::mem::take(&mut *COSTS.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Runs `work`, and records it if that is on.
#[cfg(feature = "flex")]
pub(crate) fn timed<R>(call: Call, flops: u64, work: impl FnOnce() -> R) -> R {
    if !ON.load(Ordering::Relaxed) {
        return work();
    }
    let start = Instant::now();
    let result = work();
    let time = start.elapsed();
    let mut costs = COSTS.lock().unwrap_or_else(PoisonError::into_inner);
    let cost = costs.entry(call).or_default();
    cost.calls += 1;
    cost.time += time;
    cost.flops += flops;
    result
}

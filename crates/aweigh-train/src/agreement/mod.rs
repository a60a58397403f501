//! Whether a device computes what the CPU computes.
//!
//! A small network of each method, with weights of a fixed seed and a made-up batch, computes on
//! the CPU and on the device: its predictions, its losses, their gradients, and its weights after
//! some steps of training. The first stage that differs is where to look.

mod bounds;
mod computed;
mod difference;
mod recipe;

use burn::tensor::Device;
use serde::Serialize;

use crate::TrainError;
use crate::model::fresh;
use computed::{Computed, compute};
use difference::{Difference, Scale};

pub use bounds::Arithmetic;
pub use recipe::Recipe;

/// Of the weights; any would do.
const SEED: u32 = 0;

/// What is compared, in the order in which it is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The raw predictions of the head.
    Forward,
    /// The parts of the loss, their sum, and the number of positives.
    Losses,
    /// The gradient of every parameter.
    Gradients,
    /// What five steps of training change in every parameter.
    Steps,
}

/// What is computed, and how far results may be apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AgreementOptions {
    /// `[height, width]` of the input in pixels.
    pub size: [usize; 2],
    /// Width of the network: channels of pyramid and towers, a multiple of
    /// [`CHANNEL_STEP`](Self::CHANNEL_STEP).
    pub channels: usize,
    /// How the device multiplies.
    pub arithmetic: Arithmetic,
}

/// How far a device is from the CPU; serialised, it is one JSON line.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StageReport {
    /// The network.
    pub method: Recipe,
    /// What was compared.
    pub stage: Stage,
    /// The device.
    pub device: String,
    /// How it is taken to multiply, which the bound depends on.
    pub arithmetic: Arithmetic,
    /// The largest difference from the CPU, over the scale of the tensor: its largest value, or for
    /// [`Stage::Steps`] its largest change. Infinite, `null` in JSON, where either is not a number.
    pub error: f64,
    /// The largest error that rounding explains.
    pub bound: f64,
    /// The tensor with the largest error.
    pub worst: String,
    /// Whether the error is within the bound.
    pub ok: bool,
}

impl Stage {
    /// Every stage in its order.
    pub const ALL: [Self; 4] = [Self::Forward, Self::Losses, Self::Gradients, Self::Steps];

    /// Name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Losses => "losses",
            Self::Gradients => "gradients",
            Self::Steps => "five steps",
        }
    }
}

impl AgreementOptions {
    /// The channels of pyramid and towers are a multiple of this: groups of the norms and of the
    /// deformable convolutions divide them and half of them.
    pub const CHANNEL_STEP: usize = 8;
}

/// Compares what `device` and the CPU compute with the network of `recipe`: one report per stage.
///
/// # Errors
///
/// When the number of channels does not fit the network.
pub fn agreement(
    recipe: Recipe,
    options: &AgreementOptions,
    device: &Device,
) -> Result<Vec<StageReport>, TrainError> {
    let experiment = recipe.experiment(options.channels)?;
    let cpu = Device::flex();
    let detector = fresh(&experiment.detector, SEED, &cpu)?;
    let expected = compute(&experiment, detector.clone(), options.size, &cpu);
    let found = compute(&experiment, detector, options.size, device);
    let report = |stage| {
        let Difference { error, worst } = compare(stage, &found, &expected);
        let bound = options.arithmetic.bound(stage);
        StageReport {
            method: recipe,
            stage,
            device: format!("{device:?}"),
            arithmetic: options.arithmetic,
            error,
            bound,
            worst,
            ok: error <= bound,
        }
    };
    Ok(Stage::ALL.map(report).into())
}

fn compare(stage: Stage, found: &Computed, expected: &Computed) -> Difference {
    let of = |part: fn(&Computed) -> &computed::Named| (part(found), part(expected));
    let ((found, expected), scale) = match stage {
        Stage::Forward => (of(|all| &all.outputs), Scale::Own),
        Stage::Losses => (of(|all| &all.losses), Scale::Own),
        Stage::Gradients => (of(|all| &all.gradients), Scale::Shared),
        Stage::Steps => (of(|all| &all.changes), Scale::Shared),
    };
    difference::largest(found, expected, scale)
}

#[cfg(test)]
mod tests;

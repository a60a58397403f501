//! The time of each layer, from the record of the CPU's operators.

use std::collections::BTreeMap;
use std::time::Duration;

use aweigh_conv::profile::{self, Kind, Pass};
use aweigh_detectors::Detector;
use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;
use serde::Serialize;

use super::thousandths;
use crate::parameters::ModulePath;

/// What one kind of computation of one layer costs in a step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LayerTime {
    /// Kind of the layer.
    pub kind: &'static str,
    /// Path of the layer in the model; `-` for operators without parameters.
    pub layer: String,
    /// What was computed.
    pub pass: &'static str,
    /// Calls per step.
    #[serde(serialize_with = "thousandths")]
    pub calls: f64,
    /// Milliseconds per step.
    #[serde(serialize_with = "thousandths")]
    pub ms: f64,
    /// Billions of multiplications and additions of direct convolution per second; 0 for other
    /// layers.
    #[serde(serialize_with = "thousandths")]
    pub gflops_per_s: f64,
}

/// What was recorded in `steps` steps of `model`, the most expensive first.
pub(super) fn recorded(model: &Detector, steps: usize) -> Vec<LayerTime> {
    let names = names(model);
    let per_step = 1.0 / steps as f64;
    let times = profile::take().into_iter().map(|(call, cost)| {
        let name = call.layer.and_then(|layer| names.get(&layer));
        LayerTime {
            kind: kind(call.kind),
            layer: name.cloned().unwrap_or_else(|| "-".to_owned()),
            pass: pass(call.pass),
            calls: cost.calls as f64 * per_step,
            ms: cost.time.as_secs_f64() * 1000.0 * per_step,
            gflops_per_s: rate(cost.flops, cost.time),
        }
    });
    let mut times: Vec<LayerTime> = times.collect();
    times.sort_by(|a, b| b.ms.total_cmp(&a.ms));
    times
}

/// Names of layers by the number of their weight's id.
fn names(model: &Detector) -> BTreeMap<u64, String> {
    let mut names = Names::default();
    model.visit(&mut names);
    names.found
}

#[derive(Default)]
struct Names {
    path: ModulePath,
    found: BTreeMap<u64, String>,
}

impl ModuleVisitor for Names {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(layer) = self.path.name().strip_suffix(".weight") {
            self.found.insert(param.id.val(), layer.to_owned());
        }
    }
}

fn rate(flops: u64, time: Duration) -> f64 {
    match time.is_zero() {
        true => 0.0,
        false => flops as f64 / time.as_secs_f64() / 1e9,
    }
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Convolution => "convolution",
        Kind::Norm => "norm",
        Kind::Activation => "activation",
        Kind::Pooling => "pooling",
        Kind::Upsampling => "upsampling",
        Kind::Loss => "loss",
    }
}

fn pass(pass: Pass) -> &'static str {
    match pass {
        Pass::Forward => "forward",
        Pass::Backward => "backward",
        Pass::InputGradient => "input gradient",
        Pass::WeightGradient => "weight gradient",
    }
}

//! An exponential moving average of the weights.

use std::collections::HashMap;
use std::path::Path;

use aweigh_detectors::Detector;
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::Tensor;
use rayon::prelude::*;

use crate::TrainError;
use crate::checkpoint::EmaState;
use crate::config::{EmaConfig, EvaluatedWeights};
use crate::device::is_host;
use crate::model::load;
use crate::parameters::ModulePath;

/// Elements that one task averages.
const CHUNK: usize = 64 * 1024;

/// A model whose weights, and whose running statistics, follow those of the trained one.
///
/// After `t` steps, `average += (1 - decay(t)) * (weight - average)` with
/// `decay(t) = decay * (1 - exp(-t / warmup))`, so that the random weights of the start are soon
/// forgotten (mmdetection 3.x `ExpMomentumEMA`, `update_buffers=True`).
#[derive(Debug)]
pub(crate) struct Ema {
    config: EmaConfig,
    /// Without autodiff.
    model: Detector,
    /// Steps up to now.
    steps: usize,
}

impl Ema {
    /// The average of `model` after `steps` steps.
    pub(crate) fn new(config: EmaConfig, model: Detector, steps: usize) -> Self {
        Self {
            config,
            model,
            steps,
        }
    }

    /// Takes the average from a file.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or belongs to another model.
    pub(crate) fn load(self, file: &Path) -> Result<Self, TrainError> {
        let model = load(self.model, file)?;
        Ok(Self { model, ..self })
    }

    /// What a checkpoint says of it.
    pub(crate) fn state(&self) -> EmaState {
        EmaState {
            steps: self.steps,
            evaluate: self.config.evaluate,
        }
    }

    /// The average, if it is what is evaluated.
    pub(crate) fn evaluated(&self) -> Option<&Detector> {
        (self.config.evaluate == EvaluatedWeights::Ema).then_some(&self.model)
    }

    /// The average, without autodiff.
    pub(crate) fn model(&self) -> &Detector {
        &self.model
    }

    /// Follows `model`, which is on an autodiff device, by one step.
    pub(crate) fn follow(self, model: &Detector) -> Self {
        let steps = self.steps + 1;
        let mut weights = Weights::default();
        model.visit(&mut weights);
        let mut average = Average {
            rate: 1.0 - self.config.decay_at(steps),
            weights: weights.values,
            path: ModulePath::default(),
        };
        Self {
            model: self.model.map(&mut average),
            steps,
            ..self
        }
    }
}

/// Every weight and running statistic by name, flattened to `[N]`, without autodiff.
#[derive(Default)]
struct Weights {
    values: HashMap<String, Tensor<1>>,
    path: ModulePath,
}

impl ModuleVisitor for Weights {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let value = param.val().inner().reshape([-1]);
        self.values.insert(self.path.name(), value);
    }
}

/// Moves each average towards the weight of its name.
struct Average {
    rate: f64,
    weights: HashMap<String, Tensor<1>>,
    path: ModulePath,
}

impl ModuleMapper for Average {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let weight = self.weights.remove(&self.path.name());
        let weight = weight.expect("the average has the weights of its model");
        let rate = self.rate;
        param.map(|average| {
            let shape = average.shape();
            blend(average.reshape([-1]), weight, rate).reshape(shape)
        })
    }
}

/// `average + rate * (weight - average)`, `[N]`: exactly the average where both are the same.
fn blend(average: Tensor<1>, weight: Tensor<1>, rate: f64) -> Tensor<1> {
    let device = average.device();
    if !is_host(&device) {
        let step = (weight - average.clone()) * rate;
        return average + step;
    }
    // One pass over host memory, in place.
    let rate = rate as f32;
    let (mut average, weight) = (average.into_data(), weight.into_data());
    let weights: &[f32] = weight.as_slice().expect("weights are f32");
    let averages: &mut [f32] = average.as_mut_slice().expect("weights are f32");
    let chunks = averages
        .par_chunks_mut(CHUNK)
        .zip(weights.par_chunks(CHUNK));
    chunks.for_each(|(averages, weights)| {
        for (average, weight) in averages.iter_mut().zip(weights) {
            *average += (*weight - *average) * rate;
        }
    });
    Tensor::from_data(average, &device)
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    #[test]
    fn an_average_is_its_closed_form() {
        let device = Device::flex();
        let config = EmaConfig {
            decay: 0.9,
            warmup: 0,
            ..EmaConfig::default()
        };
        let values = [3.0, -1.0, 0.5, 8.0];
        let mut average = Tensor::<1>::from_floats([2.0], &device);
        for (step, value) in values.into_iter().enumerate() {
            let weight = Tensor::from_floats([value], &device);
            average = blend(average, weight, 1.0 - config.decay_at(step + 1));
        }
        // 0.9^4 of the start, and 0.1 * 0.9^(4 - t) of the weight after step t.
        let terms = values.into_iter().zip([0.729, 0.81, 0.9, 1.0]);
        let expected = 0.6561 * 2.0 + terms.map(|(value, rest)| 0.1 * rest * value).sum::<f32>();
        let got: f32 = average.into_scalar();
        assert!((got - expected).abs() < 1e-6, "{got} {expected}");
    }

    #[test]
    fn the_decay_warms_up() {
        let config = EmaConfig {
            decay: 0.99,
            warmup: 100,
            ..EmaConfig::default()
        };
        let check = |steps, expected: f64| {
            let got = config.decay_at(steps);
            assert!((got - expected).abs() < 1e-12, "{steps}: {got}");
        };
        check(1, 0.99 * (1.0 - (-0.01_f64).exp()));
        check(100, 0.99 * (1.0 - (-1.0_f64).exp()));
        check(100_000, 0.99);
    }

    #[test]
    fn an_average_of_the_same_weights_stays() {
        let device = Device::flex();
        let weight = Tensor::<1>::from_floats([0.1, -1e-30, 3.7e8], &device);
        let average = blend(weight.clone(), weight.clone(), 0.3);
        average.into_data().assert_eq(&weight.into_data(), true);
    }
}

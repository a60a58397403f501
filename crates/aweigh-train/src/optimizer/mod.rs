//! Optimisers with parameter groups.
//!
//! Burn's optimisers restore their state on Burn's default device, which need not exist, and take
//! seven passes over the parameters for a step of SGD. Here states are kept by the name of the
//! parameter and restored beside it, and in host memory a step is one parallel pass.

mod update;

use std::collections::BTreeMap;
use std::fmt;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor, TensorData};

use crate::config::OptimizerConfig;
use crate::parameters::{Layer, ModulePath, Tensors};
use update::{Algorithm, Parameter, State};

/// Factors of a group of parameters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Multipliers {
    /// Factor of the learning rate.
    pub lr: f64,
    /// Factor of the weight decay.
    pub decay: f64,
}

const PLAIN: Multipliers = Multipliers {
    lr: 1.0,
    decay: 1.0,
};

/// The factors of a parameter, from its name and the kind of its layer.
pub type GroupRule = Box<dyn Fn(&str, Layer) -> Multipliers + Send>;

/// An optimiser with the state of every parameter.
pub struct Optimizer {
    algorithm: Algorithm,
    rule: GroupRule,
    states: BTreeMap<String, State>,
}

impl fmt::Debug for Optimizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Optimizer")
            .field("algorithm", &self.algorithm)
            .field("states", &self.states.len())
            .finish_non_exhaustive()
    }
}

/// The groups of a configuration: those by name first, then norms, biases of other layers, everything else. Biases of the
/// convolutions that move the taps of a deformable one count as everything else (mmengine 0.10
/// `default_constructor.py`).
fn configured_rule(config: &OptimizerConfig) -> GroupRule {
    let norm = Multipliers {
        lr: config.norm_lr_mult,
        decay: config.norm_decay_mult,
    };
    let bias = Multipliers {
        lr: config.bias_lr_mult,
        decay: config.bias_decay_mult,
    };
    let groups = config.groups.clone();
    let by_name = move |name: &str| {
        let group = groups.iter().find(|group| group.pattern.matches(name))?;
        Some(Multipliers {
            lr: group.lr_mult,
            decay: group.decay_mult,
        })
    };
    let by_layer = move |name: &str, layer| match layer {
        Layer::Norm => norm,
        Layer::Other if name.ends_with(".conv_offset.bias") => PLAIN,
        Layer::Other if name.ends_with(".bias") => bias,
        Layer::Other => PLAIN,
    };
    Box::new(move |name, layer| by_name(name).unwrap_or_else(|| by_layer(name, layer)))
}

impl Optimizer {
    /// An optimiser without state, with the parameter groups of the configuration.
    pub fn new(config: &OptimizerConfig) -> Self {
        Self::with_rule(config, configured_rule(config))
    }

    /// An optimiser without state, with other parameter groups.
    pub fn with_rule(config: &OptimizerConfig, rule: GroupRule) -> Self {
        Self {
            algorithm: Algorithm::new(config),
            rule,
            states: BTreeMap::new(),
        }
    }

    /// Changes every parameter that has a gradient.
    pub fn step<M: Module>(&mut self, lr: f64, model: M, gradients: GradientsParams) -> M {
        model.map(&mut Stepper {
            optimizer: self,
            lr,
            gradients,
            path: ModulePath::default(),
        })
    }

    /// The state of every parameter on the host, by the parameter's name and the state's.
    pub fn state(&self) -> BTreeMap<String, TensorData> {
        let mut tensors = Tensors::new();
        for (name, state) in &self.states {
            tensors.extend(state.save(&self.algorithm, name));
        }
        tensors
    }

    /// Replaces the state by a saved one for the parameters of `model`.
    ///
    /// # Errors
    ///
    /// When the state belongs to another model or optimiser; names the tensors.
    pub fn load<M: Module>(
        &mut self,
        model: &M,
        mut state: BTreeMap<String, TensorData>,
    ) -> Result<(), String> {
        let mut reader = StateReader {
            algorithm: &self.algorithm,
            saved: &mut state,
            states: BTreeMap::new(),
            problem: None,
            path: ModulePath::default(),
        };
        model.visit(&mut reader);
        if let Some(problem) = reader.problem {
            return Err(problem);
        }
        self.states = reader.states;
        match state.keys().next() {
            Some(name) => Err(format!("`{name}` belongs to no parameter of the model")),
            None => Ok(()),
        }
    }
}

/// Applies one step to each parameter.
struct Stepper<'a> {
    optimizer: &'a mut Optimizer,
    lr: f64,
    gradients: GradientsParams,
    path: ModulePath,
}

impl ModuleMapper for Stepper<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(gradient) = self.gradients.remove::<D>(param.id) else {
            return param;
        };
        let name = self.path.name();
        let group = (self.optimizer.rule)(&name, self.path.layer());
        let step = self.optimizer.algorithm.step(self.lr, group);
        let state = self.optimizer.states.entry(name).or_default();
        param.map(|value| {
            let shape = value.shape();
            let flat = value.inner().reshape([-1]); // [N]
            let flat = step.apply(flat, gradient.reshape([-1]), state);
            Tensor::from_inner(flat.reshape(shape)).require_grad()
        })
    }
}

/// Takes the saved state of each parameter.
struct StateReader<'a> {
    algorithm: &'a Algorithm,
    saved: &'a mut Tensors,
    states: BTreeMap<String, State>,
    problem: Option<String>,
    path: ModulePath,
}

impl ModuleVisitor for StateReader<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let name = self.path.name();
        let device: Device = param.lazy_device().inner();
        let parameter = Parameter {
            name: &name,
            size: param.lazy_shape().num_elements(),
            device: &device,
        };
        match State::restore(self.algorithm, &parameter, self.saved) {
            Ok(Some(state)) => {
                self.states.insert(name, state);
            }
            // A parameter that never had a gradient.
            Ok(None) => {}
            Err(problem) => {
                self.problem.get_or_insert(problem);
            }
        }
    }
}

#[cfg(test)]
mod tests;

//! The arithmetic of one step for one parameter, flattened to `[N]`.

use burn::tensor::{Device, Tensor, TensorData};
use rayon::prelude::*;

use super::Multipliers;
use crate::config::{OptimizerConfig, OptimizerKind};
use crate::device::is_host;
use crate::parameters::Tensors;

/// Elements that one task updates: small enough for the cache, large enough to be worth a task.
const CHUNK: usize = 16 * 1024;

/// The optimiser and its constants.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Algorithm {
    decay: f64,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Sgd { momentum: f64 },
    AdamW { beta1: f64, beta2: f64, eps: f64 },
}

/// What the optimiser remembers of one parameter.
#[derive(Debug, Clone, Default)]
pub(super) struct State {
    /// SGD: the velocity. AdamW: the first and the second moment. Each `[N]`, without autodiff.
    moments: Vec<Tensor<1>>,
    /// Steps so far.
    steps: i64,
}

/// The parameter that a state belongs to.
pub(super) struct Parameter<'a> {
    pub(super) name: &'a str,
    /// Its number of elements.
    pub(super) size: usize,
    /// Without autodiff.
    pub(super) device: &'a Device,
}

/// One step for one parameter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Step {
    lr: f64,
    decay: f64,
    kind: Kind,
}

impl Algorithm {
    pub(super) fn new(config: &OptimizerConfig) -> Self {
        let kind = match config.kind {
            OptimizerKind::Sgd => Kind::Sgd {
                momentum: config.momentum(),
            },
            OptimizerKind::Adamw => {
                let [beta1, beta2] = config.betas();
                let eps = config.eps();
                Kind::AdamW { beta1, beta2, eps }
            }
        };
        let decay = config.weight_decay;
        Self { decay, kind }
    }

    pub(super) fn step(&self, lr: f64, group: Multipliers) -> Step {
        Step {
            lr: lr * group.lr,
            decay: self.decay * group.decay,
            kind: self.kind,
        }
    }

    /// Names of the moments in a file.
    fn moments(&self) -> &'static [&'static str] {
        match self.kind {
            Kind::Sgd { .. } => &["velocity"],
            Kind::AdamW { .. } => &["first_moment", "second_moment"],
        }
    }
}

impl State {
    /// The state as named tensors.
    pub(super) fn save(&self, algorithm: &Algorithm, name: &str) -> Tensors {
        let named = algorithm.moments().iter().zip(&self.moments);
        let mut tensors: Tensors = named
            .map(|(moment, tensor)| (format!("{name}.{moment}"), tensor.to_data()))
            .collect();
        let steps = TensorData::new(vec![self.steps], [1]);
        tensors.insert(format!("{name}.steps"), steps);
        tensors
    }

    /// Takes the state of a parameter out of `saved`, if it is there.
    pub(super) fn restore(
        algorithm: &Algorithm,
        parameter: &Parameter<'_>,
        saved: &mut Tensors,
    ) -> Result<Option<Self>, String> {
        let Parameter { name, size, device } = *parameter;
        let Some(steps) = saved.remove(&format!("{name}.steps")) else {
            return Ok(None);
        };
        let steps = steps.iter::<i64>().next().unwrap_or(0);
        let mut moments = Vec::new();
        for moment in algorithm.moments() {
            let key = format!("{name}.{moment}");
            let data = saved.remove(&key).ok_or(format!("`{key}` is missing"))?;
            if data.num_elements() != size {
                let found = data.num_elements();
                return Err(format!(
                    "`{key}` has {found} elements, the parameter {size}"
                ));
            }
            moments.push(Tensor::from_data(data, device));
        }
        Ok(Some(Self { moments, steps }))
    }
}

impl Step {
    /// The parameter after the step.
    ///
    /// # Shapes
    ///
    /// `[N]` throughout, without autodiff.
    pub(super) fn apply(
        &self,
        param: Tensor<1>,
        gradient: Tensor<1>,
        state: &mut State,
    ) -> Tensor<1> {
        if state.moments.is_empty() {
            let count = match self.kind {
                Kind::Sgd { .. } => 1,
                Kind::AdamW { .. } => 2,
            };
            state.moments = vec![gradient.zeros_like(); count];
        }
        state.steps += 1;
        if is_host(&param.device()) {
            self.on_host(param, gradient, state)
        } else {
            self.on_device(param, gradient, state)
        }
    }

    fn on_device(&self, param: Tensor<1>, gradient: Tensor<1>, state: &mut State) -> Tensor<1> {
        match self.kind {
            Kind::Sgd { momentum } => {
                let decayed = gradient + param.clone() * self.decay;
                let velocity = state.moments.remove(0) * momentum + decayed;
                state.moments = vec![velocity.clone()];
                param - velocity * self.lr
            }
            Kind::AdamW { beta1, beta2, eps } => {
                let second = state.moments.remove(1);
                let first = state.moments.remove(0);
                let first = first * beta1 + gradient.clone() * (1.0 - beta1);
                let second = second * beta2 + gradient.square() * (1.0 - beta2);
                state.moments = vec![first.clone(), second.clone()];
                let (size, root) = bias_corrections(self.lr, beta1, beta2, state.steps);
                let denominator = second.sqrt() * root + eps;
                param * (1.0 - self.lr * self.decay) - first / denominator * size
            }
        }
    }

    /// The same in one pass over host memory, in parallel; [`is_host`] says what that gains.
    fn on_host(&self, param: Tensor<1>, gradient: Tensor<1>, state: &mut State) -> Tensor<1> {
        let device = param.device();
        let mut param = param.into_data();
        let gradient = gradient.into_data();
        let moments = std::mem::take(&mut state.moments);
        let mut moments: Vec<TensorData> = moments.into_iter().map(Tensor::into_data).collect();
        self.update(&mut param, &gradient, &mut moments, state.steps);
        let upload = |data| Tensor::from_data(data, &device);
        state.moments = moments.into_iter().map(upload).collect();
        upload(param)
    }

    fn update(
        &self,
        param: &mut TensorData,
        gradient: &TensorData,
        moments: &mut [TensorData],
        steps: i64,
    ) {
        let lr = self.lr as f32;
        let decay = self.decay as f32;
        let chunks = slice_mut(param)
            .par_chunks_mut(CHUNK)
            .zip(slice(gradient).par_chunks(CHUNK));
        match (self.kind, moments) {
            (Kind::Sgd { momentum }, [velocity]) => {
                let momentum = momentum as f32;
                let chunks = chunks.zip(slice_mut(velocity).par_chunks_mut(CHUNK));
                chunks.for_each(|((param, gradient), velocity)| {
                    for ((p, g), v) in param.iter_mut().zip(gradient).zip(velocity) {
                        *v = *v * momentum + (*g + *p * decay);
                        *p -= *v * lr;
                    }
                });
            }
            (Kind::AdamW { beta1, beta2, eps }, [first, second]) => {
                let (size, root) = bias_corrections(self.lr, beta1, beta2, steps);
                let [size, root, eps] = [size, root, eps].map(|x| x as f32);
                let keep = (1.0 - self.lr * self.decay) as f32;
                let [b1, c1] = [beta1, 1.0 - beta1].map(|x| x as f32);
                let [b2, c2] = [beta2, 1.0 - beta2].map(|x| x as f32);
                let chunks = chunks
                    .zip(slice_mut(first).par_chunks_mut(CHUNK))
                    .zip(slice_mut(second).par_chunks_mut(CHUNK));
                chunks.for_each(|(((param, gradient), first), second)| {
                    let moments = first.iter_mut().zip(second);
                    for ((p, g), (m, v)) in param.iter_mut().zip(gradient).zip(moments) {
                        *m = *m * b1 + *g * c1;
                        *v = *v * b2 + *g * *g * c2;
                        *p = *p * keep - *m / (v.sqrt() * root + eps) * size;
                    }
                });
            }
            (kind, moments) => unreachable!("{} moments for {kind:?}", moments.len()),
        }
    }
}

/// `lr / (1 - beta1^t)` and `1 / sqrt(1 - beta2^t)` (Kingma and Ba 2015, algorithm 1, as PyTorch
/// applies them).
fn bias_corrections(lr: f64, beta1: f64, beta2: f64, steps: i64) -> (f64, f64) {
    let steps = i32::try_from(steps).unwrap_or(i32::MAX);
    let first = 1.0 - beta1.powi(steps);
    let second = 1.0 - beta2.powi(steps);
    (lr / first, 1.0 / second.sqrt())
}

fn slice(data: &TensorData) -> &[f32] {
    data.as_slice().expect("parameters and gradients are f32")
}

fn slice_mut(data: &mut TensorData) -> &mut [f32] {
    data.as_mut_slice().expect("parameters are f32")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both ways of computing, three steps; they differ by the rounding of constants only.
    fn check(config: &OptimizerConfig) {
        let device = Device::flex();
        let values =
            |scale: f32| -> Vec<f32> { (0..50).map(|i| (i as f32).sin() * scale).collect() };
        let tensor = |scale| Tensor::<1>::from_floats(values(scale).as_slice(), &device);
        let group = Multipliers {
            lr: 2.0,
            decay: 0.5,
        };
        type Form = fn(&Step, Tensor<1>, Tensor<1>, &mut State) -> Tensor<1>;
        let run = |form: Form| {
            let step = Algorithm::new(config).step(0.1, group);
            let mut state = State {
                moments: vec![tensor(0.0); Algorithm::new(config).moments().len()],
                steps: 0,
            };
            let mut param = tensor(1.0);
            for i in 0..3 {
                state.steps += 1;
                let gradient = tensor(0.3 + i as f32);
                param = form(&step, param, gradient, &mut state);
            }
            param.into_data().try_into_vec::<f32>().unwrap()
        };
        for (host, device) in run(Step::on_host).into_iter().zip(run(Step::on_device)) {
            // A few units of f32's last place at values near 1.
            assert!((host - device).abs() < 1e-6, "{config:?}: {host} {device}");
        }
    }

    #[test]
    fn host_and_device_agree() {
        let sgd = OptimizerConfig::default();
        check(&sgd);
        check(&OptimizerConfig {
            kind: OptimizerKind::Adamw,
            weight_decay: 0.05,
            ..sgd
        });
    }
}

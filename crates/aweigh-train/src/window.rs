//! Losses between two lines of the log, summed on the device.

use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor, TensorData, Transaction};
use serde::{Deserialize, Serialize};

/// Sums of named scalars over the steps since the last line of the log.
///
/// Nothing is read back before a line is due, and a value that is not finite in any step is seen
/// in the sum.
#[derive(Debug, Default)]
pub(crate) struct Window {
    sums: Vec<(String, Tensor<1>)>,
    steps: usize,
    skipped: usize,
}

/// A window in host memory, for a checkpoint: a resumed run reports the same means.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WindowState {
    /// Sums in the order of the losses.
    pub sums: Vec<(String, f32)>,
    /// Steps summed up.
    pub steps: usize,
    /// How many of them were left out, whose `grad_norm` is 0.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub skipped: usize,
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}

impl Window {
    /// Adds the scalars of a step, each `[1]`; the names are the same in every step.
    pub(crate) fn add(&mut self, scalars: Vec<(String, Tensor<1>)>) {
        self.steps += 1;
        if self.sums.is_empty() {
            self.sums = scalars;
            return;
        }
        let sums = std::mem::take(&mut self.sums);
        let pairs = sums.into_iter().zip(scalars);
        self.sums = pairs.map(|((name, sum), (_, x))| (name, sum + x)).collect();
    }

    /// Counts the step that was added last as one that was left out.
    pub(crate) fn skip(&mut self) {
        self.skipped += 1;
    }

    /// Whether there was no step since the last line of the log.
    pub(crate) fn is_empty(&self) -> bool {
        self.steps == 0
    }

    /// Reads the sums back, all at once.
    pub(crate) fn read(&self) -> WindowState {
        let tensors = self.sums.iter();
        let transaction = tensors.fold(Transaction::default(), |transaction, (_, tensor)| {
            transaction.register(tensor.clone())
        });
        let values = if self.sums.is_empty() {
            Vec::new()
        } else {
            transaction.execute()
        };
        let scalar = |data: &TensorData| data.iter::<f32>().next().unwrap_or(f32::NAN);
        let names = self.sums.iter().map(|(name, _)| name.clone());
        WindowState {
            sums: names.zip(values.iter().map(scalar)).collect(),
            steps: self.steps,
            skipped: self.skipped,
        }
    }

    /// Continues from a saved window.
    pub(crate) fn restore(state: &WindowState, device: &Device) -> Self {
        let upload = |value| Tensor::from_floats([value], device);
        let sums = state.sums.iter();
        Self {
            sums: sums
                .map(|(name, value)| (name.clone(), upload(*value)))
                .collect(),
            steps: state.steps,
            skipped: state.skipped,
        }
    }
}

impl WindowState {
    /// Means over the steps of the window; of `grad_norm` over those that were not left out.
    pub fn means(&self) -> BTreeMap<String, f64> {
        let mean = |(name, sum): &(String, f32)| {
            let steps = match name.as_str() {
                "grad_norm" => self.steps - self.skipped,
                _ => self.steps,
            };
            (name.clone(), f64::from(*sum) / steps.max(1) as f64)
        };
        self.sums.iter().map(mean).collect()
    }

    /// The sums that are infinite or not a number, with their values.
    pub fn not_finite(&self) -> Vec<String> {
        let sums = self.sums.iter().filter(|(_, sum)| !sum.is_finite());
        sums.map(|(name, sum)| format!("{name} is {sum}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scalars(a: f32, b: f32) -> Vec<(String, Tensor<1>)> {
        let tensor = |x| Tensor::from_floats([x], &Device::flex());
        vec![("a".into(), tensor(a)), ("b".into(), tensor(b))]
    }

    #[test]
    fn means_cover_every_step_and_survive_a_checkpoint() {
        let mut window = Window::default();
        window.add(scalars(1.0, 4.0));
        let state = window.read();
        let json = serde_json::to_string(&state).unwrap();
        let state: WindowState = serde_json::from_str(&json).unwrap();
        let mut window = Window::restore(&state, &Device::flex());
        window.add(scalars(2.0, 6.0));
        let means = window.read().means();
        assert_eq!((means["a"], means["b"]), (1.5, 5.0));
        assert_eq!(Window::default().read(), WindowState::default());
    }

    #[test]
    fn a_step_that_is_left_out_has_losses_and_no_norm() {
        let mut window = Window::default();
        for norm in [4.0, 0.0, 8.0] {
            let mut scalars = scalars(3.0, 1.0);
            scalars.push((
                "grad_norm".into(),
                Tensor::from_floats([norm], &Device::flex()),
            ));
            window.add(scalars);
            if norm == 0.0 {
                window.skip();
            }
        }
        let state = window.read();
        let window = Window::restore(&state, &Device::flex());
        assert_eq!(window.read(), state);
        let means = state.means();
        assert_eq!((means["a"], means["grad_norm"]), (3.0, 6.0));
    }

    #[test]
    fn a_value_that_is_not_finite_stays_visible() {
        let mut window = Window::default();
        window.add(scalars(f32::NAN, 1.0));
        window.add(scalars(1.0, 1.0));
        assert_eq!(window.read().not_finite(), ["a is NaN"]);
    }
}

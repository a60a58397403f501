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
}

/// A window in host memory, for a checkpoint: a resumed run reports the same means.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WindowState {
    /// Sums in the order of the losses.
    pub sums: Vec<(String, f32)>,
    /// Steps summed up.
    pub steps: usize,
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
        }
    }
}

impl WindowState {
    /// Means over the steps of the window.
    pub fn means(&self) -> BTreeMap<String, f64> {
        let steps = self.steps.max(1) as f64;
        let sums = self.sums.iter();
        sums.map(|(name, sum)| (name.clone(), f64::from(*sum) / steps))
            .collect()
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
    fn a_value_that_is_not_finite_stays_visible() {
        let mut window = Window::default();
        window.add(scalars(f32::NAN, 1.0));
        window.add(scalars(1.0, 1.0));
        assert_eq!(window.read().not_finite(), ["a is NaN"]);
    }
}

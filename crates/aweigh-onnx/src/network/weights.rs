//! Weights of convolutions, batch norms folded into them.

use aweigh_backbone::{EPSILON, NormConfig};

use super::{Layer, Network};
use crate::OnnxError;
use crate::graph::Value;

/// Weight and bias of a convolution; the bias may be left out.
pub(super) struct Weights {
    pub(super) weight: Value,
    pub(super) bias: Value,
}

/// A normalisation as a map of each channel: `y = scale * x + shift`.
struct Folded {
    scale: Vec<f32>,
    shift: Vec<f32>,
}

impl Network {
    /// The parameter of this path as a constant of the graph.
    pub(crate) fn parameter(&mut self, path: &str, shape: &[usize]) -> Result<Value, OnnxError> {
        if let Some(known) = self.graph.constant(path) {
            return Ok(known);
        }
        let values = &self.parameters.get(path, shape)?.values;
        Ok(self.graph.tensor(path, shape, values))
    }

    /// The weights of a layer; a batch norm is folded into them, once for all levels:
    /// `scale * (w * x + b) + shift = (scale w) * x + (scale b + shift)`.
    pub(super) fn weights(&mut self, layer: &Layer<'_>) -> Result<Weights, OnnxError> {
        let path = &layer.path;
        let [input, output] = layer.conv.channels;
        let [height, width] = layer.conv.kernel;
        let shape = [output, input / layer.conv.groups, height, width];
        let [weight, bias] = ["weight", "bias"].map(|name| format!("{path}.{name}"));
        let norm = match &layer.norm {
            Some((NormConfig::FrozenBn { .. } | NormConfig::BatchNorm, path)) => path,
            Some((NormConfig::GroupNorm { .. }, _)) | None => {
                return Ok(Weights {
                    weight: self.parameter(&weight, &shape)?,
                    bias: self.optional(&bias, &[output])?,
                });
            }
        };
        if let Some(known) = self.graph.constant(&weight) {
            let bias = self.graph.constant(&bias).unwrap_or_else(Value::none);
            return Ok(Weights {
                weight: known,
                bias,
            });
        }
        let folded = self.fold(norm, output)?;
        self.folded.push(norm.clone());
        let values = self.parameters.get(&weight, &shape)?.values.iter();
        let of_output = shape[1..].iter().product::<usize>();
        let scaled = values
            .enumerate()
            .map(|(i, w)| w * folded.scale[i / of_output]);
        let scaled: Vec<f32> = scaled.collect();
        let shift = self.shift(&bias, folded)?;
        Ok(Weights {
            weight: self.graph.tensor(&weight, &shape, &scaled),
            bias: self.graph.tensor(&bias, &[output], &shift),
        })
    }

    /// The parameter of this path, left out where the detector has none.
    pub(super) fn optional(&mut self, path: &str, shape: &[usize]) -> Result<Value, OnnxError> {
        if self.parameters.has(path) {
            self.parameter(path, shape)
        } else {
            Ok(Value::none())
        }
    }

    /// `scale = weight / sqrt(running_var + eps)`, `shift = bias - running_mean * scale`, in the
    /// order in which the detector computes them.
    fn fold(&self, norm: &str, channels: usize) -> Result<Folded, OnnxError> {
        let read = |name: &str| {
            let parameter = self
                .parameters
                .get(&format!("{norm}.{name}"), &[channels])?;
            Ok::<_, OnnxError>(&parameter.values)
        };
        let (weight, bias) = (read("weight")?, read("bias")?);
        let (mean, variance) = (read("running_mean")?, read("running_var")?);
        let inverse = variance.iter().map(|v| (v + EPSILON as f32).sqrt().recip());
        let scale: Vec<f32> = weight.iter().zip(inverse).map(|(w, i)| w * i).collect();
        let shift = bias.iter().zip(mean).zip(&scale);
        let shift = shift.map(|((b, m), s)| b - s * m).collect();
        Ok(Folded { scale, shift })
    }

    /// The bias of a convolution with a norm folded into it.
    fn shift(&self, bias: &str, Folded { scale, shift }: Folded) -> Result<Vec<f32>, OnnxError> {
        if !self.parameters.has(bias) {
            return Ok(shift);
        }
        let bias = &self.parameters.get(bias, &[shift.len()])?.values;
        let shifted = bias.iter().zip(&scale).zip(&shift);
        Ok(shifted
            .map(|((b, scale), shift)| b * scale + shift)
            .collect())
    }
}

//! The layers of a detector: backbone, neck and what towers are made of.

mod backbone;
mod deform;
mod fpn;
mod weights;

use aweigh_backbone::{Activation, ConvModuleConfig, ConvolutionConfig, EPSILON, NormConfig};
use aweigh_heads::TowerConfig;

use crate::OnnxError;
use crate::graph::{Graph, Value, Window};
use crate::options::DeformConv;
use crate::parameters::Parameters;

pub(crate) use deform::Deformable;
pub(crate) use fpn::Pyramid;

/// Writes the layers of a detector into a graph.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) graph: Graph,
    pub(crate) parameters: Parameters,
    deform_conv: DeformConv,
    /// Paths of the batch norms that are folded into their convolutions.
    pub(crate) folded: Vec<String>,
    /// Number of deformable convolutions.
    pub(crate) deformable: usize,
    /// Number of group norms, those of a head once for each level.
    pub(crate) group_norms: usize,
}

/// A convolution and what follows it, by module path.
struct Layer<'a> {
    conv: &'a ConvolutionConfig,
    path: String,
    norm: Option<(&'a NormConfig, String)>,
    activation: Activation,
}

impl Network {
    pub(crate) fn new(parameters: Parameters, deform_conv: DeformConv) -> Self {
        Self {
            graph: Graph::default(),
            parameters,
            deform_conv,
            folded: Vec::new(),
            deformable: 0,
            group_norms: 0,
        }
    }

    /// `activation(norm(conv(x)))`, as [`aweigh_backbone::conv_norm`].
    fn layer(&mut self, x: &Value, layer: &Layer<'_>) -> Result<Value, OnnxError> {
        let weights = self.weights(layer)?;
        let y = self.convolution(x, layer, &weights)?;
        let y = match &layer.norm {
            Some((NormConfig::GroupNorm { groups }, path)) => {
                self.group_norm(&y, path, layer.conv.channels[1], *groups)?
            }
            // Folded into the weights.
            Some((NormConfig::FrozenBn { .. } | NormConfig::BatchNorm, _)) | None => y,
        };
        Ok(self.activate(y, layer.activation))
    }

    fn group_norm(
        &mut self,
        x: &Value,
        path: &str,
        channels: usize,
        groups: usize,
    ) -> Result<Value, OnnxError> {
        let scale = self.parameter(&format!("{path}.weight"), &[channels])?;
        let shift = self.parameter(&format!("{path}.bias"), &[channels])?;
        self.group_norms += 1;
        let norm = self
            .graph
            .group_norm(x, [&scale, &shift], groups, EPSILON as f32);
        Ok(norm)
    }

    fn activate(&mut self, x: Value, activation: Activation) -> Value {
        match activation {
            Activation::Relu => self.relu(&x),
            Activation::Relu6 => self.graph.clip(&x, Some(0.0), Some(6.0)),
            Activation::None => x,
        }
    }

    /// `max(x, 0)`.
    pub(crate) fn relu(&mut self, x: &Value) -> Value {
        self.graph.unary("Relu", x)
    }

    /// A module of convolution, normalisation and activation.
    pub(crate) fn conv_module(
        &mut self,
        x: &Value,
        config: &ConvModuleConfig,
        path: &str,
    ) -> Result<Value, OnnxError> {
        let norm = config.norm.as_ref();
        let layer = Layer {
            conv: &config.conv(),
            path: format!("{path}.conv"),
            norm: norm.map(|norm| (norm, format!("{path}.{}", norm.field()))),
            activation: config.activation,
        };
        self.layer(x, &layer)
    }

    /// The convolutions of a tower.
    pub(crate) fn tower(
        &mut self,
        x: &Value,
        config: &TowerConfig,
        path: &str,
    ) -> Result<Value, OnnxError> {
        let mut convs = config.convs().enumerate();
        convs.try_fold(x.clone(), |x, (i, conv)| {
            self.conv_module(&x, &conv, &format!("{path}.{i}"))
        })
    }

    /// A convolution with bias that keeps the size of its map, such as those that make predictions;
    /// `channels` in and out.
    pub(crate) fn predict(
        &mut self,
        x: &Value,
        path: &str,
        channels: [usize; 2],
        kernel: [usize; 2],
    ) -> Result<Value, OnnxError> {
        let [input, output] = channels;
        let shape = [output, input, kernel[0], kernel[1]];
        let weight = self.parameter(&format!("{path}.weight"), &shape)?;
        let bias = self.optional(&format!("{path}.bias"), &[output])?;
        let window = Window::same(kernel);
        Ok(self.graph.conv(x, [&weight, &bias], &window))
    }
}

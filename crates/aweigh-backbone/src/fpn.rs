//! Feature pyramid network (Lin et al., 2017; mmdetection 3.x `fpn.py`).

use aweigh_conv::{MaxPool, max_pool2d, relu, upsample_add};
use burn::module::{Initializer, Module};
use burn::tensor::ops::{InterpolateMode, InterpolateOptions};
use burn::tensor::{Device, Tensor, module::interpolate};
use serde::{Deserialize, Serialize};

use crate::config::need;
use crate::{
    Activation, ConfigError, ConvModule, ConvModuleConfig, FeatureSpec, LayerInfo, NormConfig,
};

/// Where the levels above the backbone's last map come from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExtraLevels {
    /// Every second value of the level below, without parameters.
    None,
    /// Convolutions of stride 2, the first on the backbone's last map.
    OnInput,
    /// Convolutions of stride 2, the first on the last lateral map.
    OnLateral,
    /// Convolutions of stride 2, the first on the last output.
    #[default]
    OnOutput,
}

/// How the path from the top makes maps larger.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Upsampling {
    /// The value of the nearest point.
    #[default]
    Nearest,
    /// Bilinear between pixel centres.
    Bilinear,
}

/// Options of a [`Fpn`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FpnConfig {
    /// Channels of every output.
    pub out_channels: usize,
    /// First map that is used, counted from 0.
    pub start_level: usize,
    /// Last map that is used; by default the backbone's last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_level: Option<usize>,
    /// Number of outputs.
    pub num_outs: usize,
    /// Where the levels above the last map come from.
    pub add_extra_convs: ExtraLevels,
    /// Whether a ReLU precedes every extra convolution but the first.
    pub relu_before_extra_convs: bool,
    /// Normalisation after every convolution.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub norm: Option<NormConfig>,
    /// Whether lateral convolutions go without it.
    pub no_norm_on_lateral: bool,
    /// How the path from the top makes maps larger.
    pub upsampling: Upsampling,
}

impl Default for FpnConfig {
    /// P3 to P7 with P6 on P5: what FCOS uses.
    fn default() -> Self {
        Self {
            out_channels: 256,
            start_level: 1,
            end_level: None,
            num_outs: 5,
            add_extra_convs: ExtraLevels::default(),
            relu_before_extra_convs: false,
            norm: None,
            no_norm_on_lateral: false,
            upsampling: Upsampling::default(),
        }
    }
}

/// A pyramid of maps of equal width.
///
/// Should be created using [`FpnConfig`].
#[derive(Module, Debug)]
pub struct Fpn {
    lateral_convs: Vec<ConvModule>,
    fpn_convs: Vec<ConvModule>,
    #[module(skip)]
    config: FpnConfig,
}

/// The convolutions of a pyramid, before any of them exists.
#[derive(Debug, Clone)]
pub struct FpnPlan {
    /// `lateral_convs`: one for each map that is used, finest first.
    pub lateral: Vec<ConvModuleConfig>,
    /// `fpn_convs`: one for each map that is used, then those of the extra levels.
    pub outputs: Vec<ConvModuleConfig>,
}

impl FpnConfig {
    /// Checks every value against the maps it is used on.
    ///
    /// # Errors
    ///
    /// Names the first key whose value does not fit.
    pub fn check(&self, inputs: &[FeatureSpec]) -> Result<(), ConfigError> {
        let maps = inputs.len();
        need(self.out_channels > 0, "out_channels", || {
            "is 0, expected at least 1".to_owned()
        })?;
        let end = self.end(maps);
        need(end <= maps, "end_level", || {
            format!("is {}, the backbone has {maps} maps", end - 1)
        })?;
        need(self.start_level < end, "start_level", || {
            format!("is {}, expected less than {end}", self.start_level)
        })?;
        let used = end - self.start_level;
        let outs = self.num_outs;
        need(outs >= used, "num_outs", || {
            format!("is {outs}, expected at least {used}, one for each map that is used")
        })?;
        // Levels above a map that is not the last would not double its stride.
        need(outs == used || end == maps, "num_outs", || {
            format!("is {outs}, expected {used} with an `end_level` below the last map")
        })?;
        match &self.norm {
            Some(norm) => norm.check(self.out_channels),
            None => Ok(()),
        }
    }

    /// Channels and stride of every output.
    ///
    /// # Panics
    ///
    /// When [`check`](Self::check) fails.
    pub fn features(&self, inputs: &[FeatureSpec]) -> Vec<FeatureSpec> {
        let used = &inputs[self.start_level..self.end(inputs.len())];
        let mut strides: Vec<usize> = used.iter().map(|input| input.stride).collect();
        while strides.len() < self.num_outs {
            strides.push(2 * strides[strides.len() - 1]);
        }
        let channels = self.out_channels;
        let spec = |stride| FeatureSpec { channels, stride };
        strides.into_iter().map(spec).collect()
    }

    /// Height and width of every output for maps of `[height, width]`.
    ///
    /// # Panics
    ///
    /// When [`check`](Self::check) fails.
    pub fn sizes(&self, inputs: &[[usize; 2]]) -> Vec<[usize; 2]> {
        let mut sizes = inputs[self.start_level..self.end(inputs.len())].to_vec();
        while sizes.len() < self.num_outs {
            sizes.push(sizes[sizes.len() - 1].map(|size| (size - 1) / 2 + 1));
        }
        sizes
    }

    /// Every layer with its cost, for maps of `[height, width]`.
    ///
    /// # Panics
    ///
    /// When [`check`](Self::check) fails.
    pub fn layers(&self, inputs: &[FeatureSpec], sizes: &[[usize; 2]]) -> Vec<LayerInfo> {
        let FpnPlan { lateral, outputs } = self.plan(inputs);
        let used = lateral.len();
        let sizes = self.sizes(sizes);
        let lateral = lateral.iter().zip(&sizes).enumerate();
        let mut layers: Vec<LayerInfo> = lateral
            .flat_map(|(i, (conv, size))| conv.layers(&format!("lateral_convs.{i}"), *size))
            .collect();
        for (i, size) in sizes.iter().enumerate() {
            match outputs.get(i) {
                // An extra level reads the level below it.
                Some(conv) if i >= used => {
                    layers.extend(conv.layers(&format!("fpn_convs.{i}"), sizes[i - 1]));
                }
                Some(conv) => layers.extend(conv.layers(&format!("fpn_convs.{i}"), *size)),
                None => {
                    let map = [self.out_channels, size[0], size[1]];
                    layers.push(LayerInfo::pool(format!("extra_pool.{i}"), map));
                }
            }
        }
        layers
    }

    /// Builds the pyramid with fresh weights: Xavier-uniform, bias 0.
    ///
    /// # Panics
    ///
    /// When [`check`](Self::check) fails.
    pub fn init(&self, inputs: &[FeatureSpec], device: &Device) -> Fpn {
        if let Err(error) = self.check(inputs) {
            panic!("{error}");
        }
        let FpnPlan { lateral, outputs } = self.plan(inputs);
        let build = |convs: &[ConvModuleConfig]| convs.iter().map(|c| c.init(device)).collect();
        Fpn {
            lateral_convs: build(&lateral),
            fpn_convs: build(&outputs),
            config: self.clone(),
        }
    }

    /// The convolutions for the maps of a backbone.
    ///
    /// # Panics
    ///
    /// When [`check`](Self::check) fails.
    pub fn plan(&self, inputs: &[FeatureSpec]) -> FpnPlan {
        let used = &inputs[self.start_level..self.end(inputs.len())];
        let width = self.out_channels;
        let conv = |input: usize, kernel: usize| {
            ConvModuleConfig::new([input, width], [kernel; 2])
                .with_norm(self.norm.clone())
                .with_activation(Activation::None)
                .with_initializer(Initializer::XavierUniform { gain: 1.0 })
        };
        let lateral = |input: &FeatureSpec| {
            let lateral = conv(input.channels, 1);
            if self.no_norm_on_lateral {
                lateral.with_norm(None)
            } else {
                lateral
            }
        };
        let extra = match self.add_extra_convs {
            ExtraLevels::None => 0,
            _ => self.num_outs - used.len(),
        };
        let extra = (0..extra).map(|i| {
            let input = match (self.add_extra_convs, i) {
                (ExtraLevels::OnInput, 0) => used[used.len() - 1].channels,
                _ => width,
            };
            conv(input, 3).with_stride(2)
        });
        FpnPlan {
            lateral: used.iter().map(lateral).collect(),
            outputs: used.iter().map(|_| conv(width, 3)).chain(extra).collect(),
        }
    }

    /// One more than the last map that is used.
    fn end(&self, maps: usize) -> usize {
        self.end_level.map_or(maps, |last| last + 1)
    }
}

impl Fpn {
    /// The pyramid of a backbone's maps.
    ///
    /// # Shapes
    ///
    /// - `inputs`: every map of the backbone, `[B, C_i, H_i, W_i]`, finest first
    /// - outputs: `[B, out_channels, H_l, W_l]`, finest first
    pub fn forward(&self, inputs: Vec<Tensor<4>>) -> Vec<Tensor<4>> {
        let start = self.config.start_level;
        let used = self.lateral_convs.len();
        let last_input = inputs[start + used - 1].clone();
        let mut laterals: Vec<Tensor<4>> = inputs
            .into_iter()
            .skip(start)
            .zip(&self.lateral_convs)
            .map(|(input, conv)| conv.forward(input))
            .collect();
        for i in (1..used).rev() {
            laterals[i - 1] = self.add(laterals[i - 1].clone(), laterals[i].clone());
        }
        let last_lateral = laterals[used - 1].clone();
        let levels = laterals.into_iter().zip(&self.fpn_convs);
        let mut outputs: Vec<_> = levels.map(|(x, conv)| conv.forward(x)).collect();
        let source = match self.config.add_extra_convs {
            ExtraLevels::OnInput => last_input,
            ExtraLevels::OnLateral => last_lateral,
            ExtraLevels::None | ExtraLevels::OnOutput => outputs[used - 1].clone(),
        };
        self.extend(&mut outputs, source);
        outputs
    }

    /// Adds the levels above the backbone's last map.
    fn extend(&self, outputs: &mut Vec<Tensor<4>>, source: Tensor<4>) {
        let mut source = source;
        let first = outputs.len();
        for i in first..self.config.num_outs {
            let level = match self.fpn_convs.get(i) {
                Some(conv) if i > first && self.config.relu_before_extra_convs => {
                    conv.forward(relu(source))
                }
                Some(conv) => conv.forward(source),
                None => max_pool2d(
                    source,
                    MaxPool {
                        kernel: [1, 1],
                        stride: [2, 2],
                        padding: [0, 0],
                    },
                ),
            };
            source = level.clone();
            outputs.push(level);
        }
    }

    /// A map and the level above it, made as large.
    fn add(&self, fine: Tensor<4>, coarse: Tensor<4>) -> Tensor<4> {
        match self.config.upsampling {
            Upsampling::Nearest => upsample_add(fine, coarse),
            Upsampling::Bilinear => {
                let [_, _, height, width] = fine.dims();
                let options = InterpolateOptions::new(InterpolateMode::Bilinear)
                    .with_align_corners(false)
                    .with_output_size([height, width]);
                fine + interpolate(coarse, options)
            }
        }
    }
}

#[cfg(test)]
mod tests;

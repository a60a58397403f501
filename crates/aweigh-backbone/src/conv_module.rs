//! A convolution with optional normalisation and activation.

use aweigh_conv::{Activation, Maps};
use burn::module::{Initializer, Module};
use burn::tensor::Device;

use crate::convolution::ConvolutionConfig;
use crate::{Convolution, Deformation, LayerInfo, Norm, NormConfig, conv_norm};

/// Whether a convolution has a bias.
///
/// Made from a configuration's optional boolean, where absent means [`Auto`](Self::Auto).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ConvBias {
    /// A bias unless a normalisation follows.
    #[default]
    Auto,
    /// Always a bias.
    On,
    /// Never a bias.
    Off,
}

impl From<Option<bool>> for ConvBias {
    fn from(given: Option<bool>) -> Self {
        match given {
            None => Self::Auto,
            Some(true) => Self::On,
            Some(false) => Self::Off,
        }
    }
}

/// Options of a [`ConvModule`].
#[derive(Debug, Clone)]
pub struct ConvModuleConfig {
    /// Channels in and out.
    pub channels: [usize; 2],
    /// Height and width of the kernel, both odd.
    pub kernel: [usize; 2],
    /// Step of the kernel; at 1 the map keeps its size.
    pub stride: usize,
    /// Normalisation after the convolution.
    pub norm: Option<NormConfig>,
    /// Whether the convolution has a bias.
    pub bias: ConvBias,
    /// How its taps move, if they do.
    pub deformation: Option<Deformation>,
    /// Activation at the end.
    pub activation: Activation,
    /// Start of the convolution's weight; its bias starts at 0.
    pub initializer: Initializer,
}

/// `activation(norm(conv(x)))`, with the parameter names of mmcv's `ConvModule`.
#[derive(Module, Debug)]
pub struct ConvModule {
    /// The convolution.
    pub conv: Convolution,
    /// Its batch norm.
    pub bn: Option<Norm>,
    /// Its group norm.
    pub gn: Option<Norm>,
    #[module(skip)]
    activation: Activation,
}

/// Normal with variance `2 / fan_out`, for layers that end in a ReLU (He et al., 2015).
pub(crate) fn kaiming_fan_out() -> Initializer {
    Initializer::KaimingNormal {
        gain: std::f64::consts::SQRT_2,
        fan_out_only: true,
    }
}

impl ConvModuleConfig {
    /// A convolution that keeps the map's size, with bias and ReLU, without normalisation.
    pub fn new(channels: [usize; 2], kernel: [usize; 2]) -> Self {
        Self {
            channels,
            kernel,
            stride: 1,
            norm: None,
            bias: ConvBias::Auto,
            deformation: None,
            activation: Activation::Relu,
            initializer: kaiming_fan_out(),
        }
    }

    /// Sets the step of the kernel.
    pub fn with_stride(mut self, stride: usize) -> Self {
        self.stride = stride;
        self
    }

    /// Sets the normalisation.
    pub fn with_norm(mut self, norm: Option<NormConfig>) -> Self {
        self.norm = norm;
        self
    }

    /// Sets whether there is a bias.
    pub fn with_conv_bias(mut self, bias: impl Into<ConvBias>) -> Self {
        self.bias = bias.into();
        self
    }

    /// Sets how the taps move.
    pub fn with_deformation(mut self, deformation: Option<Deformation>) -> Self {
        self.deformation = deformation;
        self
    }

    /// Sets the activation.
    pub fn with_activation(mut self, activation: Activation) -> Self {
        self.activation = activation;
        self
    }

    /// Sets the start of the convolution's weight.
    pub fn with_initializer(mut self, initializer: Initializer) -> Self {
        self.initializer = initializer;
        self
    }

    /// Builds the module.
    ///
    /// # Panics
    ///
    /// When the normalisation does not fit the channels.
    pub fn init(&self, device: &Device) -> ConvModule {
        let [_, channels] = self.channels;
        let conv = self.conv().init(device);
        let norm = self.norm.as_ref().map(|norm| norm.init(channels, device));
        let (gn, bn) = match self.norm {
            Some(NormConfig::GroupNorm { .. }) => (norm, None),
            _ => (None, norm),
        };
        let activation = self.activation;
        ConvModule {
            conv,
            bn,
            gn,
            activation,
        }
    }

    /// Its layers for a map of `[height, width]`, under the module path `name`.
    pub fn layers(&self, name: &str, input: [usize; 2]) -> Vec<LayerInfo> {
        let mut layers = self.conv().layers(&format!("{name}.conv"), input);
        if let Some(norm) = &self.norm {
            let (name, map) = (format!("{name}.{}", norm.field()), layers[0].output);
            layers.push(LayerInfo::norm(name, map, norm.affine()));
        }
        layers
    }

    /// Its convolution, without the normalisation and the activation.
    pub fn conv(&self) -> ConvolutionConfig {
        let bias = match self.bias {
            ConvBias::Auto => self.norm.is_none(),
            ConvBias::On => true,
            ConvBias::Off => false,
        };
        ConvolutionConfig::new(self.channels, self.kernel, self.initializer.clone())
            .with_stride(self.stride)
            .with_bias(bias)
            .with_deformation(self.deformation)
    }
}

impl NormConfig {
    /// Name of the field of a [`ConvModule`] that holds the normalisation.
    pub fn field(&self) -> &'static str {
        match self {
            Self::GroupNorm { .. } => "gn",
            Self::FrozenBn { .. } | Self::BatchNorm => "bn",
        }
    }
}

impl ConvModule {
    /// Applies convolution, normalisation and activation.
    ///
    /// # Shapes
    ///
    /// Every map is `[B, C_in, H, W]`, its result `[B, C_out, H', W']`.
    pub fn forward<M: Maps>(&self, x: M) -> M {
        match self.norm() {
            Some(norm) => conv_norm(&self.conv, norm, x, self.activation),
            None => self.conv.forward(x, self.activation),
        }
    }

    fn norm(&self) -> Option<&Norm> {
        self.gn.as_ref().or(self.bn.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DcnKind;
    use aweigh_testkit::device;
    use burn::store::ModuleSnapshot;
    use burn::tensor::Tensor;

    /// Names of the parameters, which the layers must count.
    fn check(config: &ConvModuleConfig, expected: &[&str]) {
        let tensors = config.init(&device()).collect(None, None, true).into_iter();
        let params = tensors.filter(|t| !t.name.contains("running_"));
        let (names, sizes): (Vec<String>, Vec<usize>) =
            params.map(|t| (t.name, t.shape.num_elements())).unzip();
        assert_eq!(names, expected);
        let layers = config.layers("x", [8, 8]);
        let counted: usize = layers.iter().map(|layer| layer.params).sum();
        assert_eq!(counted, sizes.iter().sum::<usize>(), "{config:?}");
    }

    #[test]
    fn parameters_have_the_names_of_mmcv() {
        let plain = ConvModuleConfig::new([4, 8], [3, 3]);
        let group = plain
            .clone()
            .with_norm(Some(NormConfig::GroupNorm { groups: 4 }));
        let batch = plain.clone().with_norm(Some(NormConfig::BatchNorm));
        check(&plain, &["conv.weight", "conv.bias"]);
        check(&plain.with_conv_bias(Some(false)), &["conv.weight"]);
        check(&batch, &["conv.weight", "bn.weight", "bn.bias"]);
        check(&group, &["conv.weight", "gn.weight", "gn.bias"]);
        let biased = group.with_conv_bias(ConvBias::On);
        check(
            &biased,
            &["conv.weight", "conv.bias", "gn.weight", "gn.bias"],
        );
    }

    #[test]
    fn taps_that_move_have_parameters_of_their_own() {
        let plain = ConvModuleConfig::new([4, 8], [3, 3]);
        let names = [
            "conv.weight",
            "conv.bias",
            "conv.conv_offset.weight",
            "conv.conv_offset.bias",
        ];
        for kind in [DcnKind::V1, DcnKind::V2] {
            let deformation = Some(Deformation { kind, groups: 2 });
            check(&plain.clone().with_deformation(deformation), &names);
        }
    }

    #[test]
    fn stride_halves_the_map_rounding_up() {
        let conv = ConvModuleConfig::new([4, 8], [3, 3]).with_stride(2);
        let y = conv
            .init(&device())
            .forward(Tensor::ones([1, 4, 7, 5], &device()));
        let layer = &conv.layers("x", [7, 5])[0];
        assert_eq!((y.dims(), layer.output), ([1, 8, 4, 3], [8, 4, 3]));
        assert_eq!(layer.macs, 4 * 8 * 9 * 4 * 3);
    }

    #[test]
    fn activation_is_last() {
        let relu = ConvModuleConfig::new([1, 1], [1, 1])
            .with_initializer(Initializer::Constant { value: -1.0 });
        let none = relu.clone().with_activation(Activation::None);
        let run = |config: ConvModuleConfig| {
            let y = config
                .init(&device())
                .forward(Tensor::ones([1, 1, 1, 1], &device()));
            y.into_scalar::<f32>()
        };
        assert_eq!((run(relu), run(none)), (0.0, -1.0));
    }
}

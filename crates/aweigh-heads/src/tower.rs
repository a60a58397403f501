//! The stack of convolutions before a prediction.

use aweigh_backbone::{
    ConvBias, ConvModule, ConvModuleConfig, DcnKind, Deformation, LayerInfo, NormConfig,
};
use aweigh_conv::{Activation, Levels, Maps, convolve, widen};
use burn::nn::Initializer;
use burn::nn::conv::Conv2d;
use burn::tensor::{Device, Tensor};

use crate::init::WEIGHT_STD;

/// A tower of 3x3 convolutions with normalisation and ReLU, all of one width.
#[derive(Debug, Clone, PartialEq)]
pub struct TowerConfig {
    /// Channels of the pyramid.
    pub in_channels: usize,
    /// Channels of every convolution of the tower.
    pub feat_channels: usize,
    /// Number of convolutions; zero makes the tower the identity.
    pub stacked_convs: usize,
    /// Normalisation after each convolution.
    pub norm: Option<NormConfig>,
    /// Whether the convolutions have a bias.
    pub conv_bias: ConvBias,
    /// Version of deformable convolution that the last convolution is, if it is one
    /// (mmdetection's `dcn_on_last_conv`, version 2).
    pub last_dcn: Option<DcnKind>,
}

/// The convolutions of a tower, `cls_convs` or `reg_convs` in the reference state dicts.
pub type Tower = Vec<ConvModule>;

impl TowerConfig {
    /// Channels after the tower.
    pub fn out_channels(&self) -> usize {
        match self.stacked_convs {
            0 => self.in_channels,
            _ => self.feat_channels,
        }
    }

    /// Weights from N(0, 0.01), zero bias, no displacement.
    pub fn init(&self, device: &Device) -> Tower {
        self.convs().map(|conv| conv.init(device)).collect()
    }

    /// The layers of the tower for a map of `[height, width]`, under the module path `name`.
    pub(crate) fn layers(&self, name: &str, size: [usize; 2]) -> Vec<LayerInfo> {
        self.convs()
            .enumerate()
            .flat_map(|(i, conv)| conv.layers(&format!("{name}.{i}"), size))
            .collect()
    }

    /// Its convolutions, in order.
    pub fn convs(&self) -> impl Iterator<Item = ConvModuleConfig> {
        (0..self.stacked_convs).map(|i| {
            let input = match i {
                0 => self.in_channels,
                _ => self.feat_channels,
            };
            ConvModuleConfig::new([input, self.feat_channels], [3, 3])
                .with_norm(self.norm.clone())
                .with_conv_bias(self.conv_bias)
                .with_deformation(self.deformation(i))
                .with_initializer(Initializer::Normal {
                    mean: 0.0,
                    std: WEIGHT_STD,
                })
        })
    }

    /// How the taps of convolution `i` move.
    fn deformation(&self, i: usize) -> Option<Deformation> {
        let kind = self.last_dcn.filter(|_| i + 1 == self.stacked_convs)?;
        Some(Deformation { kind, groups: 1 })
    }
}

/// Runs `x` through the tower.
pub(crate) fn forward<M: Maps>(tower: &[ConvModule], x: M) -> M {
    tower.iter().fold(x, |x, conv| conv.forward(x))
}

/// The maps that a convolution predicts on every level, in `f32` or wider: what follows are
/// exponentials, coordinates and losses.
pub(crate) fn predict(conv: &Conv2d, x: Levels) -> Vec<Tensor<4>> {
    let maps = convolve(conv, x, Activation::None).into_maps();
    maps.into_iter().map(widen).collect()
}

/// [`predict`] for one map.
pub(crate) fn predict_map(conv: &Conv2d, x: Tensor<4>) -> Tensor<4> {
    widen(convolve(conv, x, Activation::None))
}

/// Adds up the same layers run on several levels: parameters count once, multiply-adds for every
/// level; the output shown is that of the first level.
pub(crate) fn shared(levels: impl Iterator<Item = Vec<LayerInfo>>) -> Vec<LayerInfo> {
    levels
        .reduce(|mut sum, level| {
            for (layer, other) in sum.iter_mut().zip(level) {
                layer.macs += other.macs;
            }
            sum
        })
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use aweigh_backbone::Convolution;
    use aweigh_testkit::{device, module};
    use burn::module::{Module, Param};
    use burn::tensor::Int;

    fn config(last_dcn: Option<DcnKind>) -> TowerConfig {
        TowerConfig {
            in_channels: 6,
            feat_channels: 4,
            stacked_convs: 2,
            norm: Some(NormConfig::GroupNorm { groups: 2 }),
            conv_bias: ConvBias::On,
            last_dcn,
        }
    }

    /// A map of varying values.
    fn map(shape: [usize; 4], device: &Device) -> Tensor<4> {
        let count = shape.iter().product::<usize>() as i64;
        let values = Tensor::<1, Int>::arange(0..count, device).float();
        (values * 12.9898).sin().reshape(shape)
    }

    #[test]
    fn the_last_convolution_has_the_names_of_the_reference() {
        let named = |last_dcn| {
            let tower = config(last_dcn).init(&device());
            let names = module::parameters(&tower).into_keys();
            names.collect::<Vec<_>>()
        };
        let plain = named(None);
        for last_dcn in [DcnKind::V1, DcnKind::V2] {
            let mut expected = plain.clone();
            expected.push("1.conv.conv_offset.bias".to_owned());
            expected.push("1.conv.conv_offset.weight".to_owned());
            expected.sort();
            assert_eq!(named(Some(last_dcn)), expected);
        }
    }

    #[test]
    fn the_layer_table_counts_the_parameters_of_the_module() {
        for last_dcn in [None, Some(DcnKind::V1), Some(DcnKind::V2)] {
            let config = config(last_dcn);
            let layers = config.layers("cls_convs", [8, 8]);
            let params: usize = layers.iter().map(|layer| layer.params).sum();
            assert_eq!(params, config.init(&device()).num_params(), "{last_dcn:?}");
        }
    }

    /// A fresh deformable convolution over its plain one, on the same weights, before the norm.
    fn check_start(kind: DcnKind, factor: f32) {
        let device = device();
        let shape = ConvModuleConfig::new([6, 4], [3, 3]);
        let plain = shape.init(&device).conv;
        let deformation = Some(Deformation { kind, groups: 1 });
        let moving = shape.with_deformation(deformation).init(&device).conv;
        let x = map([2, 6, 7, 5], &device);
        let expected = plain.forward(x.clone(), Activation::None) * factor;
        let got = match moving {
            Convolution::Plain(_) => panic!("{kind:?}: a plain convolution"),
            Convolution::Deformable(mut conv) => {
                conv.weight = plain.weight().clone();
                conv.forward(x)
            }
            Convolution::Modulated(mut conv) => {
                conv.weight = plain.weight().clone();
                conv.forward(x)
            }
        };
        let error: f32 = (got - expected).abs().max().into_scalar();
        // Sums of 54 products of about 0.1, in another order.
        assert!(error < 2e-6, "{kind:?}: {error}");
    }

    #[test]
    fn a_fresh_tower_samples_the_grid() {
        check_start(DcnKind::V1, 1.0);
        // Every mask starts at sigmoid(0).
        check_start(DcnKind::V2, 0.5);
    }

    #[test]
    fn every_parameter_of_the_tower_has_a_gradient() {
        let device = device().autodiff();
        for last_dcn in [None, Some(DcnKind::V1), Some(DcnKind::V2)] {
            let tower = config(last_dcn).init(&device);
            // Off the grid, where the slope of a sample has one value.
            let tower: Tower = tower.into_iter().map(displaced).collect();
            let y = forward(&tower, map([1, 6, 7, 5], &device));
            let [_, _, height, width] = y.dims();
            let loss = (y * map([1, 4, height, width], &device)).sum();
            let gradients = module::gradients(&tower, &loss.backward());
            let without: Vec<&String> = gradients
                .iter()
                .filter(|(_, values)| values.iter().all(|value| *value == 0.0))
                .map(|(name, _)| name)
                .collect();
            assert!(without.is_empty(), "{last_dcn:?}: {without:?}");
            assert_eq!(gradients.len(), module::parameters(&tower).len());
        }
    }

    /// The same convolution with offsets of about a third of a pixel.
    fn displaced(mut module: ConvModule) -> ConvModule {
        let predictor = match &mut module.conv {
            Convolution::Plain(_) => return module,
            Convolution::Deformable(conv) => &mut conv.conv_offset,
            Convolution::Modulated(conv) => &mut conv.conv_offset,
        };
        let bias = predictor.bias.as_ref().expect("a bias").val();
        let third = Tensor::full(bias.shape(), 0.3, &bias.device());
        predictor.bias = Some(Param::from_tensor(third));
        module
    }
}

//! FoveaBox head (Kong et al., section III; mmdetection 3.x `fovea_head.py`).

mod align;

use aweigh_backbone::{ConvBias, ConvModuleConfig, LayerInfo, weights::ClassLayer};
use aweigh_conv::Levels;
use burn::module::Module;
use burn::nn::Initializer;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::tensor::{Device, Tensor};

use crate::init::{WEIGHT_STD, prediction, prior_bias, with_bias};
use crate::{DenseHead, DenseHeadConfig, RawPredictions, Tower, TowerConfig, tower};
use align::{FeatureAlign, FeatureAlignConfig};

pub use align::MAX_LOG_DISTANCE;

/// Width of the aligned classification tower over that of the regression tower.
const WIDENING: usize = 4;

/// The classification tower.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClassTower {
    /// As the regression tower.
    Plain,
    /// Features aligned with the predicted box, then a 3x3 and a 1x1 convolution of four times the
    /// width (`with_deform`).
    Aligned {
        /// Groups of channels that share one field of offsets.
        deform_groups: usize,
    },
}

/// Architecture of a FoveaBox head.
#[derive(Debug, Clone, PartialEq)]
pub struct FoveaHeadConfig {
    /// C, the number of classes.
    pub num_classes: usize,
    /// The regression tower, and the plain classification tower.
    pub tower: TowerConfig,
    /// The classification tower.
    pub class_tower: ClassTower,
}

/// FoveaBox head: two towers, class scores, logarithms of the distances to the box's sides.
///
/// Should be created using [`FoveaHeadConfig`].
#[derive(Module, Debug)]
pub struct FoveaHead {
    feature_adaption: Option<FeatureAlign>,
    cls_convs: Tower,
    reg_convs: Tower,
    conv_cls: Conv2d,
    conv_reg: Conv2d,
}

/// Raw predictions of a FoveaBox head, one tensor per level.
#[derive(Debug, Clone)]
pub struct FoveaPredictions {
    /// Class logits, `[B, C, H_l, W_l]`.
    pub cls_score: Vec<Tensor<4>>,
    /// Logarithms of the distances to left, top, right and bottom side, in base edges of the
    /// level, `[B, 4, H_l, W_l]`.
    pub bbox_pred: Vec<Tensor<4>>,
}

impl DenseHeadConfig for FoveaHeadConfig {
    type Head = FoveaHead;

    /// Weights from N(0, 0.01), those of offsets from N(0, 0.1), class bias from the prior
    /// probability.
    ///
    /// # Panics
    ///
    /// When the offset groups do not divide the channels of the pyramid.
    fn init(&self, device: &Device) -> FoveaHead {
        let [cls, reg] = self.predictions();
        FoveaHead {
            feature_adaption: self.alignment().map(|align| align.init(device)),
            cls_convs: match self.class_tower {
                ClassTower::Plain => self.tower.init(device),
                ClassTower::Aligned { .. } => {
                    self.wide_convs().map(|conv| conv.init(device)).into()
                }
            },
            reg_convs: self.tower.init(device),
            conv_cls: with_bias(&cls, prior_bias(), device),
            conv_reg: with_bias(&reg, 0.0, device),
        }
    }

    /// Its layers for levels of `[height, width]`, which share all parameters.
    fn layers(&self, sizes: &[[usize; 2]]) -> Vec<LayerInfo> {
        let [cls, reg] = self.predictions();
        let on_level = |size: &[usize; 2]| {
            let mut layers = self.class_layers(*size);
            layers.extend(self.tower.layers("reg_convs", *size));
            layers.push(LayerInfo::conv("conv_cls", &cls, *size));
            layers.push(LayerInfo::conv("conv_reg", &reg, *size));
            layers
        };
        tower::shared(sizes.iter().map(on_level))
    }
}

impl FoveaHeadConfig {
    fn class_layers(&self, size: [usize; 2]) -> Vec<LayerInfo> {
        let Some(align) = self.alignment() else {
            return self.tower.layers("cls_convs", size);
        };
        let mut layers = align.layers("feature_adaption", size);
        for (i, conv) in self.wide_convs().iter().enumerate() {
            layers.extend(conv.layers(&format!("cls_convs.{i}"), size));
        }
        layers
    }

    fn alignment(&self) -> Option<FeatureAlignConfig> {
        match self.class_tower {
            ClassTower::Plain => None,
            ClassTower::Aligned { deform_groups } => Some(FeatureAlignConfig {
                channels: self.tower.in_channels,
                deform_groups,
            }),
        }
    }

    /// The convolutions `cls_convs` of the aligned tower. Whether they have a bias depends on the
    /// normalisation alone, as in the reference.
    pub fn wide_convs(&self) -> [ConvModuleConfig; 2] {
        let wide = WIDENING * self.tower.feat_channels;
        let shapes = [
            ([self.tower.in_channels, wide], [3, 3]),
            ([wide, wide], [1, 1]),
        ];
        shapes.map(|(channels, kernel)| {
            ConvModuleConfig::new(channels, kernel)
                .with_norm(self.tower.norm.clone())
                .with_conv_bias(ConvBias::Auto)
                .with_initializer(Initializer::Normal {
                    mean: 0.0,
                    std: WEIGHT_STD,
                })
        })
    }

    /// The convolutions that predict classes and distances.
    fn predictions(&self) -> [Conv2dConfig; 2] {
        let features = self.tower.out_channels();
        let class_features = match self.class_tower {
            ClassTower::Plain => features,
            ClassTower::Aligned { .. } => WIDENING * self.tower.feat_channels,
        };
        [
            prediction([class_features, self.num_classes]),
            prediction([features, 4]),
        ]
    }
}

impl DenseHead for FoveaHead {
    type Config = FoveaHeadConfig;
    type Predictions = FoveaPredictions;

    fn forward(&self, features: Vec<Tensor<4>>) -> FoveaPredictions {
        let levels = Levels::new(features);
        let reg = tower::forward(&self.reg_convs, levels.clone());
        let bbox_pred = tower::predict(&self.conv_reg, reg);
        let levels = match &self.feature_adaption {
            Some(align) => {
                let maps = levels.into_maps().into_iter().zip(&bbox_pred);
                Levels::new(
                    maps.map(|(x, boxes)| align.forward(x, boxes.clone()))
                        .collect(),
                )
            }
            None => levels,
        };
        let cls = tower::forward(&self.cls_convs, levels);
        FoveaPredictions {
            cls_score: tower::predict(&self.conv_cls, cls),
            bbox_pred,
        }
    }

    fn class_layers(&self) -> Vec<ClassLayer> {
        vec![ClassLayer::new("conv_cls", 1)]
    }
}

impl RawPredictions for FoveaPredictions {
    fn outputs(&self) -> Vec<(&'static str, &[Tensor<4>])> {
        vec![
            ("cls_score", &self.cls_score),
            ("bbox_pred", &self.bbox_pred),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aweigh_backbone::NormConfig;
    use aweigh_testkit::device;

    const ALIGNED: ClassTower = ClassTower::Aligned { deform_groups: 4 };

    fn config(stacked_convs: usize, class_tower: ClassTower) -> FoveaHeadConfig {
        FoveaHeadConfig {
            num_classes: 7,
            tower: TowerConfig {
                in_channels: 16,
                feat_channels: 16,
                stacked_convs,
                norm: Some(NormConfig::GroupNorm { groups: 4 }),
                conv_bias: ConvBias::Auto,
                last_dcn: None,
            },
            class_tower,
        }
    }

    #[test]
    fn predictions_start_at_the_prior() {
        for tower in [ClassTower::Plain, ALIGNED] {
            let head = config(1, tower).init(&device());
            let maps = [[4, 6], [1, 2]].map(|[h, w]| Tensor::zeros([2, 16, h, w], &device()));
            let out = head.forward(maps.to_vec());
            assert_eq!(out.cls_score[1].dims(), [2, 7, 1, 2]);
            assert_eq!(out.bbox_pred[0].dims(), [2, 4, 4, 6]);
            let logit: f32 = out.cls_score[0].clone().max().into_scalar();
            // The logit of a probability of 0.01.
            assert!((logit + 4.595_12).abs() < 1e-5, "{logit}");
        }
    }

    #[test]
    fn the_layer_table_counts_the_parameters_of_the_module() {
        for tower in [ClassTower::Plain, ALIGNED] {
            for stacked_convs in [0, 1, 4] {
                let config = config(stacked_convs, tower);
                let layers = config.layers(&[[8, 8], [4, 4]]);
                let params: usize = layers.iter().map(|layer| layer.params).sum();
                assert_eq!(params, config.init(&device()).num_params(), "{config:?}");
            }
        }
    }
}

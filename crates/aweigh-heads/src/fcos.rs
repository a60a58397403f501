//! FCOS head (Tian et al., section 3; mmdetection 3.x `fcos_head.py`).

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::tensor::{Device, Tensor, activation::relu};

use aweigh_backbone::{LayerInfo, weights::ClassLayer};
use aweigh_conv::Levels;

use crate::init::{prediction, prior_bias, with_bias};
use crate::{DenseHead, DenseHeadConfig, RawPredictions, Scale, Tower, TowerConfig, tower};

/// Largest logarithm of a distance. `exp` of an unbounded prediction overflows to infinity, whose
/// gradient is not a number; e^18 pixels is beyond every regression range.
pub const MAX_LOG_DISTANCE: f32 = 18.0;

/// The tower that centre-ness is predicted from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CenternessBranch {
    /// The classification tower, as in the paper.
    Classification,
    /// The regression tower (`centerness_on_reg`), an improvement of the authors.
    Regression,
}

/// How the head makes a positive distance of a prediction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DistanceActivation {
    /// `exp(scale * x)`, in pixels, as in the paper.
    Exp,
    /// `max(scale * x, 0)`, in strides (`norm_on_bbox`), an improvement of the authors.
    Relu,
}

/// Architecture of an FCOS head.
#[derive(Debug, Clone, PartialEq)]
pub struct FcosHeadConfig {
    /// C, the number of classes.
    pub num_classes: usize,
    /// L, the number of pyramid levels.
    pub num_levels: usize,
    /// The two towers.
    pub tower: TowerConfig,
    /// The tower that centre-ness is predicted from.
    pub centerness: CenternessBranch,
    /// How the head makes a positive distance of a prediction.
    pub activation: DistanceActivation,
}

/// FCOS head: two towers, class scores, distances to the box's sides, centre-ness.
///
/// Should be created using [`FcosHeadConfig`].
#[derive(Module, Debug)]
pub struct FcosHead {
    cls_convs: Tower,
    reg_convs: Tower,
    conv_cls: Conv2d,
    conv_reg: Conv2d,
    conv_centerness: Conv2d,
    scales: Vec<Scale>,
    #[module(skip)]
    centerness: CenternessBranch,
    #[module(skip)]
    activation: DistanceActivation,
}

/// Raw predictions of an FCOS head, one tensor per level.
#[derive(Debug, Clone)]
pub struct FcosPredictions {
    /// Class logits, `[B, C, H_l, W_l]`.
    pub cls_score: Vec<Tensor<4>>,
    /// Distances to left, top, right and bottom side, `[B, 4, H_l, W_l]`, in the unit of the
    /// head's activation.
    pub bbox_pred: Vec<Tensor<4>>,
    /// Centre-ness logits, `[B, 1, H_l, W_l]`.
    pub centerness: Vec<Tensor<4>>,
}

impl DenseHeadConfig for FcosHeadConfig {
    type Head = FcosHead;

    /// Weights from N(0, 0.01), class bias from the prior probability, scales 1.
    fn init(&self, device: &Device) -> FcosHead {
        let [cls, reg, centerness] = self.predictions();
        FcosHead {
            cls_convs: self.tower.init(device),
            reg_convs: self.tower.init(device),
            conv_cls: with_bias(&cls, prior_bias(), device),
            conv_reg: with_bias(&reg, 0.0, device),
            conv_centerness: with_bias(&centerness, 0.0, device),
            scales: (0..self.num_levels).map(|_| Scale::new(device)).collect(),
            centerness: self.centerness,
            activation: self.activation,
        }
    }

    /// Its layers for levels of `[height, width]`, which share all but the scales.
    fn layers(&self, sizes: &[[usize; 2]]) -> Vec<LayerInfo> {
        let [cls, reg, centerness] = self.predictions();
        let on_level = |size: &[usize; 2]| {
            let mut layers = self.tower.layers("cls_convs", *size);
            layers.extend(self.tower.layers("reg_convs", *size));
            layers.push(LayerInfo::conv("conv_cls", &cls, *size));
            layers.push(LayerInfo::conv("conv_reg", &reg, *size));
            layers.push(LayerInfo::conv("conv_centerness", &centerness, *size));
            layers
        };
        let mut layers = tower::shared(sizes.iter().map(on_level));
        for (level, [height, width]) in sizes.iter().enumerate() {
            layers.push(Scale::layer(
                format!("scales.{level}"),
                [4, *height, *width],
            ));
        }
        layers
    }
}

impl FcosHeadConfig {
    /// The convolutions that predict classes, distances and centre-ness.
    fn predictions(&self) -> [Conv2dConfig; 3] {
        let features = self.tower.out_channels();
        [self.num_classes, 4, 1].map(|outputs| prediction([features, outputs]))
    }
}

impl DenseHead for FcosHead {
    type Config = FcosHeadConfig;
    type Predictions = FcosPredictions;

    /// Predicts on every level.
    ///
    /// # Shapes
    ///
    /// - `features`: one `[B, in_channels, H_l, W_l]` per level
    ///
    /// # Panics
    ///
    /// When the number of maps differs from the number of levels of the configuration.
    fn forward(&self, features: Vec<Tensor<4>>) -> FcosPredictions {
        assert_eq!(
            features.len(),
            self.scales.len(),
            "FCOS head: {} feature maps for {} levels",
            features.len(),
            self.scales.len()
        );
        let levels = Levels::new(features);
        let cls = tower::forward(&self.cls_convs, levels.clone());
        let reg = tower::forward(&self.reg_convs, levels);
        let centerness_input = match self.centerness {
            CenternessBranch::Classification => &cls,
            CenternessBranch::Regression => &reg,
        };
        let centerness = tower::predict(&self.conv_centerness, centerness_input.clone());
        let boxes = tower::predict(&self.conv_reg, reg);
        let boxes = boxes.into_iter().zip(&self.scales);
        FcosPredictions {
            cls_score: tower::predict(&self.conv_cls, cls),
            bbox_pred: boxes
                .map(|(x, scale)| self.distance(scale.forward(x)))
                .collect(),
            centerness,
        }
    }

    fn class_layers(&self) -> Vec<ClassLayer> {
        vec![ClassLayer::new("conv_cls", 1)]
    }
}

impl FcosHead {
    fn distance(&self, x: Tensor<4>) -> Tensor<4> {
        match self.activation {
            DistanceActivation::Exp => x.clamp_max(MAX_LOG_DISTANCE).exp(),
            DistanceActivation::Relu => relu(x),
        }
    }
}

impl RawPredictions for FcosPredictions {
    fn outputs(&self) -> Vec<(&'static str, &[Tensor<4>])> {
        vec![
            ("cls_score", &self.cls_score),
            ("bbox_pred", &self.bbox_pred),
            ("centerness", &self.centerness),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aweigh_backbone::{ConvBias, DcnKind, NormConfig};
    use aweigh_testkit::device;
    use burn::module::Module;

    fn config(stacked_convs: usize, activation: DistanceActivation) -> FcosHeadConfig {
        FcosHeadConfig {
            num_classes: 80,
            num_levels: 2,
            tower: TowerConfig {
                in_channels: 256,
                feat_channels: 256,
                stacked_convs,
                norm: Some(NormConfig::GroupNorm { groups: 32 }),
                conv_bias: ConvBias::Auto,
                last_dcn: Some(DcnKind::V2),
            },
            centerness: CenternessBranch::Regression,
            activation,
        }
    }

    #[test]
    fn predictions_start_at_the_prior() {
        let head = config(0, DistanceActivation::Exp).init(&device());
        let maps = [[4, 6], [2, 3]].map(|[h, w]| Tensor::zeros([2, 256, h, w], &device()));
        let out = head.forward(maps.to_vec());
        assert_eq!(out.cls_score[1].dims(), [2, 80, 2, 3]);
        assert_eq!(out.bbox_pred[0].dims(), [2, 4, 4, 6]);
        assert_eq!(out.centerness[0].dims(), [2, 1, 4, 6]);
        let logit: f32 = out.cls_score[0].clone().max().into_scalar();
        // The logit of a probability of 0.01.
        assert!((logit + 4.595_12).abs() < 1e-5, "{logit}");
        let distance: f32 = out.bbox_pred[0].clone().max().into_scalar();
        assert_eq!(distance, 1.0);
    }

    #[test]
    fn weights_start_with_a_standard_deviation_of_a_hundredth() {
        let head = config(1, DistanceActivation::Relu).init(&device());
        for weight in [&head.conv_cls.weight, head.cls_convs[0].conv.weight()] {
            let weight = weight.val();
            let square: f32 = (weight.clone() * weight).mean().into_scalar();
            // A hundred thousand samples and more: one percent is four standard errors.
            assert!((square.sqrt() - 0.01).abs() < 1e-4, "{square}");
        }
    }

    #[test]
    fn the_layer_table_counts_the_parameters_of_the_module() {
        for stacked_convs in [0, 1, 4] {
            let config = config(stacked_convs, DistanceActivation::Relu);
            let params: usize = config
                .layers(&[[8, 8], [4, 4]])
                .iter()
                .map(|l| l.params)
                .sum();
            assert_eq!(params, config.init(&device()).num_params());
        }
    }

    #[test]
    fn levels_add_multiply_adds_but_no_parameters() {
        let config = config(1, DistanceActivation::Relu);
        let [one, two] = [1, 2].map(|levels| config.layers(&vec![[4, 4]; levels]));
        assert_eq!(one[0].params, two[0].params);
        assert_eq!(2 * one[0].macs, two[0].macs);
    }

    #[test]
    #[should_panic(expected = "1 feature maps for 2 levels")]
    fn every_level_needs_a_map() {
        let head = config(0, DistanceActivation::Relu).init(&device());
        let _ = head.forward(vec![Tensor::zeros([1, 256, 2, 2], &device())]);
    }
}

//! FSAF head (Zhu et al. 2019, section 3.1; mmdetection 3.x `fsaf_head.py`).

use aweigh_backbone::{LayerInfo, weights::ClassLayer};
use aweigh_conv::Levels;
use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::tensor::{Device, Tensor, activation::relu};

use crate::init::{prediction, prior_bias, with_bias};
use crate::{DenseHead, DenseHeadConfig, RawPredictions, Tower, TowerConfig, tower};

/// Bias of the box prediction: at the start every box has an area.
const BOX_BIAS: f64 = 0.25;

/// Architecture of an FSAF head.
#[derive(Debug, Clone, PartialEq)]
pub struct FsafHeadConfig {
    /// C, the number of classes.
    pub num_classes: usize,
    /// The two towers.
    pub tower: TowerConfig,
}

/// FSAF head: two towers, class scores, distances to the box's sides.
///
/// Should be created using [`FsafHeadConfig`].
#[derive(Module, Debug)]
pub struct FsafHead {
    cls_convs: Tower,
    reg_convs: Tower,
    retina_cls: Conv2d,
    retina_reg: Conv2d,
}

/// Raw predictions of an anchor-free branch, one tensor per level.
#[derive(Debug, Clone)]
pub struct FsafPredictions {
    /// Class logits, `[B, C, H_l, W_l]`.
    pub cls_score: Vec<Tensor<4>>,
    /// Distances to upper, lower, left and right side in units of the codec, not negative,
    /// `[B, 4, H_l, W_l]`.
    pub bbox_pred: Vec<Tensor<4>>,
}

impl DenseHeadConfig for FsafHeadConfig {
    type Head = FsafHead;

    /// Weights from N(0, 0.01), class bias from the prior probability, box bias 0.25.
    fn init(&self, device: &Device) -> FsafHead {
        let outputs = outputs(self.num_classes, self.tower.out_channels());
        let [retina_cls, retina_reg] = init(&outputs, device);
        FsafHead {
            cls_convs: self.tower.init(device),
            reg_convs: self.tower.init(device),
            retina_cls,
            retina_reg,
        }
    }

    /// Its layers for levels of `[height, width]`, which share all of them.
    fn layers(&self, sizes: &[[usize; 2]]) -> Vec<LayerInfo> {
        let [cls, reg] = outputs(self.num_classes, self.tower.out_channels());
        tower::shared(sizes.iter().map(|size| {
            let mut layers = self.tower.layers("cls_convs", *size);
            layers.extend(self.tower.layers("reg_convs", *size));
            layers.push(LayerInfo::conv("retina_cls", &cls, *size));
            layers.push(LayerInfo::conv("retina_reg", &reg, *size));
            layers
        }))
    }
}

/// The convolutions of an anchor-free branch that predict classes and distances.
pub(crate) fn outputs(num_classes: usize, features: usize) -> [Conv2dConfig; 2] {
    [num_classes, 4].map(|outputs| prediction([features, outputs]))
}

/// Builds the convolutions of [`outputs`].
pub(crate) fn init([cls, reg]: &[Conv2dConfig; 2], device: &Device) -> [Conv2d; 2] {
    [
        with_bias(cls, prior_bias(), device),
        with_bias(reg, BOX_BIAS, device),
    ]
}

impl FsafPredictions {
    /// From the outputs of the two convolutions on every level.
    pub(crate) fn new(cls: Vec<Tensor<4>>, reg: Vec<Tensor<4>>) -> Self {
        Self {
            cls_score: cls,
            bbox_pred: reg.into_iter().map(relu).collect(),
        }
    }
}

impl DenseHead for FsafHead {
    type Config = FsafHeadConfig;
    type Predictions = FsafPredictions;

    fn forward(&self, features: Vec<Tensor<4>>) -> FsafPredictions {
        let levels = Levels::new(features);
        let cls = tower::forward(&self.cls_convs, levels.clone());
        let reg = tower::forward(&self.reg_convs, levels);
        FsafPredictions::new(
            tower::predict(&self.retina_cls, cls),
            tower::predict(&self.retina_reg, reg),
        )
    }

    fn class_layers(&self) -> Vec<ClassLayer> {
        vec![ClassLayer::new("retina_cls", 1)]
    }
}

impl RawPredictions for FsafPredictions {
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
    use aweigh_backbone::ConvBias;
    use aweigh_testkit::device;

    fn config(stacked_convs: usize) -> FsafHeadConfig {
        FsafHeadConfig {
            num_classes: 80,
            tower: TowerConfig {
                in_channels: 32,
                feat_channels: 16,
                stacked_convs,
                norm: None,
                conv_bias: ConvBias::Auto,
                last_dcn: None,
            },
        }
    }

    #[test]
    fn predictions_start_at_the_prior() {
        let head = config(0).init(&device());
        let maps = [[4, 6], [2, 3]].map(|[h, w]| Tensor::zeros([2, 32, h, w], &device()));
        let out = head.forward(maps.to_vec());
        assert_eq!(out.cls_score[1].dims(), [2, 80, 2, 3]);
        assert_eq!(out.bbox_pred[0].dims(), [2, 4, 4, 6]);
        let logit: f32 = out.cls_score[0].clone().max().into_scalar();
        // The logit of a probability of 0.01.
        assert!((logit + 4.595_12).abs() < 1e-5, "{logit}");
        let distance: f32 = out.bbox_pred[0].clone().max().into_scalar();
        assert_eq!(distance, 0.25);
    }

    #[test]
    fn distances_are_not_negative() {
        let head = config(1).init(&device());
        let map = Tensor::ones([1, 32, 4, 4], &device()) * 1e4;
        let out = head.forward(vec![map]);
        let smallest: f32 = out.bbox_pred[0].clone().min().into_scalar();
        assert_eq!(smallest, 0.0);
    }

    #[test]
    fn the_layer_table_counts_the_parameters_of_the_module() {
        for stacked_convs in [0, 1, 4] {
            let config = config(stacked_convs);
            let layers = config.layers(&[[8, 8], [4, 4]]);
            let params: usize = layers.iter().map(|l| l.params).sum();
            assert_eq!(params, config.init(&device()).num_params());
        }
    }
}

//! RetinaNet head (Lin et al. 2017, section 4; mmdetection 3.x `retina_head.py`), alone or with
//! FSAF's anchor-free branch on the same towers (Zhu et al. 2019, figure 4).

use aweigh_backbone::{LayerInfo, weights::ClassLayer};
use aweigh_conv::Levels;
use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::tensor::{Device, Tensor};

use crate::fsaf::{self, FsafPredictions};
use crate::init::{prediction, prior_bias, with_bias};
use crate::{DenseHead, DenseHeadConfig, RawPredictions, Tower, TowerConfig, tower};

/// Whether the head has FSAF's branch beside its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnchorFree {
    /// Anchors alone.
    Without,
    /// Two more convolutions behind the towers.
    With,
}

/// Architecture of a RetinaNet head.
#[derive(Debug, Clone, PartialEq)]
pub struct RetinaHeadConfig {
    /// C, the number of classes.
    pub num_classes: usize,
    /// A, the number of anchors of a point.
    pub anchors: usize,
    /// The two towers.
    pub tower: TowerConfig,
    /// Whether the head has FSAF's branch beside its own.
    pub anchor_free: AnchorFree,
}

/// RetinaNet head: two towers, class scores and box deltas of every anchor, and the outputs of an
/// anchor-free branch.
///
/// Should be created using [`RetinaHeadConfig`].
#[derive(Module, Debug)]
pub struct RetinaHead {
    cls_convs: Tower,
    reg_convs: Tower,
    retina_cls: Conv2d,
    retina_reg: Conv2d,
    fsaf_cls: Option<Conv2d>,
    fsaf_reg: Option<Conv2d>,
}

/// Raw predictions of a RetinaNet head, one tensor per level.
#[derive(Debug, Clone)]
pub struct RetinaPredictions {
    /// Class logits, `[B, A C, H_l, W_l]`: all classes of the first anchor, then of the next.
    pub cls_score: Vec<Tensor<4>>,
    /// Deltas of centre and size, `[B, A 4, H_l, W_l]`.
    pub bbox_pred: Vec<Tensor<4>>,
    /// Predictions of the anchor-free branch.
    pub anchor_free: Option<FsafPredictions>,
}

impl DenseHeadConfig for RetinaHeadConfig {
    type Head = RetinaHead;

    /// Weights from N(0, 0.01), class bias from the prior probability, other biases 0; the
    /// anchor-free branch as that of FSAF alone.
    fn init(&self, device: &Device) -> RetinaHead {
        let [cls, reg] = self.outputs();
        let [fsaf_cls, fsaf_reg] = match self.anchor_free_outputs() {
            None => [None, None],
            Some(outputs) => fsaf::init(&outputs, device).map(Some),
        };
        RetinaHead {
            cls_convs: self.tower.init(device),
            reg_convs: self.tower.init(device),
            retina_cls: with_bias(&cls, prior_bias(), device),
            retina_reg: with_bias(&reg, 0.0, device),
            fsaf_cls,
            fsaf_reg,
        }
    }

    /// Its layers for levels of `[height, width]`, which share all of them.
    fn layers(&self, sizes: &[[usize; 2]]) -> Vec<LayerInfo> {
        let [cls, reg] = self.outputs();
        let anchor_free = self.anchor_free_outputs();
        tower::shared(sizes.iter().map(|size| {
            let mut layers = self.tower.layers("cls_convs", *size);
            layers.extend(self.tower.layers("reg_convs", *size));
            layers.push(LayerInfo::conv("retina_cls", &cls, *size));
            layers.push(LayerInfo::conv("retina_reg", &reg, *size));
            if let Some([cls, reg]) = &anchor_free {
                layers.push(LayerInfo::conv("fsaf_cls", cls, *size));
                layers.push(LayerInfo::conv("fsaf_reg", reg, *size));
            }
            layers
        }))
    }
}

impl RetinaHeadConfig {
    /// The convolutions that predict classes and deltas of the anchors.
    fn outputs(&self) -> [Conv2dConfig; 2] {
        let features = self.tower.out_channels();
        [self.num_classes, 4].map(|outputs| prediction([features, self.anchors * outputs]))
    }

    fn anchor_free_outputs(&self) -> Option<[Conv2dConfig; 2]> {
        match self.anchor_free {
            AnchorFree::Without => None,
            AnchorFree::With => Some(fsaf::outputs(self.num_classes, self.tower.out_channels())),
        }
    }
}

impl DenseHead for RetinaHead {
    type Config = RetinaHeadConfig;
    type Predictions = RetinaPredictions;

    fn forward(&self, features: Vec<Tensor<4>>) -> RetinaPredictions {
        let levels = Levels::new(features);
        let cls = tower::forward(&self.cls_convs, levels.clone());
        let reg = tower::forward(&self.reg_convs, levels);
        let branch = self.fsaf_cls.as_ref().zip(self.fsaf_reg.as_ref());
        let anchor_free = branch.map(|(fsaf_cls, fsaf_reg)| {
            FsafPredictions::new(
                tower::predict(fsaf_cls, cls.clone()),
                tower::predict(fsaf_reg, reg.clone()),
            )
        });
        RetinaPredictions {
            cls_score: tower::predict(&self.retina_cls, cls),
            bbox_pred: tower::predict(&self.retina_reg, reg),
            anchor_free,
        }
    }

    fn class_layers(&self) -> Vec<ClassLayer> {
        // Every anchor has four deltas.
        let anchors = self.retina_reg.weight.lazy_shape()[0] / 4;
        let mut layers = vec![ClassLayer::new("retina_cls", anchors)];
        layers.extend(self.fsaf_cls.iter().map(|_| ClassLayer::new("fsaf_cls", 1)));
        layers
    }
}

impl RawPredictions for RetinaPredictions {
    fn outputs(&self) -> Vec<(&'static str, &[Tensor<4>])> {
        let mut outputs: Vec<(&'static str, &[Tensor<4>])> = vec![
            ("cls_score", &self.cls_score),
            ("bbox_pred", &self.bbox_pred),
        ];
        if let Some(branch) = &self.anchor_free {
            outputs.push(("fsaf_cls_score", &branch.cls_score));
            outputs.push(("fsaf_bbox_pred", &branch.bbox_pred));
        }
        outputs
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aweigh_backbone::ConvBias;
    use aweigh_testkit::device;

    fn config(stacked_convs: usize, anchor_free: AnchorFree) -> RetinaHeadConfig {
        RetinaHeadConfig {
            num_classes: 7,
            anchors: 9,
            tower: TowerConfig {
                in_channels: 32,
                feat_channels: 16,
                stacked_convs,
                norm: None,
                conv_bias: ConvBias::Auto,
                last_dcn: None,
            },
            anchor_free,
        }
    }

    #[test]
    fn every_anchor_has_classes_and_deltas() {
        let head = config(0, AnchorFree::Without).init(&device());
        let maps = [[4, 6], [2, 3]].map(|[h, w]| Tensor::zeros([2, 32, h, w], &device()));
        let out = head.forward(maps.to_vec());
        assert_eq!(out.cls_score[1].dims(), [2, 63, 2, 3]);
        assert_eq!(out.bbox_pred[0].dims(), [2, 36, 4, 6]);
        assert!(out.anchor_free.is_none());
        let logit: f32 = out.cls_score[0].clone().max().into_scalar();
        // The logit of a probability of 0.01.
        assert!((logit + 4.595_12).abs() < 1e-5, "{logit}");
    }

    #[test]
    fn the_anchor_free_branch_predicts_once_per_point() {
        let head = config(1, AnchorFree::With).init(&device());
        let out = head.forward(vec![Tensor::ones([1, 32, 4, 6], &device())]);
        let branch = out.anchor_free.expect("the branch");
        assert_eq!(branch.cls_score[0].dims(), [1, 7, 4, 6]);
        assert_eq!(branch.bbox_pred[0].dims(), [1, 4, 4, 6]);
    }

    #[test]
    fn the_layer_table_counts_the_parameters_of_the_module() {
        for anchor_free in [AnchorFree::Without, AnchorFree::With] {
            let config = config(2, anchor_free);
            let layers = config.layers(&[[8, 8], [4, 4]]);
            let params: usize = layers.iter().map(|l| l.params).sum();
            assert_eq!(params, config.init(&device()).num_params());
        }
    }
}

//! FCOS: fully convolutional one-stage detection (Tian et al., ICCV 2019 and TPAMI 2022).
//!
//! Follows mmdetection 3.x `fcos_head.py`. The defaults are the improved recipe (38.7 AP on COCO
//! with ResNet-50 and 12 epochs): centre sampling, regression in strides, centre-ness on the
//! regression tower, GIoU.

use aweigh_assign::fcos::{DistanceUnit, FcosAssigner, FcosTargets, Region};
use aweigh_backbone::{ConvBias, FeatureSpec, NormConfig};
use aweigh_geometry::{
    Detection, GroundTruth, LevelShape, PointOrigin, codec::decode_distance_host,
};
use aweigh_heads::{
    TowerConfig,
    fcos::{CenternessBranch, DistanceActivation, FcosHeadConfig, FcosPredictions},
};
use aweigh_losses::{
    IouMode, bce_with_logits, diou_loss, giou_loss, iou_loss, sigmoid_focal_loss, weighted_mean,
};
use burn::tensor::{Int, Tensor};
use serde::{Deserialize, Serialize};

use crate::decode::{HostMap, candidates, is_large, sigmoid, suppress, to_original};
use crate::{DetectorConfigError, FocalLoss, ImageFrame, InferenceConfig, Losses, Score};

/// Upper end of the last regression range, in pixels: as good as infinite.
const UNLIMITED: f32 = 1e8;

/// Smallest normaliser of the box loss, the sum of centre-ness targets.
const MIN_CENTERNESS_SUM: f64 = 1e-6;

/// Smallest IoU and union of the box losses.
const IOU_EPS: f64 = 1e-6;

/// Side of the box that distances are compared as: left and top lie before the point.
const DIRECTIONS: [f32; 4] = [-1.0, -1.0, 1.0, 1.0];

/// The loss of a positive point's box.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BoxLossKind {
    /// `-ln(IoU)`, as in the paper.
    Iou,
    /// `1 - IoU`.
    LinearIou,
    /// `1 - GIoU`.
    Giou,
    /// `1 - DIoU`.
    Diou,
}

/// Normalisation of a head's towers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TowerNorm {
    /// Plain convolutions.
    None,
    /// Group norm after every convolution.
    GroupNorm {
        /// Number of groups; it divides the channels of the towers.
        groups: usize,
    },
}

impl TowerNorm {
    pub(crate) fn config(self) -> Option<NormConfig> {
        match self {
            Self::None => None,
            Self::GroupNorm { groups } => Some(NormConfig::GroupNorm { groups }),
        }
    }
}

/// Every option of FCOS. The defaults are the improved recipe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FcosConfig {
    /// Channels of both towers. Default: 256.
    pub feat_channels: usize,
    /// Convolutions of each tower. Default: 4.
    pub stacked_convs: usize,
    /// Normalisation of the towers. Default: GroupNorm with 32 groups.
    pub norm: TowerNorm,
    /// Whether the tower's convolutions have a bias. Default: where no norm follows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conv_bias: Option<bool>,
    /// Regress in strides with ReLU instead of in pixels with exp. Default: true.
    pub norm_on_bbox: bool,
    /// Predict centre-ness from the regression tower. Default: true.
    pub centerness_on_reg: bool,
    /// Only points near a box's centre are positive. Default: true.
    pub center_sampling: bool,
    /// Half side of the centre region, in strides. Default: 1.5.
    pub center_sample_radius: f32,
    /// Smallest and largest distance in pixels that each level regresses, both inclusive.
    /// Default: -1, 64, 128, 256, 512 and no limit, for five levels.
    pub regress_ranges: Vec<[f32; 2]>,
    /// Focal loss of the classes.
    pub focal: FocalLoss,
    /// Box loss. Default: GIoU.
    pub box_loss: BoxLossKind,
    /// Factor of the box loss. Default: 1.
    pub box_weight: f64,
    /// Factor of the centre-ness loss. Default: 1.
    pub centerness_weight: f64,
    /// Inference.
    pub test: InferenceConfig,
}

impl Default for FcosConfig {
    fn default() -> Self {
        Self {
            feat_channels: 256,
            stacked_convs: 4,
            norm: TowerNorm::GroupNorm { groups: 32 },
            conv_bias: None,
            norm_on_bbox: true,
            centerness_on_reg: true,
            center_sampling: true,
            center_sample_radius: 1.5,
            regress_ranges: vec![
                [-1.0, 64.0],
                [64.0, 128.0],
                [128.0, 256.0],
                [256.0, 512.0],
                [512.0, UNLIMITED],
            ],
            focal: FocalLoss::default(),
            box_loss: BoxLossKind::Giou,
            box_weight: 1.0,
            centerness_weight: 1.0,
            test: InferenceConfig::default(),
        }
    }
}

impl FcosConfig {
    /// Checks values and their combination with the pyramid.
    ///
    /// # Errors
    ///
    /// Names the key and what was expected.
    pub fn validate(&self, levels: &[FeatureSpec]) -> Result<(), DetectorConfigError> {
        let bad = |key: &str, problem: String| {
            Err(DetectorConfigError::value(
                &format!("detector.fcos.{key}"),
                problem,
            ))
        };
        if self.regress_ranges.len() != levels.len() {
            return bad(
                "regress_ranges",
                format!(
                    "{} ranges for {} pyramid levels (detector.neck.num_outs)",
                    self.regress_ranges.len(),
                    levels.len()
                ),
            );
        }
        if let Some([low, high]) = self.regress_ranges.iter().find(|[low, high]| low >= high) {
            return bad(
                "regress_ranges",
                format!("the range [{low}, {high}] is empty"),
            );
        }
        if self.center_sampling && self.center_sample_radius <= 0.0 {
            let radius = self.center_sample_radius;
            return bad(
                "center_sample_radius",
                format!("expected more than 0, found {radius}"),
            );
        }
        if self.feat_channels == 0 {
            return bad("feat_channels", "expected at least 1, found 0".to_owned());
        }
        if !(self.focal.gamma >= 0.0 && self.focal.gamma.is_finite()) {
            let gamma = self.focal.gamma;
            return bad("focal.gamma", format!("expected 0 or more, found {gamma}"));
        }
        self.test.validate("detector.fcos.test")?;
        let norm = self
            .norm
            .config()
            .map(|norm| norm.check(self.feat_channels));
        norm.transpose()
            .map(|_| ())
            .map_err(|e| DetectorConfigError::value("detector.fcos.norm", e.problem))
    }

    /// The architecture of the head on the pyramid `levels`.
    pub fn head(&self, num_classes: usize, levels: &[FeatureSpec]) -> FcosHeadConfig {
        FcosHeadConfig {
            num_classes,
            num_levels: levels.len(),
            tower: TowerConfig {
                in_channels: levels[0].channels,
                feat_channels: self.feat_channels,
                stacked_convs: self.stacked_convs,
                norm: self.norm.config(),
                conv_bias: match self.conv_bias {
                    None => ConvBias::Auto,
                    Some(true) => ConvBias::On,
                    Some(false) => ConvBias::Off,
                },
            },
            centerness: match self.centerness_on_reg {
                true => CenternessBranch::Regression,
                false => CenternessBranch::Classification,
            },
            activation: match self.norm_on_bbox {
                true => DistanceActivation::Relu,
                false => DistanceActivation::Exp,
            },
        }
    }

    /// The assigner of these options.
    pub fn assigner(&self) -> FcosAssigner {
        FcosAssigner {
            regress_ranges: self.regress_ranges.clone(),
            region: match self.center_sampling {
                true => Region::Center(self.center_sample_radius),
                false => Region::Box,
            },
            unit: match self.norm_on_bbox {
                true => DistanceUnit::Stride,
                false => DistanceUnit::Pixel,
            },
        }
    }

    /// The losses of raw predictions against `targets`:
    ///
    /// - classes: focal loss of every point outside of ignore regions, over the number of positives;
    /// - box: IoU or GIoU loss of every positive, weighted by its centre-ness target;
    /// - centre-ness: binary cross-entropy of every positive, over the number of positives.
    pub fn losses(&self, predictions: FcosPredictions, targets: FcosTargets) -> Losses {
        let positive = targets.positive.clone().float(); // [B, P]
        let positives = positive.clone().sum(); // [1]
        let normaliser = positives.clone().clamp_min(1.0);

        let logits = flatten(&predictions.cls_score); // [B, C, P]
        let cls = self.class_loss(logits, &targets, normaliser.clone());
        let bbox = self.box_loss(flatten(&predictions.bbox_pred), &targets);
        let centerness = flatten(&predictions.centerness).squeeze_dim::<2>(1); // [B, P]
        let centerness = bce_with_logits(centerness, targets.centerness);
        let centerness = weighted_mean(centerness, Some(positive), normaliser);
        Losses::new(
            vec![
                ("loss_cls", cls * self.focal.weight),
                ("loss_bbox", bbox * self.box_weight),
                ("loss_centerness", centerness * self.centerness_weight),
            ],
            positives,
        )
    }

    fn class_loss(
        &self,
        logits: Tensor<3>,
        targets: &FcosTargets,
        normaliser: Tensor<1>,
    ) -> Tensor<1> {
        let [_, classes, _] = logits.dims();
        let device = targets.labels.device();
        let class: Tensor<3, Int> =
            Tensor::<1, Int>::arange(0..classes as i64, &device).reshape([1, classes, 1]);
        // A label no class equals marks the background.
        let background = targets.positive.clone().bool_not();
        let labels = targets.labels.clone().mask_fill(background, -1);
        let target = labels.unsqueeze_dim::<3>(1).equal(class).float(); // [B, C, P]
        let weight = targets.ignored.clone().bool_not().float(); // [B, P]
        let loss = sigmoid_focal_loss(logits, target, self.focal.config()); // [B, C, P]
        let loss = loss.sum_dim(1).squeeze_dim::<2>(1); // [B, P]
        weighted_mean(loss, Some(weight), normaliser)
    }

    fn box_loss(&self, distances: Tensor<3>, targets: &FcosTargets) -> Tensor<1> {
        // Predicted and target box of a point share the point, so the overlap is that of the boxes
        // around the origin: exact, where adding pixel coordinates would round.
        let direction = Tensor::<1>::from_floats(DIRECTIONS, &targets.distances.device());
        let direction = direction.reshape([1, 1, 4]);
        // Distances of negatives are meaningless; a unit box keeps their (masked) loss finite.
        let negative = targets.positive.clone().bool_not().unsqueeze_dim::<3>(2);
        let as_box = |distances: Tensor<3>| {
            let [batch, points, _] = distances.dims();
            let negative = negative.clone().expand([batch, points, 4]);
            distances.mask_fill(negative, 1.0) * direction.clone()
        };
        let predicted = as_box(distances.swap_dims(1, 2)); // [B, P, 4]
        let wanted = as_box(targets.distances.clone());
        let loss = match self.box_loss {
            BoxLossKind::Iou => iou_loss(predicted, wanted, IouMode::Log, IOU_EPS),
            BoxLossKind::LinearIou => iou_loss(predicted, wanted, IouMode::Linear, IOU_EPS),
            BoxLossKind::Giou => giou_loss(predicted, wanted, IOU_EPS),
            BoxLossKind::Diou => diou_loss(predicted, wanted, IOU_EPS),
        }; // [B, P]
        let weight = targets.centerness.clone(); // zero on negatives
        let normaliser = weight.clone().sum().clamp_min(MIN_CENTERNESS_SUM);
        weighted_mean(loss, Some(weight), normaliser)
    }

    /// The boxes of each image before NMS, small ones dropped, in original pixels.
    pub fn candidates(
        &self,
        predictions: &FcosPredictions,
        levels: &[LevelShape],
        images: &[ImageFrame],
    ) -> Vec<Vec<Detection>> {
        let [logits, distances, centerness] = HostMap::read([
            flatten(&predictions.cls_score),
            flatten(&predictions.bbox_pred),
            flatten(&predictions.centerness),
        ]);
        let points: Vec<[f32; 2]> = levels
            .iter()
            .flat_map(|level| level.host_points(PointOrigin::Center))
            .collect();
        let of_image = |(image, size): (usize, &ImageFrame)| {
            let sides = [0, 1, 2, 3].map(|side| distances.channel(image, side));
            let quality = centerness.channel(image, 0);
            let mut found = Vec::new();
            let mut start = 0;
            for level in levels {
                let range = start..start + level.points();
                start = range.end;
                let unit = if self.norm_on_bbox {
                    level.stride as f32
                } else {
                    1.0
                };
                for c in candidates(&logits, image, range, &self.test) {
                    let distances = sides.map(|side| side[c.point] * unit);
                    let bbox = decode_distance_host(points[c.point], distances, None);
                    let bbox = to_original(bbox, size);
                    if is_large(bbox, &self.test) {
                        let score = self.score(c.score, sigmoid(quality[c.point]));
                        let label = c.label;
                        found.push(Detection { bbox, score, label });
                    }
                }
            }
            found
        };
        images.iter().enumerate().map(of_image).collect()
    }

    fn score(&self, class: f32, quality: f32) -> f32 {
        match self.test.score {
            Score::Product => class * quality,
            Score::Sqrt => (class * quality).sqrt(),
        }
    }

    /// The detections of each image, in original pixels, best first.
    pub fn decode(
        &self,
        predictions: &FcosPredictions,
        levels: &[LevelShape],
        images: &[ImageFrame],
    ) -> Vec<Vec<Detection>> {
        let found = self.candidates(predictions, levels, images);
        found.iter().map(|c| suppress(c, &self.test)).collect()
    }

    /// The targets of a batch on the pyramid `levels`.
    pub fn targets(&self, levels: &[LevelShape], truth: &GroundTruth) -> FcosTargets {
        self.assigner().assign(levels, truth)
    }
}

/// All levels of a prediction side by side: `[B, channels, H_l, W_l]` to `[B, channels, P]`.
fn flatten(levels: &[Tensor<4>]) -> Tensor<3> {
    let flat = levels
        .iter()
        .map(|x| x.clone().flatten::<3>(2, 3))
        .collect();
    Tensor::cat(flat, 2)
}

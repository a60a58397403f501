//! FCOS: fully convolutional one-stage detection (Tian et al., ICCV 2019 and TPAMI 2022).
//!
//! Follows mmdetection 3.x `fcos_head.py`. The defaults are the improved recipe (38.7 AP on COCO
//! with ResNet-50 and 12 epochs): centre sampling, regression in strides, centre-ness on the
//! regression tower, GIoU.

use aweigh_assign::Matches;
use aweigh_assign::fcos::{DistanceUnit, FcosAssigner, FcosTargets, Region};
use aweigh_backbone::{DcnKind, FeatureSpec};
use aweigh_geometry::{
    GroundTruth, LevelShape, PointOrigin, PointSpacing, codec::decode_distance_host,
};
use aweigh_heads::{
    TowerConfig,
    fcos::{CenternessBranch, DistanceActivation, FcosHead, FcosHeadConfig, FcosPredictions},
};
use aweigh_losses::{
    FocalLoss, IouMode, bce_with_logits, diou_loss, giou_loss, iou_loss, weighted_mean,
};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::checks::Table;
use crate::explain::{Learns, StageRoles};
use crate::losses::{focal_class_loss, normaliser};
use crate::method::{Cause, SizeLimits};
use crate::pyramid::{cell_points, flatten};
use crate::{
    Branch, DetectorConfigError, InferenceConfig, Losses, Method, MethodConfig, Pyramid, TowerNorm,
};

/// Upper end of the last regression range, in pixels: as good as infinite.
const UNLIMITED: f32 = 1e8;

/// Smallest normaliser of the box loss, the sum of centre-ness targets.
const MIN_CENTERNESS_SUM: f64 = 1e-6;

/// Smallest IoU and union of the box losses.
const IOU_EPS: f64 = 1e-6;

/// Half side of the centre region, in strides, up to which the region may lie between points.
const NARROW: f32 = 0.5;

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

/// Where the points of a level lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Points {
    /// In the middle of their cells, `(i + 0.5) * stride`, as in the paper and in mmdetection.
    Center,
    /// `i * floor(input / cells)`, as the centres of torchvision's anchors.
    Torchvision,
}

impl Points {
    /// Where in its cell a point lies.
    pub const fn origin(self) -> PointOrigin {
        match self {
            Self::Center => PointOrigin::Center,
            Self::Torchvision => PointOrigin::Corner,
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
    /// The last convolution of both towers is a deformable one of version 2. Default: false.
    pub dcn_on_last_conv: bool,
    /// Where points lie. Default: in the middle of their cells.
    pub points: Points,
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
            dcn_on_last_conv: false,
            points: Points::Center,
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

impl MethodConfig for FcosConfig {
    fn title(&self) -> &'static str {
        "FCOS"
    }

    fn validate(&self, levels: &[FeatureSpec]) -> Result<(), DetectorConfigError> {
        let table = Table("detector.fcos");
        let ranges = &self.regress_ranges;
        table.per_level("regress_ranges", ranges, "ranges", levels)?;
        if let Some([low, high]) = ranges.iter().find(|[low, high]| low >= high) {
            let problem = format!("the range [{low}, {high}] is empty");
            return Err(table.error("regress_ranges", problem));
        }
        if self.center_sampling {
            table.positive("center_sample_radius", self.center_sample_radius)?;
        }
        table.last_conv(self.dcn_on_last_conv, self.stacked_convs)?;
        table.not_negative("box_weight", self.box_weight)?;
        table.not_negative("centerness_weight", self.centerness_weight)?;
        table.focal("focal", &self.focal)?;
        self.test.validate(Table("detector.fcos.test"))?;
        self.norm.validate(table, self.feat_channels)
    }

    fn inference(&self) -> &InferenceConfig {
        &self.test
    }

    fn spacing(&self) -> PointSpacing {
        match self.points {
            Points::Center => PointSpacing::Stride,
            Points::Torchvision => PointSpacing::Input,
        }
    }

    fn assigns_by_predictions(&self) -> bool {
        false
    }

    fn reachable(
        &self,
        levels: &[LevelShape],
        truth: &GroundTruth,
        sizes: SizeLimits,
    ) -> Vec<Matches> {
        let mut assigner = self.assigner();
        if sizes == SizeLimits::Lifted {
            assigner.regress_ranges[0] = [-1.0, f32::MAX];
        }
        vec![assigner.assign(levels, truth).matches]
    }

    fn remedy(&self, cause: Cause) -> Option<String> {
        let radius = self.center_sample_radius;
        let narrow = self.center_sampling && radius <= NARROW;
        match cause {
            Cause::OutOfRange => Some("widen detector.fcos.regress_ranges".to_owned()),
            Cause::BetweenPoints if narrow => Some(format!(
                "raise detector.fcos.center_sample_radius (now {radius})"
            )),
            Cause::BetweenPoints | Cause::Ignored | Cause::Hidden => None,
        }
    }
}

impl Method for FcosConfig {
    type Head = FcosHead;
    type Predictions = FcosPredictions;
    type Targets = FcosTargets;

    fn head(&self, num_classes: usize, levels: &[FeatureSpec]) -> FcosHeadConfig {
        FcosHeadConfig {
            num_classes,
            num_levels: levels.len(),
            tower: TowerConfig {
                conv_bias: self.conv_bias.into(),
                last_dcn: self.dcn_on_last_conv.then_some(DcnKind::V2),
                ..self
                    .norm
                    .tower(levels, self.feat_channels, self.stacked_convs)
            },
            centerness: if self.centerness_on_reg {
                CenternessBranch::Regression
            } else {
                CenternessBranch::Classification
            },
            activation: if self.norm_on_bbox {
                DistanceActivation::Relu
            } else {
                DistanceActivation::Exp
            },
        }
    }

    fn targets(&self, predictions: &Pyramid<FcosPredictions>, truth: &GroundTruth) -> FcosTargets {
        self.assigner().assign(&predictions.levels, truth)
    }

    fn geometric_targets(&self, levels: &[LevelShape], truth: &GroundTruth) -> Option<FcosTargets> {
        Some(self.assigner().assign(levels, truth))
    }

    /// The number of positives, and the sum of their centre-ness targets.
    fn normalisers(&self, targets: &FcosTargets) -> Tensor<1> {
        let positives = targets.matches.positive.clone().float().sum();
        // Zero on negatives.
        Tensor::cat(vec![positives, targets.centerness.clone().sum()], 0)
    }

    /// - classes: focal loss of every point outside of ignore regions, over the number of positives;
    /// - box: the chosen loss of every positive, weighted by its centre-ness target;
    /// - centre-ness: binary cross-entropy of every positive, over the number of positives.
    fn losses(
        &self,
        predictions: Pyramid<FcosPredictions>,
        targets: FcosTargets,
        normalisers: &Tensor<1>,
    ) -> Losses {
        let predictions = predictions.maps;
        let positive = targets.matches.positive.clone().float(); // [B, P]
        let positives = positive.clone().sum(); // [1]
        let of_points = normaliser(normalisers, 0).clamp_min(1.0);
        let of_boxes = normaliser(normalisers, 1).clamp_min(MIN_CENTERNESS_SUM);

        let logits = flatten(&predictions.cls_score); // [B, C, P]
        let cls = focal_class_loss(logits, &targets.matches, &self.focal, of_points.clone());
        let bbox = self.box_loss(flatten(&predictions.bbox_pred), &targets, of_boxes);
        let centerness = flatten(&predictions.centerness).squeeze_dim::<2>(1); // [B, P]
        let centerness = bce_with_logits(centerness, targets.centerness);
        let centerness = weighted_mean(centerness, Some(positive), of_points);
        Losses::new(
            vec![
                ("loss_cls", cls),
                ("loss_bbox", bbox * self.box_weight),
                ("loss_centerness", centerness * self.centerness_weight),
            ],
            positives,
        )
    }

    fn branches(&self, predictions: &Pyramid<FcosPredictions>) -> Vec<Branch<'_>> {
        let maps = &predictions.maps;
        let distances = flatten(&maps.bbox_pred);
        let points = cell_points(&predictions.levels, self.points.origin());
        let strides = predictions.strides();
        vec![Branch {
            logits: flatten(&maps.cls_score),
            values: Tensor::cat(vec![distances, flatten(&maps.centerness)], 1),
            quality: Some(4),
            level_points: predictions.level_points(),
            decode: Box::new(move |found| {
                let unit = if self.norm_on_bbox {
                    strides[found.level]
                } else {
                    1.0
                };
                let reach = found.sides().map(|side| side * unit);
                decode_distance_host(points[found.point], reach, None)
            }),
        }]
    }

    fn stages(&self, targets: FcosTargets, levels: &[LevelShape]) -> Vec<StageRoles> {
        let points = cell_points(levels, self.points.origin());
        let learns = Learns::ClassesAndBoxes;
        vec![StageRoles::new("points", learns, points, targets.matches)]
    }
}

impl FcosConfig {
    /// The assigner of these options.
    pub fn assigner(&self) -> FcosAssigner {
        FcosAssigner {
            origin: self.points.origin(),
            regress_ranges: self.regress_ranges.clone(),
            region: if self.center_sampling {
                Region::Center(self.center_sample_radius)
            } else {
                Region::Box
            },
            unit: if self.norm_on_bbox {
                DistanceUnit::Stride
            } else {
                DistanceUnit::Pixel
            },
        }
    }

    fn box_loss(
        &self,
        distances: Tensor<3>,
        targets: &FcosTargets,
        normaliser: Tensor<1>,
    ) -> Tensor<1> {
        // Predicted and target box of a point share the point, so the overlap is that of the boxes
        // around the origin: exact, where adding pixel coordinates would round.
        let direction = Tensor::<1>::from_floats(DIRECTIONS, &targets.distances.device());
        let direction = direction.reshape([1, 1, 4]);
        // Distances of negatives are meaningless; a unit box keeps their (masked) loss finite.
        let negative = targets
            .matches
            .positive
            .clone()
            .bool_not()
            .unsqueeze_dim::<3>(2);
        let as_box = |distances: Tensor<3>| {
            let [batch, points, _] = distances.dims();
            let negative = negative.clone().expand([batch, points, 4]);
            distances.mask_fill(negative, 1.0) * direction.clone()
        };
        let predicted = as_box(distances.swap_dims(1, 2)); // [B, P, 4]
        let target = as_box(targets.distances.clone());
        let loss = match self.box_loss {
            BoxLossKind::Iou => iou_loss(predicted, target, IouMode::Log, IOU_EPS),
            BoxLossKind::LinearIou => iou_loss(predicted, target, IouMode::Linear, IOU_EPS),
            BoxLossKind::Giou => giou_loss(predicted, target, IOU_EPS),
            BoxLossKind::Diou => diou_loss(predicted, target, IOU_EPS),
        }; // [B, P]
        let weight = targets.centerness.clone(); // zero on negatives
        weighted_mean(loss, Some(weight), normaliser)
    }
}

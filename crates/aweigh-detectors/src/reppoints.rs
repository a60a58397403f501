//! RepPoints: point set representation for object detection (Yang et al., ICCV 2019).
//!
//! Follows mmdetection 3.x `reppoints_head.py`. The defaults are the published recipe (38.1 AP on
//! COCO with ResNet-50, GroupNorm in neck and head, and 12 epochs): nine points, boxes from
//! moments.

use aweigh_assign::Matches;
use aweigh_assign::reppoints::{RepPointsAssigner, RepPointsTargets, StageTargets};
use aweigh_backbone::FeatureSpec;
use aweigh_geometry::{
    GroundTruth, LevelShape, PointOrigin,
    points::{pyramid_points, pyramid_strides},
};
use aweigh_heads::reppoints::{
    BoxTransform, PointSource, RepPointsHead, RepPointsHeadConfig, RepPointsPredictions,
};
use aweigh_losses::{FocalLoss, smooth_l1, weighted_mean};
use burn::tensor::{Bool, Device, Tensor};
use serde::{Deserialize, Serialize};

pub use aweigh_assign::max_iou::{InIgnoreRegion, MaxIouAssigner, ZeroOverlap};
pub use aweigh_assign::reppoints::{InitAssigner, PointAssigner, ShortLevel};

use crate::checks::Table;
use crate::decode::HalfOverlap;
use crate::explain::{Learns, StageRoles};
use crate::losses::{focal_class_loss, normaliser};
use crate::method::{Cause, SizeLimits};
use crate::pyramid::{cell_points, flatten};
use crate::{
    Branch, DetectorConfigError, InferenceConfig, Losses, Method, MethodConfig, Pyramid, TowerNorm,
};

/// Where the options are in a configuration.
const TABLE: Table<'static> = Table("detector.reppoints");

/// How points become a box.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TransformMethod {
    /// Mean and learnable multiples of the standard deviation along each axis.
    Moment,
    /// The smallest box around all points.
    Minmax,
    /// The smallest box around the first four points.
    PartialMinmax,
}

/// Smooth L1 loss of boxes, in units of `point_base_scale * stride`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PointLoss {
    /// Difference below which the loss is quadratic. Default: 0.11.
    pub beta: f64,
    /// Factor of the term. Default: 1, that of the first stage 0.5.
    pub weight: f64,
}

impl PointLoss {
    fn validate(&self, table: Table<'_>) -> Result<(), DetectorConfigError> {
        table.positive("beta", self.beta)?;
        table.not_negative("weight", self.weight)
    }
}

impl Default for PointLoss {
    fn default() -> Self {
        Self {
            beta: 0.11,
            weight: 1.0,
        }
    }
}

/// Reads a [`PointLoss`] whose absent keys have the values of the first stage.
#[derive(Serialize, Deserialize)]
#[serde(
    remote = "PointLoss",
    deny_unknown_fields,
    default = "FirstStage::published"
)]
struct FirstStage {
    beta: f64,
    weight: f64,
}

impl FirstStage {
    fn published() -> PointLoss {
        PointLoss {
            weight: 0.5,
            ..PointLoss::default()
        }
    }
}

/// Every option of RepPoints. The defaults are the published recipe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RepPointsConfig {
    /// Channels of both towers. Default: 256.
    pub feat_channels: usize,
    /// Channels between the towers and the predictions. Default: 256.
    pub point_feat_channels: usize,
    /// Convolutions of each tower. Default: 3.
    pub stacked_convs: usize,
    /// Normalisation of the towers. Default: GroupNorm with 32 groups.
    pub norm: TowerNorm,
    /// Points of a set, an odd square from 9 on. Default: 9.
    pub num_points: usize,
    /// Factor of the gradient that the second stage gives the points of the first. Default: 0.1.
    pub gradient_mul: f64,
    /// Side of the square that stands for a point before there is a prediction, in strides; boxes
    /// are compared in units of it. Default: 4.
    pub point_base_scale: f64,
    /// Points form a regular grid over a box that is regressed from that square. Default: false.
    pub use_grid_points: bool,
    /// The first stage predicts points from the centre, not from a regular grid over that square.
    /// Default: true.
    pub center_init: bool,
    /// How points become a box. Default: moment.
    pub transform_method: TransformMethod,
    /// Factor of the gradient of the moment's learnable multiples. Default: 0.01.
    pub moment_mul: f64,
    /// Assignment of the first stage. Default: the nearest point.
    pub init_assigner: InitAssigner,
    /// Assignment of the second stage, of the boxes that the first predicts.
    pub refine_assigner: MaxIouAssigner,
    /// Focal loss of the classes.
    pub focal: FocalLoss,
    /// Loss of the first stage's boxes. Default: beta 0.11, weight 0.5.
    #[serde(with = "FirstStage")]
    pub init_loss: PointLoss,
    /// Loss of the second stage's boxes. Default: beta 0.11, weight 1.
    pub refine_loss: PointLoss,
    /// Inference.
    #[serde(with = "HalfOverlap")]
    pub test: InferenceConfig,
}

impl Default for RepPointsConfig {
    fn default() -> Self {
        Self {
            feat_channels: 256,
            point_feat_channels: 256,
            stacked_convs: 3,
            norm: TowerNorm::GroupNorm { groups: 32 },
            num_points: 9,
            gradient_mul: 0.1,
            point_base_scale: 4.0,
            use_grid_points: false,
            center_init: true,
            transform_method: TransformMethod::Moment,
            moment_mul: 0.01,
            init_assigner: InitAssigner::Point(PointAssigner::default()),
            refine_assigner: MaxIouAssigner::default(),
            focal: FocalLoss::default(),
            init_loss: FirstStage::published(),
            refine_loss: PointLoss::default(),
            test: InferenceConfig::half_overlap(),
        }
    }
}

impl MethodConfig for RepPointsConfig {
    fn title(&self) -> &'static str {
        "RepPoints"
    }

    fn validate(&self, _levels: &[FeatureSpec]) -> Result<(), DetectorConfigError> {
        self.check_sizes()?;
        TABLE.fraction("gradient_mul", self.gradient_mul)?;
        TABLE.fraction("moment_mul", self.moment_mul)?;
        TABLE.positive("point_base_scale", self.point_base_scale)?;
        self.init_loss
            .validate(Table("detector.reppoints.init_loss"))?;
        self.refine_loss
            .validate(Table("detector.reppoints.refine_loss"))?;
        match &self.init_assigner {
            InitAssigner::Point(assigner) => {
                TABLE.positive("init_assigner.point.scale", assigner.scale)?;
                TABLE.at_least_one("init_assigner.point.pos_num", assigner.pos_num)?;
            }
            InitAssigner::MaxIou(assigner) => assigner
                .check()
                .map_err(|found| TABLE.inner("init_assigner.max_iou", found))?,
        }
        self.refine_assigner
            .check()
            .map_err(|found| TABLE.inner("refine_assigner", found))?;
        TABLE.focal("focal", &self.focal)?;
        self.test
            .validate_without_quality(Table("detector.reppoints.test"))
    }

    fn inference(&self) -> &InferenceConfig {
        &self.test
    }

    fn assigns_by_predictions(&self) -> bool {
        true
    }

    /// The first stage: sizes pick a level there, but leave no box out.
    fn reachable(
        &self,
        levels: &[LevelShape],
        truth: &GroundTruth,
        _sizes: SizeLimits,
    ) -> Vec<Matches> {
        let mut assigner = self.assigner();
        if let InitAssigner::Point(point) = &mut assigner.init {
            // To count boxes is no reason to panic.
            point.short_level = ShortLevel::TakeAll;
        }
        vec![assigner.assign_init(levels, truth)]
    }

    fn remedy(&self, cause: Cause) -> Option<String> {
        match (&self.init_assigner, cause) {
            (InitAssigner::Point(point), Cause::Hidden) => Some(format!(
                "raise detector.reppoints.init_assigner.point.pos_num (now {})",
                point.pos_num
            )),
            (InitAssigner::MaxIou(_), Cause::BetweenPoints) => {
                Some("lower the thresholds of detector.reppoints.init_assigner.max_iou".to_owned())
            }
            _ => None,
        }
    }
}

impl Method for RepPointsConfig {
    type Head = RepPointsHead;
    type Predictions = RepPointsPredictions;
    type Targets = RepPointsTargets;

    fn head(&self, num_classes: usize, levels: &[FeatureSpec]) -> RepPointsHeadConfig {
        RepPointsHeadConfig {
            num_classes,
            tower: self
                .norm
                .tower(levels, self.feat_channels, self.stacked_convs),
            point_feat_channels: self.point_feat_channels,
            num_points: self.num_points,
            gradient_mul: self.gradient_mul,
            source: match (self.use_grid_points, self.center_init) {
                (true, _) => PointSource::Box(self.point_base_scale),
                (false, true) => PointSource::Center,
                (false, false) => PointSource::Grid(self.point_base_scale),
            },
            transform: match self.transform_method {
                TransformMethod::Moment => BoxTransform::Moment {
                    mul: self.moment_mul,
                },
                TransformMethod::Minmax => BoxTransform::Minmax,
                TransformMethod::PartialMinmax => BoxTransform::PartialMinmax,
            },
        }
    }

    /// Those of the second stage depend on what the first predicts.
    fn targets(
        &self,
        predictions: &Pyramid<RepPointsPredictions>,
        truth: &GroundTruth,
    ) -> RepPointsTargets {
        let levels = &predictions.levels;
        let boxes = flatten(&predictions.maps.bbox_init)
            .without_autodiff()
            .swap_dims(1, 2); // [B, P, 4]
        let cells = Cells::new(levels, &boxes.device());
        let boxes = boxes * cells.strides + cells.corners;
        self.assigner().assign(levels, boxes, truth)
    }

    /// The numbers of positives of both stages.
    fn normalisers(&self, targets: &RepPointsTargets) -> Tensor<1> {
        let stages = [&targets.init, &targets.refine];
        let counts = stages.map(|stage| positives(&stage.matches.positive));
        Tensor::cat(counts.to_vec(), 0)
    }

    /// - classes: focal loss of every point that is positive or background in the second stage;
    /// - boxes of either stage: smooth L1 loss of every positive, in units of
    ///   `point_base_scale * stride`.
    ///
    /// A stage's losses are divided by its positives, of which every image counts at least one.
    fn losses(
        &self,
        predictions: Pyramid<RepPointsPredictions>,
        targets: RepPointsTargets,
        normalisers: &Tensor<1>,
    ) -> Losses {
        let Pyramid {
            maps: predictions,
            levels,
        } = predictions;
        let RepPointsTargets { init, refine } = targets;
        let [of_init, of_refine] = [0, 1].map(|index| normaliser(normalisers, index));
        let logits = flatten(&predictions.cls_score); // [B, C, P]
        let cls = focal_class_loss(logits, &refine.matches, &self.focal, of_refine.clone());
        let cells = Cells::new(&levels, &init.boxes.device());
        let boxes = |boxes: &[Tensor<4>], stage: &StageTargets, loss: &PointLoss, over| {
            let differences = self.box_differences(flatten(boxes), stage, &cells, loss.beta);
            let positive = stage.matches.positive.clone().float(); // [B, P]
            weighted_mean(differences, Some(positive), over) * loss.weight
        };
        let pts_init = boxes(&predictions.bbox_init, &init, &self.init_loss, of_init);
        let pts_refine = boxes(
            &predictions.bbox_refine,
            &refine,
            &self.refine_loss,
            of_refine,
        );
        Losses::new(
            vec![
                ("loss_cls", cls),
                ("loss_pts_init", pts_init),
                ("loss_pts_refine", pts_refine),
            ],
            refine.matches.positive.float().sum(),
        )
    }

    fn branches(&self, predictions: &Pyramid<RepPointsPredictions>) -> Vec<Branch<'_>> {
        let points = cell_points(&predictions.levels, PointOrigin::Corner);
        let strides = predictions.strides();
        vec![Branch {
            logits: flatten(&predictions.maps.cls_score),
            values: flatten(&predictions.maps.bbox_refine),
            quality: None,
            level_points: predictions.level_points(),
            decode: Box::new(move |found| {
                let [x, y] = points[found.point];
                let [x1, y1, x2, y2] = found.sides().map(|side| side * strides[found.level]);
                [x1 + x, y1 + y, x2 + x, y2 + y]
            }),
        }]
    }

    fn stages(&self, targets: RepPointsTargets, levels: &[LevelShape]) -> Vec<StageRoles> {
        let stage = |name, learns, targets: StageTargets| {
            let points = cell_points(levels, PointOrigin::Corner);
            StageRoles::new(name, learns, points, targets.matches)
        };
        vec![
            stage("init", Learns::Boxes, targets.init),
            stage("refine", Learns::ClassesAndBoxes, targets.refine),
        ]
    }
}

impl RepPointsConfig {
    /// The assigner of these options.
    pub fn assigner(&self) -> RepPointsAssigner {
        RepPointsAssigner {
            init: self.init_assigner,
            refine: self.refine_assigner,
            base_scale: self.point_base_scale as f32,
        }
    }

    fn check_sizes(&self) -> Result<(), DetectorConfigError> {
        TABLE.at_least_one("point_feat_channels", self.point_feat_channels)?;
        let points = self.num_points;
        let side = points.isqrt();
        let odd_square = side * side == points && !side.is_multiple_of(2) && side >= 3;
        TABLE.need(odd_square, "num_points", || {
            format!("expected an odd square from 9 on, found {points}")
        })?;
        self.norm.validate(TABLE, self.feat_channels)
    }

    /// Smooth L1 losses of every point `[B, P]`, meaningless on negatives. Predicted boxes
    /// `[B, 4, P]` are displacements from the points, in strides.
    fn box_differences(
        &self,
        boxes: Tensor<3>,
        stage: &StageTargets,
        cells: &Cells,
        beta: f64,
    ) -> Tensor<2> {
        // Targets move to the predictions' origin: that rounds less than the way to pixels would.
        let target = (stage.boxes.clone() - cells.corners.clone()) / cells.strides.clone();
        let target = target / self.point_base_scale; // [B, P, 4]
        let predicted = boxes.swap_dims(1, 2) / self.point_base_scale;
        smooth_l1(predicted, target, beta)
            .sum_dim(2)
            .squeeze_dim::<2>(2)
    }
}

/// Where the origins of predicted boxes lie.
struct Cells {
    /// `[1, P, 4]`: the cell's point twice, in pixels.
    corners: Tensor<3>,
    /// `[1, P, 1]`: pixels of a stride.
    strides: Tensor<3>,
}

impl Cells {
    fn new(levels: &[LevelShape], device: &Device) -> Self {
        let points = pyramid_points(levels, PointOrigin::Corner, device); // [P, 2]
        Self {
            corners: Tensor::cat(vec![points.clone(), points], 1).unsqueeze_dim(0),
            strides: pyramid_strides(levels, device).reshape([1, -1, 1]),
        }
    }
}

/// Number of positives `[1]`; an image without any counts one.
fn positives(positive: &Tensor<2, Bool>) -> Tensor<1> {
    positive.clone().float().sum_dim(1).clamp_min(1.0).sum()
}

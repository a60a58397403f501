//! RetinaNet (Lin et al., ICCV 2017), alone or joint with FSAF (Zhu et al., CVPR 2019).
//!
//! Follows mmdetection 3.x `retina_head.py`. The defaults are its recipe (36.5 AP on COCO with
//! ResNet-50 and 12 epochs). With the table `fsaf` the head has an anchor-free branch behind the
//! same towers; both branches are trained together, and their detections are merged before NMS.

use aweigh_assign::{
    Matches,
    fsaf::FsafTargets,
    retina::{RetinaAssigner, RetinaTargets},
};
use aweigh_backbone::FeatureSpec;
use aweigh_geometry::{
    GroundTruth, LevelShape, PointSpacing,
    anchors::{AnchorGrid, AnchorSides},
    codec::decode_delta_host,
};
use aweigh_heads::{
    fsaf::FsafPredictions,
    retina::{AnchorFree, RetinaHead, RetinaHeadConfig, RetinaPredictions},
};
use aweigh_losses::{FocalLoss, l1, smooth_l1, weighted_mean};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::checks::Table;
use crate::decode::HalfOverlap;
use crate::explain::{Learns, StageRoles};
use crate::fsaf::FsafBranch;
use crate::losses::{focal_class_loss, normaliser};
use crate::method::{Cause, SizeLimits};
use crate::pyramid::flatten_anchors;
use crate::{
    Branch, DetectorConfigError, InferenceConfig, Losses, Method, MethodConfig, Pyramid, TowerNorm,
};

pub use aweigh_assign::max_iou::{InIgnoreRegion, MaxIouAssigner, ZeroOverlap};

/// Whose anchors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnchorStyle {
    /// Sides are not rounded, centres lie at `i * stride`.
    Mmdetection,
    /// Sides are rounded to whole pixels, centres lie at `i * floor(input / cells)`.
    Torchvision,
}

/// Anchors of every point.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Anchors {
    /// Side of the smallest square anchor, in strides. Default: 4.
    pub octave_base_scale: f32,
    /// Number of scales n, each `2^(1/n)` times the one before. Default: 3.
    pub scales_per_octave: usize,
    /// Height over width. Default: 0.5, 1, 2.
    pub ratios: Vec<f32>,
    /// Whose rounding. Default: mmdetection's.
    pub style: AnchorStyle,
}

impl Anchors {
    fn validate(&self, table: Table<'_>) -> Result<(), DetectorConfigError> {
        table.positive("octave_base_scale", self.octave_base_scale)?;
        table.at_least_one("scales_per_octave", self.scales_per_octave)?;
        let ratios = &self.ratios;
        let positive = |ratio: &f32| *ratio > 0.0 && ratio.is_finite();
        let usable = !ratios.is_empty() && ratios.iter().all(positive);
        table.need(usable, "ratios", || {
            format!("expected ratios of more than 0, found {ratios:?}")
        })
    }
}

impl Default for Anchors {
    fn default() -> Self {
        Self {
            octave_base_scale: 4.0,
            scales_per_octave: 3,
            ratios: vec![0.5, 1.0, 2.0],
            style: AnchorStyle::Mmdetection,
        }
    }
}

/// The loss of a positive anchor's deltas.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeltaLoss {
    /// `|d|`.
    L1,
    /// `d^2 / (2 beta)` below `beta`, `|d| - beta / 2` above, as in the paper.
    SmoothL1 {
        /// Difference from which the loss is linear.
        beta: f64,
    },
}

/// Every option of RetinaNet. The defaults are the reference's recipe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetinaConfig {
    /// Channels of both towers. Default: 256.
    pub feat_channels: usize,
    /// Convolutions of each tower. Default: 4.
    pub stacked_convs: usize,
    /// Normalisation of the towers. Default: none.
    pub norm: TowerNorm,
    /// Loss of the deltas. Default: L1.
    pub box_loss: DeltaLoss,
    /// Factor of the box loss. Default: 1.
    pub box_weight: f64,
    /// Factor of both losses of the anchor-free branch. Default: 0.5.
    pub fsaf_weight: f64,
    /// Anchors of every point.
    pub anchors: Anchors,
    /// Which anchor learns which box.
    pub assigner: MaxIouAssigner,
    /// Focal loss of the classes.
    pub focal: FocalLoss,
    /// FSAF's anchor-free branch. Default: absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fsaf: Option<FsafBranch>,
    /// Inference. Default: NMS at 0.5.
    #[serde(with = "HalfOverlap")]
    pub test: InferenceConfig,
}

impl Default for RetinaConfig {
    fn default() -> Self {
        Self {
            feat_channels: 256,
            stacked_convs: 4,
            norm: TowerNorm::None,
            box_loss: DeltaLoss::L1,
            box_weight: 1.0,
            fsaf_weight: 0.5,
            anchors: Anchors::default(),
            assigner: MaxIouAssigner::default(),
            focal: FocalLoss::default(),
            fsaf: None,
            test: InferenceConfig::half_overlap(),
        }
    }
}

/// The targets of both branches.
#[derive(Debug, Clone)]
pub struct JointTargets {
    /// Those of the anchors.
    pub anchors: RetinaTargets,
    /// Those of the points, where there is an anchor-free branch.
    pub anchor_free: Option<FsafTargets>,
}

impl MethodConfig for RetinaConfig {
    fn title(&self) -> &'static str {
        match self.fsaf {
            Some(_) => "FSAF + RetinaNet",
            None => "RetinaNet",
        }
    }

    fn learner(&self) -> &'static str {
        match self.fsaf {
            Some(_) => "anchor or point",
            None => "anchor",
        }
    }

    fn validate(&self, _levels: &[FeatureSpec]) -> Result<(), DetectorConfigError> {
        let table = Table("detector.retina");
        self.anchors.validate(Table("detector.retina.anchors"))?;
        if let DeltaLoss::SmoothL1 { beta } = self.box_loss {
            table.positive("box_loss.smooth_l1.beta", beta)?;
        }
        table.not_negative("box_weight", self.box_weight)?;
        table.not_negative("fsaf_weight", self.fsaf_weight)?;
        self.assigner
            .check()
            .map_err(|found| table.inner("assigner", found))?;
        if let Some(branch) = &self.fsaf {
            branch.validate("detector.retina.fsaf")?;
        }
        table.focal("focal", &self.focal)?;
        self.test
            .validate_without_quality(Table("detector.retina.test"))?;
        self.norm.validate(table, self.feat_channels)
    }

    fn inference(&self) -> &InferenceConfig {
        &self.test
    }

    fn spacing(&self) -> PointSpacing {
        match self.anchors.style {
            AnchorStyle::Mmdetection => PointSpacing::Stride,
            AnchorStyle::Torchvision => PointSpacing::Input,
        }
    }

    fn assigns_by_predictions(&self) -> bool {
        let branch = self.fsaf.as_ref();
        branch.is_some_and(FsafBranch::assigns_by_predictions)
    }

    fn reachable(
        &self,
        levels: &[LevelShape],
        truth: &GroundTruth,
        sizes: SizeLimits,
    ) -> Vec<Matches> {
        let mut branches = vec![self.assigner().assign(levels, truth).matches];
        let free = self.fsaf.as_ref();
        branches.extend(free.map(|branch| branch.reachable(levels, truth, sizes)));
        branches
    }

    fn remedy(&self, cause: Cause) -> Option<String> {
        if let Some(branch) = &self.fsaf {
            return branch.remedy("detector.retina.fsaf", cause);
        }
        let between = cause == Cause::BetweenPoints;
        between.then(|| "lower the thresholds of detector.retina.assigner".to_owned())
    }
}

impl Method for RetinaConfig {
    type Head = RetinaHead;
    type Predictions = RetinaPredictions;
    type Targets = JointTargets;

    fn head(&self, num_classes: usize, levels: &[FeatureSpec]) -> RetinaHeadConfig {
        RetinaHeadConfig {
            num_classes,
            anchors: self.grid().per_point(),
            tower: self
                .norm
                .tower(levels, self.feat_channels, self.stacked_convs),
            anchor_free: match self.fsaf {
                Some(_) => AnchorFree::With,
                None => AnchorFree::Without,
            },
        }
    }

    /// The predictions of the anchor-free branch choose the level of a box there.
    fn targets(
        &self,
        predictions: &Pyramid<RetinaPredictions>,
        truth: &GroundTruth,
    ) -> JointTargets {
        let free = self.anchor_free(predictions);
        JointTargets {
            anchors: self.assigner().assign(&predictions.levels, truth),
            anchor_free: free.map(|(branch, predictions)| branch.targets(&predictions, truth)),
        }
    }

    fn geometric_targets(
        &self,
        levels: &[LevelShape],
        truth: &GroundTruth,
    ) -> Option<JointTargets> {
        let alone = self.fsaf.is_none();
        alone.then(|| JointTargets {
            anchors: self.assigner().assign(levels, truth),
            anchor_free: None,
        })
    }

    /// The number of positive anchors, of which every image counts at least one, and what that of
    /// FSAF gives.
    fn normalisers(&self, targets: &JointTargets) -> Tensor<1> {
        let positive = targets.anchors.matches.positive.clone().float(); // [B, P]
        let mut all = vec![positive.sum_dim(1).clamp_min(1.0).sum()];
        let free = self.fsaf.as_ref().zip(targets.anchor_free.as_ref());
        all.extend(free.map(|(branch, targets)| branch.normalisers(targets)));
        Tensor::cat(all, 0)
    }

    /// - classes: focal loss of every anchor that is not left out;
    /// - box: loss of every positive anchor's deltas, summed over the four;
    /// - both of the anchor-free branch, as of FSAF alone.
    ///
    /// Those of the anchors are divided by the number of positives, at least one per image.
    fn losses(
        &self,
        predictions: Pyramid<RetinaPredictions>,
        targets: JointTargets,
        normalisers: &Tensor<1>,
    ) -> Losses {
        let of_anchors = normaliser(normalisers, 0);
        let (mut parts, mut positives) =
            self.anchor_losses(&predictions.maps, &targets.anchors, of_anchors);
        let free = self.anchor_free(&predictions).zip(targets.anchor_free);
        if let Some(((branch, predictions), targets)) = free {
            let of_branch = normalisers.clone().narrow(0, 1, 2);
            let losses = branch.losses(&predictions, &targets, &of_branch);
            parts.push(("loss_fsaf_cls", losses.cls * self.fsaf_weight));
            parts.push(("loss_fsaf_bbox", losses.bbox * self.fsaf_weight));
            positives = positives + losses.positives;
        }
        Losses::new(parts, positives)
    }

    fn branches(&self, predictions: &Pyramid<RetinaPredictions>) -> Vec<Branch<'_>> {
        let grid = self.grid();
        let anchors = grid.host(&predictions.levels);
        let flat = |maps| flatten_anchors(maps, grid.per_point());
        let points = predictions.level_points().into_iter();
        let mut branches = vec![Branch {
            logits: flat(&predictions.maps.cls_score),
            values: flat(&predictions.maps.bbox_pred),
            quality: None,
            level_points: points.map(|points| points * grid.per_point()).collect(),
            decode: Box::new(move |found| {
                decode_delta_host(anchors[found.point], found.sides(), None)
            }),
        }];
        let free = self.anchor_free(predictions);
        branches.extend(free.map(|(branch, predictions)| branch.decoding(&predictions)));
        branches
    }

    fn stages(&self, targets: JointTargets, levels: &[LevelShape]) -> Vec<StageRoles> {
        let center = |[x1, y1, x2, y2]: [f32; 4]| [0.5 * (x1 + x2), 0.5 * (y1 + y2)];
        let centers = self.grid().host(levels).into_iter().map(center).collect();
        let learns = Learns::ClassesAndBoxes;
        let matches = targets.anchors.matches;
        let anchors = StageRoles::new("anchor-based", learns, centers, matches);
        let free = self.fsaf.as_ref().zip(targets.anchor_free);
        let free = free.map(|(branch, targets)| branch.stage(targets, levels));
        std::iter::once(anchors).chain(free).collect()
    }
}

impl RetinaConfig {
    /// The anchor-free branch and its predictions, if there is one. A head that this configuration
    /// describes has the branch exactly where the configuration has it.
    fn anchor_free(
        &self,
        predictions: &Pyramid<RetinaPredictions>,
    ) -> Option<(&FsafBranch, Pyramid<FsafPredictions>)> {
        let maps = predictions.maps.anchor_free.clone()?;
        let levels = predictions.levels.clone();
        Some((self.fsaf.as_ref()?, Pyramid { maps, levels }))
    }

    /// The anchors of these options.
    pub fn grid(&self) -> AnchorGrid {
        AnchorGrid {
            base_scale: self.anchors.octave_base_scale,
            scales_per_octave: self.anchors.scales_per_octave,
            ratios: self.anchors.ratios.clone(),
            sides: match self.anchors.style {
                AnchorStyle::Mmdetection => AnchorSides::Exact,
                AnchorStyle::Torchvision => AnchorSides::WholePixels,
            },
        }
    }

    /// The assigner of these options.
    pub fn assigner(&self) -> RetinaAssigner {
        RetinaAssigner {
            anchors: self.grid(),
            max_iou: self.assigner,
        }
    }

    /// The losses of the anchors, and the number of positive ones.
    fn anchor_losses(
        &self,
        predictions: &RetinaPredictions,
        targets: &RetinaTargets,
        normaliser: Tensor<1>,
    ) -> (Vec<(&'static str, Tensor<1>)>, Tensor<1>) {
        let anchors = self.grid().per_point();
        let positive = targets.matches.positive.clone().float(); // [B, P]
        let positives = positive.clone().sum();

        let logits = flatten_anchors(&predictions.cls_score, anchors); // [B, C, P]
        let cls = focal_class_loss(logits, &targets.matches, &self.focal, normaliser.clone());

        let deltas = flatten_anchors(&predictions.bbox_pred, anchors); // [B, 4, P]
        let target = targets.deltas.clone().swap_dims(1, 2);
        let bbox = match self.box_loss {
            DeltaLoss::L1 => l1(deltas, target),
            DeltaLoss::SmoothL1 { beta } => smooth_l1(deltas, target, beta),
        };
        let bbox = weighted_mean(bbox, Some(positive.unsqueeze_dim(1)), normaliser);
        let parts = vec![("loss_cls", cls), ("loss_bbox", bbox * self.box_weight)];
        (parts, positives)
    }
}

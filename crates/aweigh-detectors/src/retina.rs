//! RetinaNet (Lin et al., ICCV 2017), alone or joint with FSAF (Zhu et al., CVPR 2019).
//!
//! Follows mmdetection 3.x `retina_head.py`. The defaults are its recipe (36.5 AP on COCO with
//! ResNet-50 and 12 epochs). With the table `fsaf` the head has an anchor-free branch behind the
//! same towers; both branches are trained together, and their detections are merged before NMS.

use aweigh_assign::{
    fsaf::FsafTargets,
    retina::{RetinaAssigner, RetinaTargets},
};
use aweigh_backbone::{ConvBias, FeatureSpec};
use aweigh_geometry::{
    Detection, GroundTruth, LevelShape, anchors::AnchorGrid, codec::decode_delta_host,
};
use aweigh_heads::{
    TowerConfig,
    retina::{AnchorFree, RetinaHeadConfig, RetinaPredictions},
};
use aweigh_losses::{l1, smooth_l1, weighted_mean};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::checks::Table;
use crate::decode::{HalfOverlap, HostMap, Search, suppress};
use crate::explain::{Learns, StageRoles};
use crate::fsaf::{FsafBranch, stage_roles};
use crate::losses::{ClassTargets, class_loss};
use crate::maps::{flatten, flatten_anchors};
use crate::{DetectorConfigError, FocalLoss, ImageFrame, InferenceConfig, Losses, TowerNorm};

pub use aweigh_assign::max_iou::{InIgnoreRegion, MaxIouAssigner, ZeroOverlap};

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

impl RetinaConfig {
    /// Checks every value.
    ///
    /// # Errors
    ///
    /// Names the key and what was expected.
    pub fn validate(&self) -> Result<(), DetectorConfigError> {
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
        self.focal.validate(Table("detector.retina.focal"))?;
        self.test
            .validate_without_quality(Table("detector.retina.test"))?;
        self.norm.validate(table, self.feat_channels)
    }

    /// The architecture of the head on the pyramid `levels`.
    pub fn head(&self, num_classes: usize, levels: &[FeatureSpec]) -> RetinaHeadConfig {
        RetinaHeadConfig {
            num_classes,
            anchors: self.grid().per_point(),
            tower: TowerConfig {
                in_channels: levels[0].channels,
                feat_channels: self.feat_channels,
                stacked_convs: self.stacked_convs,
                norm: self.norm.config(),
                conv_bias: ConvBias::Auto,
                last_dcn: None,
            },
            anchor_free: match self.fsaf {
                Some(_) => AnchorFree::With,
                None => AnchorFree::Without,
            },
        }
    }

    fn grid(&self) -> AnchorGrid {
        AnchorGrid {
            base_scale: self.anchors.octave_base_scale,
            scales_per_octave: self.anchors.scales_per_octave,
            ratios: self.anchors.ratios.clone(),
        }
    }

    /// The assigner of these options.
    pub fn assigner(&self) -> RetinaAssigner {
        RetinaAssigner {
            anchors: self.grid(),
            max_iou: self.assigner,
        }
    }

    /// The targets of a batch on the pyramid `levels`; the predictions of the anchor-free branch
    /// choose the level of a box there.
    pub fn targets(
        &self,
        predictions: &RetinaPredictions,
        levels: &[LevelShape],
        truth: &GroundTruth,
    ) -> JointTargets {
        let branch = self.fsaf.as_ref().zip(predictions.anchor_free.as_ref());
        JointTargets {
            anchors: self.assigner().assign(levels, truth),
            anchor_free: branch.map(|(branch, found)| branch.targets(found, levels, truth)),
        }
    }

    /// The losses of raw predictions against `targets`:
    ///
    /// - classes: focal loss of every anchor that is not left out;
    /// - box: loss of every positive anchor's deltas, summed over the four;
    /// - both of the anchor-free branch, as of FSAF alone.
    ///
    /// Those of the anchors are divided by the number of positives, at least one per image.
    ///
    /// # Panics
    ///
    /// When predictions and targets do not have the same branches.
    pub fn losses(
        &self,
        predictions: &RetinaPredictions,
        targets: &JointTargets,
        levels: &[LevelShape],
    ) -> Losses {
        let (mut parts, mut positives) = self.anchor_losses(predictions, &targets.anchors);
        if let Some(branch) = &self.fsaf {
            let predictions = predictions.anchor_free.as_ref();
            let (predictions, targets) = predictions
                .zip(targets.anchor_free.as_ref())
                .expect("predictions and targets of the anchor-free branch");
            let losses = branch.losses(predictions, targets, levels);
            parts.push(("loss_fsaf_cls", losses.cls * self.fsaf_weight));
            parts.push(("loss_fsaf_bbox", losses.bbox * self.fsaf_weight));
            positives = positives + losses.positives;
        }
        Losses::new(parts, positives)
    }

    /// The losses of the anchors, and the number of positive ones.
    fn anchor_losses(
        &self,
        predictions: &RetinaPredictions,
        targets: &RetinaTargets,
    ) -> (Vec<(&'static str, Tensor<1>)>, Tensor<1>) {
        let anchors = self.grid().per_point();
        let positive = targets.positive.clone().float(); // [B, P]
        let of_images = positive.clone().sum_dim(1); // [B, 1]
        let normaliser = of_images.clone().clamp_min(1.0).sum(); // [1]

        let class_targets = ClassTargets {
            labels: targets.labels.clone(),
            positive: targets.positive.clone(),
            ignored: targets.ignored.clone(),
        };
        let logits = flatten_anchors(&predictions.cls_score, anchors); // [B, C, P]
        let cls = class_loss(logits, class_targets, &self.focal, normaliser.clone());

        let deltas = flatten_anchors(&predictions.bbox_pred, anchors); // [B, 4, P]
        let wanted = targets.deltas.clone().swap_dims(1, 2);
        let bbox = match self.box_loss {
            DeltaLoss::L1 => l1(deltas, wanted),
            DeltaLoss::SmoothL1 { beta } => smooth_l1(deltas, wanted, beta),
        };
        let bbox = weighted_mean(bbox, Some(positive.unsqueeze_dim(1)), normaliser);
        let parts = vec![
            ("loss_cls", cls * self.focal.weight),
            ("loss_bbox", bbox * self.box_weight),
        ];
        (parts, of_images.sum())
    }

    /// The boxes of each image before NMS, small ones dropped, in original pixels: those of the
    /// anchors, then those of the anchor-free branch.
    pub fn candidates(
        &self,
        predictions: &RetinaPredictions,
        levels: &[LevelShape],
        images: &[ImageFrame],
    ) -> Vec<Vec<Detection>> {
        let anchors = self.grid().per_point();
        let [logits, deltas] = [&predictions.cls_score, &predictions.bbox_pred]
            .map(|maps| flatten_anchors(maps, anchors));
        match self.fsaf.as_ref().zip(predictions.anchor_free.as_ref()) {
            None => self.detections(&HostMap::read([logits, deltas]), levels, images),
            Some((branch, free)) => {
                let [classes, boxes] = [&free.cls_score, &free.bbox_pred].map(|maps| flatten(maps));
                let [logits, deltas, classes, boxes] =
                    HostMap::read([logits, deltas, classes, boxes]);
                let mut found = self.detections(&[logits, deltas], levels, images);
                let free = branch.detections(&[classes, boxes], levels, images, &self.test);
                for (all, more) in found.iter_mut().zip(free) {
                    all.extend(more);
                }
                found
            }
        }
    }

    fn detections(
        &self,
        [logits, deltas]: &[HostMap; 2],
        levels: &[LevelShape],
        images: &[ImageFrame],
    ) -> Vec<Vec<Detection>> {
        let grid = self.grid();
        let anchors = grid.host(levels);
        let search = Search {
            logits,
            level_points: levels
                .iter()
                .map(|l| l.points() * grid.per_point())
                .collect(),
            images,
            test: &self.test,
        };
        search.detections(|place, found| {
            let delta = [0, 1, 2, 3].map(|i| deltas.channel(place.image, i)[found.point]);
            let bbox = decode_delta_host(anchors[found.point], delta, None);
            (bbox, found.score)
        })
    }

    /// The detections of each image, in original pixels, best first.
    pub fn decode(
        &self,
        predictions: &RetinaPredictions,
        levels: &[LevelShape],
        images: &[ImageFrame],
    ) -> Vec<Vec<Detection>> {
        let found = self.candidates(predictions, levels, images);
        found.iter().map(|c| suppress(c, &self.test)).collect()
    }
}

/// The stages of the method, for [`explain`](crate::explain): the anchors of every point, and the
/// anchor-free branch.
pub(crate) fn stages(
    config: &RetinaConfig,
    targets: JointTargets,
    levels: &[LevelShape],
) -> Vec<StageRoles> {
    let anchors = config.grid().host(levels);
    let center = |[x1, y1, x2, y2]: [f32; 4]| [0.5 * (x1 + x2), 0.5 * (y1 + y2)];
    let mut stages = vec![StageRoles {
        name: "anchor-based",
        learns: Learns::ClassesAndBoxes,
        points: anchors.into_iter().map(center).collect(),
        slot: targets.anchors.slot,
        positive: targets.anchors.positive,
        ignored: targets.anchors.ignored,
        left_out: None,
        level_losses: None,
    }];
    let free = targets.anchor_free;
    stages.extend(free.map(|free| stage_roles(free, levels)));
    stages
}

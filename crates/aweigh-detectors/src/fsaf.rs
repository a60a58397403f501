//! FSAF: feature selective anchor-free module (Zhu et al., CVPR 2019), the anchor-free branch alone.
//!
//! Follows mmdetection 3.x `fsaf_head.py`. The defaults are its recipe (37.4 AP on COCO with
//! ResNet-50 and 12 epochs): the regions of the paper, but without its ignored ring. The model with
//! both branches is [`RetinaConfig`](crate::retina::RetinaConfig) with its `fsaf` table.

mod branch;

use aweigh_assign::fsaf::FsafTargets;
use aweigh_backbone::{ConvBias, FeatureSpec};
use aweigh_geometry::{Detection, GroundTruth, LevelShape, PointOrigin};
use aweigh_heads::{
    TowerConfig,
    fsaf::{FsafHeadConfig, FsafPredictions},
};
use serde::{Deserialize, Serialize};

use crate::checks::Table;
use crate::decode::{HalfOverlap, HostMap, suppress};
use crate::explain::{Learns, LeftOut, StageRoles, cell_points};
use crate::maps::flatten;
use crate::{DetectorConfigError, ImageFrame, InferenceConfig, Losses, TowerNorm};

pub use aweigh_assign::fsaf::CenterRegionAssigner;
pub use branch::{FsafBranch, LevelSelection};

/// Every option of FSAF's anchor-free detector. The defaults are the reference's recipe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FsafConfig {
    /// Channels of both towers. Default: 256.
    pub feat_channels: usize,
    /// Convolutions of each tower. Default: 4.
    pub stacked_convs: usize,
    /// Normalisation of the towers. Default: none.
    pub norm: TowerNorm,
    /// Regions, levels and losses.
    pub branch: FsafBranch,
    /// Inference. Default: NMS at 0.5.
    #[serde(with = "HalfOverlap")]
    pub test: InferenceConfig,
}

impl Default for FsafConfig {
    fn default() -> Self {
        Self {
            feat_channels: 256,
            stacked_convs: 4,
            norm: TowerNorm::None,
            branch: FsafBranch::default(),
            test: InferenceConfig::half_overlap(),
        }
    }
}

impl FsafConfig {
    /// Checks every value.
    ///
    /// # Errors
    ///
    /// Names the key and what was expected.
    pub fn validate(&self) -> Result<(), DetectorConfigError> {
        self.branch.validate("detector.fsaf.branch")?;
        self.test
            .validate_without_quality(Table("detector.fsaf.test"))?;
        self.norm
            .validate(Table("detector.fsaf"), self.feat_channels)
    }

    /// The architecture of the head on the pyramid `levels`.
    pub fn head(&self, num_classes: usize, levels: &[FeatureSpec]) -> FsafHeadConfig {
        FsafHeadConfig {
            num_classes,
            tower: TowerConfig {
                in_channels: levels[0].channels,
                feat_channels: self.feat_channels,
                stacked_convs: self.stacked_convs,
                norm: self.norm.config(),
                conv_bias: ConvBias::Auto,
                last_dcn: None,
            },
        }
    }

    /// The targets of a batch on the pyramid `levels`; the predictions choose the level of a box.
    pub fn targets(
        &self,
        predictions: &FsafPredictions,
        levels: &[LevelShape],
        truth: &GroundTruth,
    ) -> FsafTargets {
        self.branch.targets(predictions, levels, truth)
    }

    /// The losses of raw predictions against `targets`, each over the number of positives (without
    /// any, over that of background points):
    ///
    /// - classes: focal loss of every point and class that is not left out;
    /// - box: IoU loss of every positive.
    pub fn losses(
        &self,
        predictions: &FsafPredictions,
        targets: &FsafTargets,
        levels: &[LevelShape],
    ) -> Losses {
        let losses = self.branch.losses(predictions, targets, levels);
        Losses::new(
            vec![("loss_cls", losses.cls), ("loss_bbox", losses.bbox)],
            losses.positives,
        )
    }

    /// The boxes of each image before NMS, small ones dropped, in original pixels.
    pub fn candidates(
        &self,
        predictions: &FsafPredictions,
        levels: &[LevelShape],
        images: &[ImageFrame],
    ) -> Vec<Vec<Detection>> {
        let maps = HostMap::read([
            flatten(&predictions.cls_score),
            flatten(&predictions.bbox_pred),
        ]);
        self.branch.detections(&maps, levels, images, &self.test)
    }

    /// The detections of each image, in original pixels, best first.
    pub fn decode(
        &self,
        predictions: &FsafPredictions,
        levels: &[LevelShape],
        images: &[ImageFrame],
    ) -> Vec<Vec<Detection>> {
        let found = self.candidates(predictions, levels, images);
        found.iter().map(|c| suppress(c, &self.test)).collect()
    }
}

/// The stage of the method, for [`explain`](crate::explain).
pub(crate) fn stages(targets: FsafTargets, levels: &[LevelShape]) -> Vec<StageRoles> {
    vec![stage_roles(targets, levels)]
}

/// What the points of an anchor-free branch learn.
pub(crate) fn stage_roles(targets: FsafTargets, levels: &[LevelShape]) -> StageRoles {
    StageRoles {
        name: "anchor-free",
        learns: Learns::ClassesAndBoxes,
        points: cell_points(levels, PointOrigin::Corner),
        slot: targets.slot,
        positive: targets.positive,
        ignored: targets.ignored,
        left_out: Some(LeftOut {
            shadowed: targets.left_out.any_dim(1).squeeze_dim(1),
            other_level: targets.other_level,
        }),
        level_losses: targets.level_losses,
    }
}

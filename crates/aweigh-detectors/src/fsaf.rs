//! FSAF: feature selective anchor-free module (Zhu et al., CVPR 2019), the anchor-free branch alone.
//!
//! Follows mmdetection 3.x `fsaf_head.py`. The defaults are its recipe (37.4 AP on COCO with
//! ResNet-50 and 12 epochs): the regions of the paper, but without its ignored ring. The model with
//! both branches is [`RetinaConfig`](crate::retina::RetinaConfig) with its `fsaf` table.

mod branch;

use aweigh_assign::Matches;
use aweigh_assign::fsaf::FsafTargets;
use aweigh_backbone::FeatureSpec;
use aweigh_geometry::{GroundTruth, LevelShape};
use aweigh_heads::fsaf::{FsafHead, FsafHeadConfig, FsafPredictions};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::checks::Table;
use crate::decode::HalfOverlap;
use crate::explain::StageRoles;
use crate::method::{Cause, SizeLimits};
use crate::{
    Branch, DetectorConfigError, InferenceConfig, Losses, Method, MethodConfig, Pyramid, TowerNorm,
};

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

impl MethodConfig for FsafConfig {
    fn title(&self) -> &'static str {
        "FSAF"
    }

    fn validate(&self, _levels: &[FeatureSpec]) -> Result<(), DetectorConfigError> {
        self.branch.validate("detector.fsaf.branch")?;
        self.test
            .validate_without_quality(Table("detector.fsaf.test"))?;
        self.norm
            .validate(Table("detector.fsaf"), self.feat_channels)
    }

    fn inference(&self) -> &InferenceConfig {
        &self.test
    }

    fn assigns_by_predictions(&self) -> bool {
        self.branch.assigns_by_predictions()
    }

    fn reachable(
        &self,
        levels: &[LevelShape],
        truth: &GroundTruth,
        sizes: SizeLimits,
    ) -> Vec<Matches> {
        vec![self.branch.reachable(levels, truth, sizes)]
    }

    fn remedy(&self, cause: Cause) -> Option<String> {
        self.branch.remedy("detector.fsaf.branch", cause)
    }
}

impl Method for FsafConfig {
    type Head = FsafHead;
    type Predictions = FsafPredictions;
    type Targets = FsafTargets;

    fn head(&self, num_classes: usize, levels: &[FeatureSpec]) -> FsafHeadConfig {
        FsafHeadConfig {
            num_classes,
            tower: self
                .norm
                .tower(levels, self.feat_channels, self.stacked_convs),
        }
    }

    fn targets(&self, predictions: &Pyramid<FsafPredictions>, truth: &GroundTruth) -> FsafTargets {
        self.branch.targets(predictions, truth)
    }

    fn normalisers(&self, targets: &FsafTargets) -> Tensor<1> {
        self.branch.normalisers(targets)
    }

    /// Each over the number of positives (without any, over that of background points):
    ///
    /// - classes: focal loss of every point and class that is not left out;
    /// - box: IoU loss of every positive.
    fn losses(
        &self,
        predictions: Pyramid<FsafPredictions>,
        targets: FsafTargets,
        normalisers: &Tensor<1>,
    ) -> Losses {
        let losses = self.branch.losses(&predictions, &targets, normalisers);
        Losses::new(
            vec![("loss_cls", losses.cls), ("loss_bbox", losses.bbox)],
            losses.positives,
        )
    }

    fn branches(&self, predictions: &Pyramid<FsafPredictions>) -> Vec<Branch<'_>> {
        vec![self.branch.decoding(predictions)]
    }

    fn stages(&self, targets: FsafTargets, levels: &[LevelShape]) -> Vec<StageRoles> {
        vec![self.branch.stage(targets, levels)]
    }
}

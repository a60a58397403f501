//! What an anchor-free branch learns and finds, alone or beside an anchor-based one.

use aweigh_assign::fsaf::{
    CenterRegionAssigner, CenterRegions, FsafTargets, LevelChoice, heuristic_levels, online_levels,
};
use aweigh_geometry::{
    Detection, GroundTruth, LevelShape, PointOrigin, codec::TblrCodec, points::square_anchors,
};
use aweigh_heads::fsaf::FsafPredictions;
use aweigh_losses::{IouMode, iou_loss, sigmoid_focal_loss};
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::checks::Table;
use crate::decode::{HostMap, Search};
use crate::explain::cell_points;
use crate::losses::one_hot;
use crate::maps::flatten;
use crate::{DetectorConfigError, FocalLoss, ImageFrame, InferenceConfig};

/// Smallest encoded distance that boxes are compared with: no box is without area.
const MIN_DISTANCE: f32 = 1e-4;

/// Smallest IoU of the box loss.
const IOU_EPS: f64 = 1e-6;

/// How the one level that trains a box is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LevelSelection {
    /// The level on which the box's effective points have the smallest mean loss.
    Online,
    /// By the size of the box, as for the regions of a feature pyramid network.
    Heuristic,
}

/// Regions, levels and losses of an anchor-free branch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FsafBranch {
    /// How the level of a box is chosen. Default: online.
    pub level_selection: LevelSelection,
    /// Side of the square around a point, its prior, in strides. Default: 1.
    pub prior_scale: f32,
    /// What distances in units of the prior's side are divided by. Default: 4.
    pub normalizer: f64,
    /// Factor of the box loss. Default: 1.
    pub box_weight: f64,
    /// Focal loss of the classes.
    pub focal: FocalLoss,
    /// Effective, shadowed and ignored regions.
    pub assigner: CenterRegionAssigner,
}

impl Default for FsafBranch {
    fn default() -> Self {
        Self {
            level_selection: LevelSelection::Online,
            prior_scale: 1.0,
            normalizer: TblrCodec::default().normalizer,
            box_weight: 1.0,
            focal: FocalLoss::default(),
            assigner: CenterRegionAssigner::default(),
        }
    }
}

/// The losses of a branch, weights included.
pub(crate) struct BranchLosses {
    pub(crate) cls: Tensor<1>,
    pub(crate) bbox: Tensor<1>,
    /// Number of positive points on the levels of their boxes, without autodiff.
    pub(crate) positives: Tensor<1>,
}

impl FsafBranch {
    /// Checks every value; `path` is the dotted path of this table.
    pub(crate) fn validate(&self, path: &str) -> Result<(), DetectorConfigError> {
        let table = Table(path);
        table.positive("prior_scale", self.prior_scale)?;
        table.positive("normalizer", self.normalizer)?;
        table.not_negative("box_weight", self.box_weight)?;
        self.assigner
            .check()
            .map_err(|found| table.inner("assigner", found))?;
        self.focal.validate(Table(&format!("{path}.focal")))
    }

    /// The targets of a batch on the pyramid `levels`; the predictions choose the level of a box.
    pub(crate) fn targets(
        &self,
        predictions: &FsafPredictions,
        levels: &[LevelShape],
        truth: &GroundTruth,
    ) -> FsafTargets {
        let [_, classes, _, _] = predictions.cls_score[0].dims();
        let regions = self.regions(classes, levels, truth);
        match self.level_selection {
            LevelSelection::Online => {
                let choice = self.online_levels(predictions, &regions, levels, truth);
                FsafTargets {
                    level_losses: Some(choice.losses),
                    ..regions.select(choice.level, levels)
                }
            }
            LevelSelection::Heuristic => regions.select(heuristic_levels(levels, truth), levels),
        }
    }

    /// Effective and shadowed points of every box, on every level.
    pub fn regions(
        &self,
        num_classes: usize,
        levels: &[LevelShape],
        truth: &GroundTruth,
    ) -> CenterRegions {
        let priors = self.priors(levels, &truth.boxes.device());
        self.assigner
            .assign(&priors, truth.covers(levels), num_classes, truth)
    }

    /// The mean loss of every box on every level, and the level where it is smallest.
    pub fn online_levels(
        &self,
        predictions: &FsafPredictions,
        regions: &CenterRegions,
        levels: &[LevelShape],
        truth: &GroundTruth,
    ) -> LevelChoice {
        let logits = flatten(&predictions.cls_score).without_autodiff(); // [B, C, P]
        let encoded = flatten(&predictions.bbox_pred).without_autodiff(); // [B, 4, P]
        let [_, classes, _] = logits.dims();
        let wanted = one_hot(regions.labels.clone(), regions.effective.clone(), classes);
        let counted = regions.shadowed.clone().bool_not().float();
        let cls = sigmoid_focal_loss(logits, wanted, self.focal.config()) * counted;
        let cls = cls.sum_dim(1).squeeze_dim::<2>(1) * self.focal.weight; // [B, P]
        let bbox = self.box_loss(encoded, regions.boxes.clone(), levels) * self.box_weight;
        online_levels(cls + bbox, regions, levels, truth)
    }

    /// The losses of raw predictions against `targets`.
    pub(crate) fn losses(
        &self,
        predictions: &FsafPredictions,
        targets: &FsafTargets,
        levels: &[LevelShape],
    ) -> BranchLosses {
        let positive = targets.positive.clone().float(); // [B, P]
        let positives = positive.clone().sum(); // [1]
        let normaliser = normaliser(positives.clone(), targets);

        let logits = flatten(&predictions.cls_score); // [B, C, P]
        let [_, classes, _] = logits.dims();
        let wanted = one_hot(targets.labels.clone(), targets.positive.clone(), classes);
        let counted = targets.left_out.clone().bool_not().float();
        let cls = sigmoid_focal_loss(logits, wanted, self.focal.config()) * counted;
        let encoded = flatten(&predictions.bbox_pred); // [B, 4, P]
        let bbox = self.box_loss(encoded, targets.boxes.clone(), levels) * positive;
        BranchLosses {
            cls: cls.sum() / normaliser.clone() * self.focal.weight,
            bbox: bbox.sum() / normaliser * self.box_weight,
            positives,
        }
    }

    /// IoU loss of every point's encoded box `[B, 4, P]` with a box `[B, P, 4]`: `[B, P]`.
    fn box_loss(&self, encoded: Tensor<3>, boxes: Tensor<3>, levels: &[LevelShape]) -> Tensor<2> {
        let encoded = encoded.swap_dims(1, 2).clamp_min(MIN_DISTANCE); // [B, P, 4]
        let priors = self.priors(levels, &boxes.device()).unsqueeze_dim(0);
        let predicted = self.codec().decode(priors, encoded, None);
        iou_loss(predicted, boxes, IouMode::Log, IOU_EPS)
    }

    /// The square around every point, `[P, 4]`.
    fn priors(&self, levels: &[LevelShape], device: &Device) -> Tensor<2> {
        square_anchors(levels, self.prior_scale, PointOrigin::Corner, device)
    }

    /// The boxes of each image before NMS, small ones dropped, in original pixels.
    pub(crate) fn detections(
        &self,
        [logits, encoded]: &[HostMap; 2],
        levels: &[LevelShape],
        images: &[ImageFrame],
        test: &InferenceConfig,
    ) -> Vec<Vec<Detection>> {
        let points = cell_points(levels, PointOrigin::Corner);
        let search = Search {
            logits,
            level_points: levels.iter().map(LevelShape::points).collect(),
            images,
            test,
        };
        search.detections(|place, found| {
            let half = 0.5 * self.prior_scale * levels[place.level].stride as f32;
            let [x, y] = points[found.point];
            let prior = [x - half, y - half, x + half, y + half];
            let sides = [0, 1, 2, 3].map(|side| encoded.channel(place.image, side)[found.point]);
            (self.codec().decode_host(prior, sides, None), found.score)
        })
    }

    fn codec(&self) -> TblrCodec {
        TblrCodec {
            normalizer: self.normalizer,
        }
    }
}

/// The number of positives; without any, that of background points, at least one per image.
fn normaliser(positives: Tensor<1>, targets: &FsafTargets) -> Tensor<1> {
    let background = targets
        .positive
        .clone()
        .bool_or(targets.other_level.clone())
        .bool_or(targets.ignored.clone())
        .bool_not()
        .float(); // [B, P]
    let background = background.sum_dim(1).clamp_min(1.0).sum(); // [1]
    let none = positives.clone().lower_elem(0.5).float();
    positives + background * none
}

//! What an anchor-free branch learns and finds, alone or beside an anchor-based one.

use aweigh_assign::Matches;
use aweigh_assign::fsaf::{
    CenterRegionAssigner, CenterRegions, FsafTargets, LevelChoice, heuristic_levels, online_levels,
};
use aweigh_geometry::{
    GroundTruth, LevelShape, PointOrigin, boxes::centered_at, codec::TblrCodec,
    points::square_anchors,
};
use aweigh_heads::fsaf::FsafPredictions;
use aweigh_losses::{FocalLoss, IouMode, iou_loss};
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::checks::Table;
use crate::explain::{Learns, LeftOut, StageRoles};
use crate::losses::{focal_class_losses, focal_class_sum, normaliser};
use crate::method::{Cause, SizeLimits};
use crate::pyramid::{Pyramid, cell_points, flatten};
use crate::{Branch, DetectorConfigError};

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
        table.focal("focal", &self.focal)
    }

    /// Whether the level of a box depends on predictions.
    pub(crate) fn assigns_by_predictions(&self) -> bool {
        self.level_selection == LevelSelection::Online
    }

    /// Who learns which box by geometry alone: on every level, where losses choose one of them; on
    /// the level of its size otherwise.
    pub(crate) fn reachable(
        &self,
        levels: &[LevelShape],
        truth: &GroundTruth,
        sizes: SizeLimits,
    ) -> Matches {
        // The number of classes matters only for what points are left out of.
        let regions = self.regions(1, levels, truth);
        let by_size = self.level_selection == LevelSelection::Heuristic;
        if by_size && sizes == SizeLimits::Kept {
            let chosen = heuristic_levels(levels, truth);
            return regions.select(chosen, levels).matches;
        }
        regions.matches
    }

    /// What to change in the branch whose table is `path`.
    pub(crate) fn remedy(&self, path: &str, cause: Cause) -> Option<String> {
        match cause {
            Cause::OutOfRange => Some(format!("set {path}.level_selection = \"online\"")),
            Cause::BetweenPoints => Some(format!(
                "raise {path}.assigner.pos_scale (now {})",
                self.assigner.pos_scale
            )),
            Cause::Ignored | Cause::Hidden => None,
        }
    }

    /// The targets of a batch; the predictions choose the level of a box.
    pub(crate) fn targets(
        &self,
        predictions: &Pyramid<FsafPredictions>,
        truth: &GroundTruth,
    ) -> FsafTargets {
        let levels = &predictions.levels;
        let [_, classes, _, _] = predictions.maps.cls_score[0].dims();
        let regions = self.regions(classes, levels, truth);
        match self.level_selection {
            LevelSelection::Online => {
                let choice = self.online_levels(predictions, &regions, truth);
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
        predictions: &Pyramid<FsafPredictions>,
        regions: &CenterRegions,
        truth: &GroundTruth,
    ) -> LevelChoice {
        let levels = &predictions.levels;
        let logits = flatten(&predictions.maps.cls_score).without_autodiff(); // [B, C, P]
        let encoded = flatten(&predictions.maps.bbox_pred).without_autodiff(); // [B, 4, P]
        let counted = regions.shadowed.clone().bool_not().float();
        let cls = focal_class_losses(logits, &regions.matches, &self.focal) * counted;
        let cls = cls.sum_dim(1).squeeze_dim::<2>(1) * self.focal.weight; // [B, P]
        let bbox = self.box_loss(encoded, regions.boxes.clone(), levels) * self.box_weight;
        online_levels(cls + bbox, regions, levels, truth)
    }

    /// The number of positives, and that of background points, of which every image counts at least
    /// one: `[2]`.
    pub(crate) fn normalisers(&self, targets: &FsafTargets) -> Tensor<1> {
        let matches = &targets.matches;
        let positive = matches.positive.clone();
        let background = positive
            .clone()
            .bool_or(targets.other_level.clone())
            .bool_or(matches.ignored.clone())
            .bool_not()
            .float(); // [B, P]
        let background = background.sum_dim(1).clamp_min(1.0).sum(); // [1]
        Tensor::cat(vec![positive.float().sum(), background], 0)
    }

    /// The losses of raw predictions against `targets`, over `normalisers` `[2]`.
    pub(crate) fn losses(
        &self,
        predictions: &Pyramid<FsafPredictions>,
        targets: &FsafTargets,
        normalisers: &Tensor<1>,
    ) -> BranchLosses {
        let positive = targets.matches.positive.clone().float(); // [B, P]
        let positives = positive.clone().sum(); // [1]
        let normaliser = positives_or_background(normalisers);

        let logits = flatten(&predictions.maps.cls_score); // [B, C, P]
        let counted = targets.left_out.clone().bool_not().float();
        let cls = focal_class_sum(logits, &targets.matches, counted, &self.focal);
        let encoded = flatten(&predictions.maps.bbox_pred); // [B, 4, P]
        let bbox = self.box_loss(encoded, targets.boxes.clone(), &predictions.levels) * positive;
        BranchLosses {
            cls: cls / normaliser.clone() * self.focal.weight,
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

    /// Where detections come from.
    pub(crate) fn decoding(&self, predictions: &Pyramid<FsafPredictions>) -> Branch<'_> {
        let points = cell_points(&predictions.levels, PointOrigin::Corner);
        let strides = predictions.strides();
        Branch {
            logits: flatten(&predictions.maps.cls_score),
            values: flatten(&predictions.maps.bbox_pred),
            quality: None,
            level_points: predictions.level_points(),
            decode: Box::new(move |found| {
                let half = 0.5 * self.prior_scale * strides[found.level];
                let prior = centered_at(points[found.point], [half, half]);
                self.codec().decode_host(prior, found.sides(), None)
            }),
        }
    }

    /// What the points learn, for people to look at.
    pub(crate) fn stage(&self, targets: FsafTargets, levels: &[LevelShape]) -> StageRoles {
        let points = cell_points(levels, PointOrigin::Corner);
        let learns = Learns::ClassesAndBoxes;
        StageRoles::new("anchor-free", learns, points, targets.matches)
            .with_left_out(LeftOut {
                shadowed: targets.left_out.any_dim(1).squeeze_dim(1),
                other_level: targets.other_level,
            })
            .with_level_losses(targets.level_losses)
    }

    fn codec(&self) -> TblrCodec {
        TblrCodec {
            normalizer: self.normalizer,
        }
    }
}

/// The number of positives; without any, that of background points.
fn positives_or_background(normalisers: &Tensor<1>) -> Tensor<1> {
    let [positives, background] = [0, 1].map(|index| normaliser(normalisers, index));
    let none = positives.clone().lower_elem(0.5).float();
    positives + background * none
}

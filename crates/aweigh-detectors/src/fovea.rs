//! FoveaBox: beyond anchor-based object detection (Kong et al., TIP 2020).
//!
//! Follows mmdetection 3.x `fovea_head.py`. The defaults are the plain recipe (36.5 AP on COCO with
//! ResNet-50 and 12 epochs): no normalisation, no feature alignment.

use aweigh_assign::Matches;
use aweigh_assign::fovea::{FoveaAssigner, FoveaTargets};
use aweigh_backbone::{DcnKind, FeatureSpec};
use aweigh_geometry::{
    GroundTruth, ImageSize, LevelShape, PointOrigin, codec::decode_distance_host,
};
use aweigh_heads::{
    TowerConfig,
    fovea::{ClassTower, FoveaHead, FoveaHeadConfig, FoveaPredictions},
};
use aweigh_losses::{FocalLoss, smooth_l1, weighted_mean};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::checks::Table;
use crate::decode::HalfOverlap;
use crate::explain::{Learns, StageRoles};
use crate::losses::{focal_class_loss, normaliser};
use crate::method::{Cause, SizeLimits};
use crate::pyramid::{cell_points, flatten};
use crate::{
    Branch, DetectorConfigError, InferenceConfig, Losses, Method, MethodConfig, Pyramid, TowerNorm,
};

/// Every option of FoveaBox. The defaults are the plain recipe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FoveaConfig {
    /// Channels of both towers. Default: 256.
    pub feat_channels: usize,
    /// Convolutions of each tower; the aligned classification tower always has two. Default: 4.
    pub stacked_convs: usize,
    /// Normalisation of the towers. Default: none.
    pub norm: TowerNorm,
    /// Whether the tower's convolutions have a bias. Default: where no norm follows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conv_bias: Option<bool>,
    /// The last convolution of the towers, but not of the aligned classification tower, is a
    /// deformable one of version 2. Default: false.
    pub dcn_on_last_conv: bool,
    /// Align the features of the classification tower, four times as wide then, with the predicted
    /// box. Default: false.
    pub with_deform: bool,
    /// Groups of channels that share one field of offsets in the alignment. Default: 4.
    pub deform_groups: usize,
    /// Side of the positive region over the side of the box. Default: 0.4.
    pub sigma: f64,
    /// Unit of the distances of each level, in pixels. Default: 16, 32, 64, 128, 256, for five
    /// levels.
    pub base_edge_list: Vec<f32>,
    /// Smallest and largest box size `sqrt(width * height)` in pixels that each level learns, both
    /// inclusive. Default: 1 to 64, 32 to 128, 64 to 256, 128 to 512, 256 to 2048.
    pub scale_ranges: Vec<[f32; 2]>,
    /// Focal loss of the classes. Default: gamma 1.5, alpha 0.4.
    #[serde(with = "FoveaFocal")]
    pub focal: FocalLoss,
    /// Difference from which the smooth L1 loss of the box is linear. Default: 0.11.
    pub smooth_l1_beta: f64,
    /// Factor of the box loss. Default: 1.
    pub box_weight: f64,
    /// Inference. Default: NMS at 0.5.
    #[serde(with = "HalfOverlap")]
    pub test: InferenceConfig,
}

impl Default for FoveaConfig {
    fn default() -> Self {
        Self {
            feat_channels: 256,
            stacked_convs: 4,
            norm: TowerNorm::None,
            conv_bias: None,
            dcn_on_last_conv: false,
            with_deform: false,
            deform_groups: 4,
            sigma: 0.4,
            base_edge_list: vec![16.0, 32.0, 64.0, 128.0, 256.0],
            scale_ranges: vec![
                [1.0, 64.0],
                [32.0, 128.0],
                [64.0, 256.0],
                [128.0, 512.0],
                [256.0, 2048.0],
            ],
            focal: FoveaFocal::published(),
            smooth_l1_beta: 0.11,
            box_weight: 1.0,
            test: InferenceConfig::half_overlap(),
        }
    }
}

/// Reads a [`FocalLoss`] whose absent keys have FoveaBox's values.
#[derive(Serialize, Deserialize)]
#[serde(
    remote = "FocalLoss",
    deny_unknown_fields,
    default = "FoveaFocal::published"
)]
struct FoveaFocal {
    gamma: f64,
    alpha: f64,
    weight: f64,
}

impl FoveaFocal {
    fn published() -> FocalLoss {
        FocalLoss {
            gamma: 1.5,
            alpha: 0.4,
            weight: 1.0,
        }
    }
}

impl MethodConfig for FoveaConfig {
    fn title(&self) -> &'static str {
        "FoveaBox"
    }

    fn validate(&self, levels: &[FeatureSpec]) -> Result<(), DetectorConfigError> {
        let table = Table("detector.fovea");
        self.validate_levels(table, levels)?;
        let sigma = self.sigma;
        table.need(sigma > 0.0 && sigma <= 1.0, "sigma", || {
            format!("expected more than 0, at most 1, found {sigma}")
        })?;
        table.positive("smooth_l1_beta", self.smooth_l1_beta)?;
        table.not_negative("box_weight", self.box_weight)?;
        table.last_conv(self.dcn_on_last_conv, self.stacked_convs)?;
        if self.with_deform {
            self.validate_alignment(table, levels[0].channels)?;
        }
        table.focal("focal", &self.focal)?;
        self.test
            .validate_without_quality(Table("detector.fovea.test"))?;
        self.norm.validate(table, self.feat_channels)
    }

    fn inference(&self) -> &InferenceConfig {
        &self.test
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
            assigner.scale_ranges[0] = [0.0, f32::MAX];
        }
        vec![assigner.assign(levels, truth).matches]
    }

    fn remedy(&self, cause: Cause) -> Option<String> {
        let sigma = self.sigma;
        match cause {
            Cause::OutOfRange => Some("widen detector.fovea.scale_ranges".to_owned()),
            Cause::BetweenPoints if sigma < 1.0 => {
                Some(format!("raise detector.fovea.sigma (now {sigma})"))
            }
            Cause::BetweenPoints | Cause::Ignored | Cause::Hidden => None,
        }
    }
}

impl Method for FoveaConfig {
    type Head = FoveaHead;
    type Predictions = FoveaPredictions;
    type Targets = FoveaTargets;

    fn head(&self, num_classes: usize, levels: &[FeatureSpec]) -> FoveaHeadConfig {
        let deform_groups = self.deform_groups;
        FoveaHeadConfig {
            num_classes,
            tower: TowerConfig {
                conv_bias: self.conv_bias.into(),
                last_dcn: self.dcn_on_last_conv.then_some(DcnKind::V2),
                ..self
                    .norm
                    .tower(levels, self.feat_channels, self.stacked_convs)
            },
            class_tower: if self.with_deform {
                ClassTower::Aligned { deform_groups }
            } else {
                ClassTower::Plain
            },
        }
    }

    fn targets(
        &self,
        predictions: &Pyramid<FoveaPredictions>,
        truth: &GroundTruth,
    ) -> FoveaTargets {
        self.assigner().assign(&predictions.levels, truth)
    }

    fn geometric_targets(
        &self,
        levels: &[LevelShape],
        truth: &GroundTruth,
    ) -> Option<FoveaTargets> {
        Some(self.assigner().assign(levels, truth))
    }

    /// The number of positives, and that of positives and images.
    fn normalisers(&self, targets: &FoveaTargets) -> Tensor<1> {
        let [images, _] = targets.matches.positive.dims();
        let positives = targets.matches.positive.clone().float().sum(); // [1]
        Tensor::cat(vec![positives.clone(), positives + images as f64], 0)
    }

    /// - classes: focal loss of every point outside of ignore regions, over the number of positives
    ///   and images;
    /// - box: smooth L1 loss of every positive's four logarithms of distances, over the number of
    ///   positives.
    fn losses(
        &self,
        predictions: Pyramid<FoveaPredictions>,
        targets: FoveaTargets,
        normalisers: &Tensor<1>,
    ) -> Losses {
        let predictions = predictions.maps;
        let positive = targets.matches.positive.clone().float(); // [B, P]
        let positives = positive.clone().sum(); // [1]
        let of_boxes = normaliser(normalisers, 0).clamp_min(1.0);
        let of_points = normaliser(normalisers, 1);

        let logits = flatten(&predictions.cls_score); // [B, C, P]
        let cls = focal_class_loss(logits, &targets.matches, &self.focal, of_points);

        let distances = flatten(&predictions.bbox_pred).swap_dims(1, 2); // [B, P, 4]
        let bbox = smooth_l1(distances, targets.distances, self.smooth_l1_beta);
        let bbox = bbox.sum_dim(2).squeeze_dim::<2>(2); // [B, P]
        let bbox = weighted_mean(bbox, Some(positive), of_boxes);
        Losses::new(
            vec![("loss_cls", cls), ("loss_bbox", bbox * self.box_weight)],
            positives,
        )
    }

    fn branches(&self, predictions: &Pyramid<FoveaPredictions>) -> Vec<Branch<'_>> {
        let points = cell_points(&predictions.levels, PointOrigin::Center);
        vec![Branch {
            logits: flatten(&predictions.maps.cls_score),
            values: flatten(&predictions.maps.bbox_pred),
            quality: None,
            level_points: predictions.level_points(),
            decode: Box::new(move |found| {
                let edge = self.base_edge_list[found.level];
                let reach = found.sides().map(|side| edge * side.exp());
                // The reference's boxes end at the last pixel, not at the end of the image.
                let [height, width] = found.image.size.map(|side| side as f32 - 1.0);
                let last = ImageSize::new(height, width);
                decode_distance_host(points[found.point], reach, Some(last))
            }),
        }]
    }

    fn stages(&self, targets: FoveaTargets, levels: &[LevelShape]) -> Vec<StageRoles> {
        let points = cell_points(levels, PointOrigin::Center);
        let learns = Learns::ClassesAndBoxes;
        vec![StageRoles::new("points", learns, points, targets.matches)]
    }
}

impl FoveaConfig {
    /// The assigner of these options.
    pub fn assigner(&self) -> FoveaAssigner {
        FoveaAssigner {
            scale_ranges: self.scale_ranges.clone(),
            base_edges: self.base_edge_list.clone(),
            sigma: self.sigma,
        }
    }

    fn validate_alignment(
        &self,
        table: Table<'_>,
        channels: usize,
    ) -> Result<(), DetectorConfigError> {
        let (features, groups) = (self.feat_channels, self.deform_groups);
        table.need(channels == features, "feat_channels", || {
            format!(
                "with_deform expects the {channels} channels of the pyramid \
                 (detector.neck.out_channels), found {features}"
            )
        })?;
        let divides = groups > 0 && features.is_multiple_of(groups);
        table.need(divides, "deform_groups", || {
            format!("expected a divisor of the {features} channels, found {groups}")
        })
    }

    fn validate_levels(
        &self,
        table: Table<'_>,
        levels: &[FeatureSpec],
    ) -> Result<(), DetectorConfigError> {
        let (ranges, edges) = (&self.scale_ranges, &self.base_edge_list);
        table.per_level("scale_ranges", ranges, "ranges", levels)?;
        table.per_level("base_edge_list", edges, "edges", levels)?;
        let ordered = |[low, high]: &&[f32; 2]| low <= high;
        if let Some([low, high]) = ranges.iter().find(|range| !ordered(range)) {
            let problem = format!("the range [{low}, {high}] is empty");
            return Err(table.error("scale_ranges", problem));
        }
        edges
            .iter()
            .try_for_each(|edge| table.positive("base_edge_list", *edge))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> FoveaConfig {
        serde_json::from_str(text).expect("a valid table")
    }

    #[test]
    fn keys_left_out_of_a_table_have_the_methods_defaults() {
        let default = FoveaConfig::default();
        let focal = read(r#"{ "focal": { "gamma": 2.0 } }"#).focal;
        assert_eq!((focal.gamma, focal.alpha), (2.0, default.focal.alpha));
        let test = read(r#"{ "test": { "nms_pre": 7 } }"#).test;
        assert_eq!((test.nms_pre, test.nms_iou), (7, default.test.nms_iou));
        assert_eq!(read("{}"), default);
    }

    #[test]
    fn unknown_keys_of_inner_tables_are_refused() {
        for table in ["focal", "test"] {
            let text = format!(r#"{{ "{table}": {{ "gama": 1 }} }}"#);
            let error = serde_json::from_str::<FoveaConfig>(&text).expect_err("a bad key");
            assert!(error.to_string().contains("gama"), "{error}");
        }
    }
}

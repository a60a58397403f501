//! The model: images in, raw predictions out.

use aweigh_assign::{
    fcos::FcosTargets, fovea::FoveaTargets, fsaf::FsafTargets, reppoints::RepPointsTargets,
};
use aweigh_backbone::{Backbone, Fpn, weights::ClassLayer};
use aweigh_geometry::{Detection, GroundTruth, LevelShape};
use aweigh_heads::fcos::{FcosHead, FcosPredictions};
use aweigh_heads::fovea::{FoveaHead, FoveaPredictions};
use aweigh_heads::fsaf::{FsafHead, FsafPredictions};
use aweigh_heads::reppoints::{RepPointsHead, RepPointsPredictions};
use aweigh_heads::retina::{RetinaHead, RetinaPredictions};
use burn::module::Module;
use burn::tensor::{Device, Tensor};

use crate::explain::Explanation;
use crate::retina::JointTargets;
use crate::{
    DetectorConfig, ImageFrame, Losses, Method, explain, fcos, fovea, fsaf, reppoints, retina,
};

/// What is wrong with predictions that another detector made.
const OTHER_METHOD: &str = "predictions of another method than the detector's";

/// The head of a method.
// A detector has one.
#[allow(clippy::large_enum_variant)]
#[derive(Module, Debug)]
pub enum Head {
    /// FCOS.
    Fcos(FcosHead),
    /// FoveaBox.
    Fovea(FoveaHead),
    /// RepPoints.
    RepPoints(RepPointsHead),
    /// FSAF's anchor-free branch alone.
    Fsaf(FsafHead),
    /// RetinaNet, alone or joint with FSAF.
    Retina(RetinaHead),
}

/// Raw predictions of a method.
#[derive(Debug, Clone)]
pub enum Predictions {
    /// FCOS.
    Fcos(FcosPredictions),
    /// FoveaBox.
    Fovea(FoveaPredictions),
    /// RepPoints.
    RepPoints(RepPointsPredictions),
    /// FSAF's anchor-free branch alone.
    Fsaf(FsafPredictions),
    /// RetinaNet, alone or joint with FSAF.
    Retina(RetinaPredictions),
}

impl Predictions {
    /// Class logits of every level, `[B, C, H_l, W_l]`.
    pub fn cls_score(&self) -> &[Tensor<4>] {
        match self {
            Self::Fcos(p) => &p.cls_score,
            Self::Fovea(p) => &p.cls_score,
            Self::RepPoints(p) => &p.cls_score,
            Self::Fsaf(p) => &p.cls_score,
            Self::Retina(p) => &p.cls_score,
        }
    }
}

/// What the predictions of a method are compared with.
// A step has one.
#[allow(clippy::large_enum_variant)]
#[derive(Debug, Clone)]
pub enum Targets {
    /// FCOS.
    Fcos(FcosTargets),
    /// FoveaBox.
    Fovea(FoveaTargets),
    /// RepPoints.
    RepPoints(RepPointsTargets),
    /// FSAF's anchor-free branch alone.
    Fsaf(FsafTargets),
    /// RetinaNet, alone or joint with FSAF.
    Retina(JointTargets),
}

/// A detector: backbone, neck and head, with the options of its method.
///
/// Should be created using [`DetectorConfig`].
#[derive(Module, Debug)]
pub struct Detector {
    /// The feature extractor.
    pub backbone: Backbone,
    /// The feature pyramid.
    pub neck: Fpn,
    /// The head.
    pub bbox_head: Head,
    #[module(skip)]
    method: Method,
    #[module(skip)]
    strides: Vec<usize>,
}

impl Detector {
    pub(crate) fn new(
        config: &DetectorConfig,
        bbox_head: Head,
        method: Method,
        device: &Device,
    ) -> Self {
        let features = config.backbone.features();
        let levels = config.neck.features(&features);
        Self {
            backbone: config.backbone.init(device),
            neck: config.neck.init(&features, device),
            bbox_head,
            method,
            strides: levels.iter().map(|level| level.stride).collect(),
        }
    }

    /// The method and its options.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// The layers with outputs for each class, by module path.
    pub fn class_layers(&self) -> Vec<ClassLayer> {
        let of_head = match &self.bbox_head {
            Head::Fcos(head) => head.class_layers(),
            Head::Fovea(head) => head.class_layers(),
            Head::RepPoints(head) => head.class_layers(),
            Head::Fsaf(head) => head.class_layers(),
            Head::Retina(head) => head.class_layers(),
        };
        let of_detector = |layer: ClassLayer| ClassLayer {
            name: format!("bbox_head.{}", layer.name),
            ..layer
        };
        of_head.into_iter().map(of_detector).collect()
    }

    /// Raw predictions of every level.
    ///
    /// # Shapes
    ///
    /// - `images`: `[B, 3, H, W]`, normalised, padded
    pub fn forward(&self, images: Tensor<4>) -> Predictions {
        self.predict(self.features(images))
    }

    /// The first half of [`forward`](Self::forward): backbone and neck.
    ///
    /// # Shapes
    ///
    /// - `images`: `[B, 3, H, W]`, normalised, padded
    /// - returns one `[B, channels, H_l, W_l]` per level
    pub fn features(&self, images: Tensor<4>) -> Vec<Tensor<4>> {
        self.neck.forward(self.backbone.forward(images))
    }

    /// The second half of [`forward`](Self::forward): the head, on what
    /// [`features`](Self::features) gives.
    pub fn predict(&self, features: Vec<Tensor<4>>) -> Predictions {
        match &self.bbox_head {
            Head::Fcos(head) => Predictions::Fcos(head.forward(features)),
            Head::Fovea(head) => Predictions::Fovea(head.forward(features)),
            Head::RepPoints(head) => Predictions::RepPoints(head.forward(features)),
            Head::Fsaf(head) => Predictions::Fsaf(head.forward(features)),
            Head::Retina(head) => Predictions::Retina(head.forward(features)),
        }
    }

    /// The losses of a batch's predictions. Nothing is read back from the device.
    ///
    /// # Panics
    ///
    /// When the predictions are those of another method.
    pub fn losses(&self, predictions: Predictions, truth: &GroundTruth) -> Losses {
        let targets = self.assign(&predictions, truth);
        self.compare(predictions, targets)
    }

    /// The first half of [`losses`](Self::losses): what every point should predict. Nothing is
    /// read back from the device.
    ///
    /// # Panics
    ///
    /// When the predictions are those of another method.
    pub fn assign(&self, predictions: &Predictions, truth: &GroundTruth) -> Targets {
        let levels = self.level_shapes(predictions);
        match (&self.method, predictions) {
            (Method::Fcos(config), Predictions::Fcos(_)) => {
                Targets::Fcos(config.targets(&levels, truth))
            }
            (Method::Fovea(config), Predictions::Fovea(_)) => {
                Targets::Fovea(config.targets(&levels, truth))
            }
            (Method::RepPoints(config), Predictions::RepPoints(p)) => {
                Targets::RepPoints(config.targets(p, &levels, truth))
            }
            (Method::Fsaf(config), Predictions::Fsaf(p)) => {
                Targets::Fsaf(config.targets(p, &levels, truth))
            }
            (Method::Retina(config), Predictions::Retina(p)) => {
                Targets::Retina(config.targets(p, &levels, truth))
            }
            (
                Method::Fcos(_)
                | Method::Fovea(_)
                | Method::RepPoints(_)
                | Method::Fsaf(_)
                | Method::Retina(_),
                _,
            ) => {
                panic!("{OTHER_METHOD}")
            }
        }
    }

    /// The second half of [`losses`](Self::losses): how far the predictions are from what
    /// [`assign`](Self::assign) gives for them.
    ///
    /// # Panics
    ///
    /// When predictions or targets are those of another method.
    pub fn compare(&self, predictions: Predictions, targets: Targets) -> Losses {
        let levels = self.level_shapes(&predictions);
        match (&self.method, predictions, targets) {
            (Method::Fcos(config), Predictions::Fcos(p), Targets::Fcos(t)) => config.losses(p, t),
            (Method::Fovea(config), Predictions::Fovea(p), Targets::Fovea(t)) => {
                config.losses(p, t)
            }
            (Method::RepPoints(config), Predictions::RepPoints(p), Targets::RepPoints(t)) => {
                config.losses(p, t, &levels)
            }
            (Method::Fsaf(config), Predictions::Fsaf(p), Targets::Fsaf(t)) => {
                config.losses(&p, &t, &levels)
            }
            (Method::Retina(config), Predictions::Retina(p), Targets::Retina(t)) => {
                config.losses(&p, &t, &levels)
            }
            (
                Method::Fcos(_)
                | Method::Fovea(_)
                | Method::RepPoints(_)
                | Method::Fsaf(_)
                | Method::Retina(_),
                _,
                _,
            ) => {
                panic!("{OTHER_METHOD}")
            }
        }
    }

    /// Which points each box of each image trains, for people to look at. Reads the targets back
    /// from the device.
    ///
    /// # Panics
    ///
    /// When the predictions are those of another method.
    pub fn explain(&self, predictions: &Predictions, truth: &GroundTruth) -> Vec<Explanation> {
        let levels = self.level_shapes(predictions);
        let stages = match self.assign(predictions, truth) {
            Targets::Fcos(targets) => fcos::stages(targets, &levels),
            Targets::Fovea(targets) => fovea::stages(targets, &levels),
            Targets::RepPoints(targets) => reppoints::stages(targets, &levels),
            Targets::Fsaf(targets) => fsaf::stages(targets, &levels),
            Targets::Retina(targets) => {
                let Method::Retina(config) = &self.method else {
                    panic!("{OTHER_METHOD}");
                };
                retina::stages(config, targets, &levels)
            }
        };
        explain::read(&stages, &levels, truth)
    }

    /// The detections of each image, in original pixels, best first. Reads the predictions back
    /// from the device once.
    ///
    /// # Panics
    ///
    /// When the predictions are those of another method.
    pub fn decode(&self, predictions: &Predictions, images: &[ImageFrame]) -> Vec<Vec<Detection>> {
        let levels = self.level_shapes(predictions);
        match (&self.method, predictions) {
            (Method::Fcos(config), Predictions::Fcos(p)) => config.decode(p, &levels, images),
            (Method::Fovea(config), Predictions::Fovea(p)) => config.decode(p, &levels, images),
            (Method::RepPoints(config), Predictions::RepPoints(p)) => {
                config.decode(p, &levels, images)
            }
            (Method::Fsaf(config), Predictions::Fsaf(p)) => config.decode(p, &levels, images),
            (Method::Retina(config), Predictions::Retina(p)) => config.decode(p, &levels, images),
            (
                Method::Fcos(_)
                | Method::Fovea(_)
                | Method::RepPoints(_)
                | Method::Fsaf(_)
                | Method::Retina(_),
                _,
            ) => {
                panic!("{OTHER_METHOD}")
            }
        }
    }

    /// Size and stride of each level of `predictions`.
    pub fn level_shapes(&self, predictions: &Predictions) -> Vec<LevelShape> {
        predictions
            .cls_score()
            .iter()
            .zip(&self.strides)
            .map(|(map, stride)| {
                let [_, _, height, width] = map.dims();
                LevelShape::new(height, width, *stride)
            })
            .collect()
    }
}

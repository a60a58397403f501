//! The model: images in, raw predictions out.

use aweigh_backbone::{Fpn, ResNet};
use aweigh_geometry::{Detection, GroundTruth, LevelShape};
use aweigh_heads::fcos::{FcosHead, FcosPredictions};
use burn::module::Module;
use burn::tensor::{Device, Tensor};

use crate::{DetectorConfig, ImageFrame, Losses, Method};

/// The head of a method.
#[derive(Module, Debug)]
pub enum Head {
    /// FCOS.
    Fcos(FcosHead),
}

/// Raw predictions of a method.
#[derive(Debug, Clone)]
pub enum Predictions {
    /// FCOS.
    Fcos(FcosPredictions),
}

/// A detector: backbone, neck and head, with the options of its method.
///
/// Should be created using [`DetectorConfig`].
#[derive(Module, Debug)]
pub struct Detector {
    /// The feature extractor.
    pub backbone: ResNet,
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

    /// Raw predictions of every level.
    ///
    /// # Shapes
    ///
    /// - `images`: `[B, 3, H, W]`, normalised, padded
    pub fn forward(&self, images: Tensor<4>) -> Predictions {
        let features = self.neck.forward(self.backbone.forward(images));
        match &self.bbox_head {
            Head::Fcos(head) => Predictions::Fcos(head.forward(features)),
        }
    }

    /// The losses of a batch's predictions. Nothing is read back from the device.
    pub fn losses(&self, predictions: Predictions, truth: &GroundTruth) -> Losses {
        let levels = self.level_shapes(&predictions);
        match (&self.method, predictions) {
            (Method::Fcos(config), Predictions::Fcos(p)) => {
                config.losses(p, config.targets(&levels, truth))
            }
        }
    }

    /// The detections of each image, in original pixels, best first. Reads the predictions back
    /// from the device once.
    pub fn decode(&self, predictions: &Predictions, images: &[ImageFrame]) -> Vec<Vec<Detection>> {
        let levels = self.level_shapes(predictions);
        match (&self.method, predictions) {
            (Method::Fcos(config), Predictions::Fcos(p)) => config.decode(p, &levels, images),
        }
    }

    /// Size and stride of each level of `predictions`.
    pub fn level_shapes(&self, predictions: &Predictions) -> Vec<LevelShape> {
        let maps = match predictions {
            Predictions::Fcos(p) => &p.cls_score,
        };
        maps.iter()
            .zip(&self.strides)
            .map(|(map, stride)| {
                let [_, _, height, width] = map.dims();
                LevelShape::new(height, width, *stride)
            })
            .collect()
    }
}

//! The model: images in, raw predictions out.

use aweigh_backbone::{Backbone, Fpn, weights::ClassLayer};
use aweigh_geometry::{GroundTruth, LevelShape};
use burn::module::Module;
use burn::tensor::Tensor;

use crate::BBoxHead;
use crate::head::Predictions;
use crate::method::MethodConfig;
use crate::pyramid::Pyramid;

/// A detector: backbone, neck and the head of a method.
///
/// Should be created using [`DetectorConfig`](crate::DetectorConfig).
#[derive(Module, Debug)]
pub struct Detector {
    /// The feature extractor.
    pub backbone: Backbone,
    /// The feature pyramid.
    pub neck: Fpn,
    /// The head, with the options of its method.
    pub bbox_head: BBoxHead,
    /// Stride of every level, in pixels.
    #[module(skip)]
    pub(crate) strides: Vec<usize>,
}

impl Detector {
    /// The method and its options.
    pub fn method(&self) -> &dyn MethodConfig {
        self.bbox_head.any().method()
    }

    /// The layers with outputs for each class, by module path.
    pub fn class_layers(&self) -> Vec<ClassLayer> {
        let of_detector = |layer: ClassLayer| ClassLayer {
            name: format!("bbox_head.{}", layer.name),
            ..layer
        };
        let of_head = self.bbox_head.any().class_layers();
        of_head.into_iter().map(of_detector).collect()
    }

    /// Raw predictions of every level, in `f32`.
    ///
    /// The type of the images is that of the network: layers cast their parameters to the type of
    /// their maps, up to the last convolutions of the head.
    ///
    /// # Shapes
    ///
    /// - `images`: `[B, 3, H, W]`, normalised, padded
    pub fn forward(&self, images: Tensor<4>) -> Box<dyn Predictions> {
        self.predict(self.features(images))
    }

    /// The first half of [`forward`](Self::forward): backbone and neck.
    ///
    /// # Shapes
    ///
    /// - `images`: `[B, 3, H, W]`, normalised, padded
    /// - returns one `[B, channels, H_l, W_l]` per level
    pub fn features(&self, images: Tensor<4>) -> Pyramid<Vec<Tensor<4>>> {
        let [_, _, height, width] = images.dims();
        let maps = self.neck.forward(self.backbone.forward(images));
        let pyramid = Pyramid::new(maps, &self.strides);
        pyramid.spread(self.method().spacing(), [height, width])
    }

    /// The second half of [`forward`](Self::forward): the head, on what
    /// [`features`](Self::features) gives.
    ///
    /// # Panics
    ///
    /// When there is not one map for every level.
    pub fn predict(&self, features: Pyramid<Vec<Tensor<4>>>) -> Box<dyn Predictions> {
        self.bbox_head.any().predict(features)
    }

    /// What the losses of a batch on `levels` are divided by, `[N]`, where that is known without
    /// predictions; see [`Assigned::normalisers`](crate::Assigned::normalisers).
    pub fn geometric_normalisers(
        &self,
        levels: &[LevelShape],
        truth: &GroundTruth,
    ) -> Option<Tensor<1>> {
        self.bbox_head.any().geometric_normalisers(levels, truth)
    }
}

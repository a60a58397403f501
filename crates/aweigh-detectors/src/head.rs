//! A head and its method, and what they predict.

use std::fmt::{self, Debug};

use aweigh_backbone::weights::ClassLayer;
use aweigh_geometry::{Detection, GroundTruth, ImageFrame, LevelShape};
use aweigh_heads::{DenseHead, RawPredictions};
use burn::module::{
    Content, Devices, DisplaySettings, Module, ModuleDisplay, ModuleDisplayDefault, ModuleMapper,
    ModuleVisitor,
};
use burn::tensor::{Device, Tensor};

use crate::Losses;
use crate::explain::{self, Explanation};
use crate::method::{Method, MethodConfig};
use crate::pyramid::Pyramid;

/// A head and its method.
///
/// As a module it is its head: parameters have no part of their names from here.
#[derive(Debug, Clone)]
pub struct MethodHead<M: Method> {
    head: M::Head,
    method: M,
}

/// Raw predictions of a batch, which know the method that they belong to.
pub trait Predictions: Debug + Send {
    /// Size and stride of every level.
    fn levels(&self) -> &[LevelShape];

    /// The outputs of the head, named as in the reference where it has them, class logits first:
    /// one map per level, `[B, channels, H_l, W_l]`.
    fn outputs(&self) -> Vec<(&'static str, &[Tensor<4>])>;

    /// Finds out what every point should predict. Nothing is read back from the device.
    fn assign(self: Box<Self>, truth: &GroundTruth) -> Box<dyn Assigned>;

    /// The losses of a whole batch: [`assign`](Self::assign), then [`Assigned::losses`].
    fn losses(self: Box<Self>, truth: &GroundTruth) -> Losses {
        let assigned = self.assign(truth);
        let normalisers = assigned.normalisers();
        assigned.losses(&normalisers)
    }

    /// The detections of each image, in original pixels, best first. Waits for the device twice.
    ///
    /// # Panics
    ///
    /// When there are more `images` than the predictions are of.
    fn decode(&self, images: &[ImageFrame]) -> Vec<Vec<Detection>>;

    /// Which points each box of each image trains, for people to look at. Reads the targets back
    /// from the device.
    fn explain(&self, truth: &GroundTruth) -> Vec<Explanation>;
}

/// Raw predictions of a batch, and what they should be.
pub trait Assigned: Debug + Send {
    /// What the losses of a batch of these are divided by, `[N]`. Those of the parts of a batch add
    /// up to those of the batch.
    fn normalisers(&self) -> Tensor<1>;

    /// How far the predictions are from their targets, over the [`normalisers`](Self::normalisers)
    /// of the batch that these are, or are a part of. Nothing is read back from the device.
    fn losses(self: Box<Self>, normalisers: &Tensor<1>) -> Losses;
}

/// [`Predictions`] of a method.
#[derive(Debug)]
struct Predicted<M: Method> {
    method: M,
    raw: Pyramid<M::Predictions>,
}

/// [`Assigned`] of a method.
#[derive(Debug)]
struct WithTargets<M: Method> {
    predicted: Predicted<M>,
    targets: M::Targets,
}

/// A [`MethodHead`] whose method is not known.
pub(crate) trait AnyHead {
    fn method(&self) -> &dyn MethodConfig;
    fn class_layers(&self) -> Vec<ClassLayer>;
    fn predict(&self, features: Pyramid<Vec<Tensor<4>>>) -> Box<dyn Predictions>;
    fn geometric_normalisers(
        &self,
        levels: &[LevelShape],
        truth: &GroundTruth,
    ) -> Option<Tensor<1>>;
}

impl<M: Method> MethodHead<M> {
    pub(crate) fn new(head: M::Head, method: M) -> Self {
        Self { head, method }
    }

    /// The layers.
    pub fn head(&self) -> &M::Head {
        &self.head
    }

    /// The method.
    pub fn method(&self) -> &M {
        &self.method
    }
}

impl<M: Method> AnyHead for MethodHead<M> {
    fn method(&self) -> &dyn MethodConfig {
        &self.method
    }

    fn class_layers(&self) -> Vec<ClassLayer> {
        self.head.class_layers()
    }

    fn predict(&self, features: Pyramid<Vec<Tensor<4>>>) -> Box<dyn Predictions> {
        Box::new(Predicted {
            method: self.method.clone(),
            raw: features.map(|maps| self.head.forward(maps)),
        })
    }

    fn geometric_normalisers(
        &self,
        levels: &[LevelShape],
        truth: &GroundTruth,
    ) -> Option<Tensor<1>> {
        let targets = self.method.geometric_targets(levels, truth)?;
        Some(self.method.normalisers(&targets))
    }
}

impl<M: Method> Predictions for Predicted<M> {
    fn levels(&self) -> &[LevelShape] {
        &self.raw.levels
    }

    fn outputs(&self) -> Vec<(&'static str, &[Tensor<4>])> {
        self.raw.maps.outputs()
    }

    fn assign(self: Box<Self>, truth: &GroundTruth) -> Box<dyn Assigned> {
        let targets = self.method.targets(&self.raw, truth);
        Box::new(WithTargets {
            predicted: *self,
            targets,
        })
    }

    fn decode(&self, images: &[ImageFrame]) -> Vec<Vec<Detection>> {
        self.method.decode(&self.raw, images)
    }

    fn explain(&self, truth: &GroundTruth) -> Vec<Explanation> {
        let targets = self.method.targets(&self.raw, truth);
        let levels = &self.raw.levels;
        explain::read(&self.method.stages(targets, levels), levels, truth)
    }
}

impl<M: Method> Assigned for WithTargets<M> {
    fn normalisers(&self) -> Tensor<1> {
        self.predicted.method.normalisers(&self.targets)
    }

    fn losses(self: Box<Self>, normalisers: &Tensor<1>) -> Losses {
        let Predicted { method, raw } = self.predicted;
        method.losses(raw, self.targets, normalisers)
    }
}

// Derived, the head would be a field with a name, and that name a part of every parameter's.
impl<M: Method> Module for MethodHead<M> {
    fn collect_devices(&self, devices: Devices) -> Devices {
        self.head.collect_devices(devices)
    }

    fn fork(self, device: &Device) -> Self {
        let Self { head, method } = self;
        Self::new(head.fork(device), method)
    }

    fn to_device(self, device: &Device) -> Self {
        let Self { head, method } = self;
        Self::new(head.to_device(device), method)
    }

    fn train(self) -> Self {
        let Self { head, method } = self;
        Self::new(head.train(), method)
    }

    fn valid(&self) -> Self {
        Self::new(self.head.valid(), self.method.clone())
    }

    fn materialize(self) -> Self {
        let Self { head, method } = self;
        Self::new(head.materialize(), method)
    }

    fn visit<Visitor: ModuleVisitor>(&self, visitor: &mut Visitor) {
        self.head.visit(visitor);
    }

    fn map<Mapper: ModuleMapper>(self, mapper: &mut Mapper) -> Self {
        let Self { head, method } = self;
        Self::new(head.map(mapper), method)
    }
}

impl<M: Method> ModuleDisplayDefault for MethodHead<M> {
    fn content(&self, content: Content) -> Option<Content> {
        self.head.content(content)
    }

    fn num_params(&self) -> usize {
        Module::num_params(&self.head)
    }
}

impl<M: Method> ModuleDisplay for MethodHead<M> {}

impl<M: Method> fmt::Display for MethodHead<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.head.format(DisplaySettings::default()))
    }
}

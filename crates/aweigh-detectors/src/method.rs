//! What a detection method is.

use std::fmt::Debug;

use aweigh_assign::Matches;
use aweigh_backbone::FeatureSpec;
use aweigh_geometry::{Detection, GroundTruth, ImageFrame, LevelShape, PointSpacing};
use aweigh_heads::{DenseHead, RawPredictions};
use burn::tensor::Tensor;

use crate::decode::{self, Branch};
use crate::explain::StageRoles;
use crate::pyramid::Pyramid;
use crate::{DetectorConfigError, InferenceConfig, Losses};

/// Why nothing learns a box.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// No point lies where the box takes points, or no anchor overlaps it enough.
    BetweenPoints,
    /// The levels that have points for it are for boxes of other sizes.
    OutOfRange,
    /// An ignore region takes its points.
    Ignored,
    /// Other boxes take its points.
    Hidden,
}

/// Whether a method keeps boxes from levels that are not for their size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SizeLimits {
    /// As configured.
    Kept,
    /// The finest level, or any, is for boxes of every size.
    Lifted,
}

/// What the options of a method say before there is a head. Implemented by the method's table in
/// the configuration.
pub trait MethodConfig: Debug {
    /// The name of the method in texts.
    fn title(&self) -> &'static str;

    /// What learns boxes, for use in texts.
    fn learner(&self) -> &'static str {
        "point"
    }

    /// Checks values and their combination with the pyramid `levels`.
    ///
    /// # Errors
    ///
    /// Names the key and what was expected.
    fn validate(&self, levels: &[FeatureSpec]) -> Result<(), DetectorConfigError>;

    /// How predictions become detections.
    fn inference(&self) -> &InferenceConfig;

    /// How far apart the points of a level lie. By the stride, if not said otherwise.
    fn spacing(&self) -> PointSpacing {
        PointSpacing::Stride
    }

    /// Whether which point learns which box depends on predictions, and so on the weights.
    fn assigns_by_predictions(&self) -> bool;

    /// Who learns which box by geometry alone, whatever is predicted: for every branch, and of a
    /// method with stages for the first.
    ///
    /// # Panics
    ///
    /// When the options do not fit the number of levels.
    fn reachable(
        &self,
        levels: &[LevelShape],
        truth: &GroundTruth,
        sizes: SizeLimits,
    ) -> Vec<Matches>;

    /// What to change in the configuration so that boxes are learnt that nothing learns for this
    /// reason, besides the size of the network input and the pyramid.
    fn remedy(&self, cause: Cause) -> Option<String>;
}

/// A detection method: a head, what it should predict, how the two are compared, and where its
/// detections are. Implemented by the method's table in the configuration.
///
/// Everything is a function of its arguments: the method has no state.
pub trait Method: MethodConfig + Clone + Send + Sync + 'static {
    /// The layers behind the pyramid.
    type Head: DenseHead<Predictions = Self::Predictions>;
    /// What the head predicts.
    type Predictions: RawPredictions;
    /// What it should predict.
    type Targets: Debug + Send;

    /// The architecture of the head on the pyramid `levels`.
    ///
    /// # Panics
    ///
    /// When there are no levels.
    fn head(&self, num_classes: usize, levels: &[FeatureSpec])
    -> <Self::Head as DenseHead>::Config;

    /// The targets of a batch; predictions matter to methods that assign by them. Nothing is read
    /// back from the device.
    fn targets(
        &self,
        predictions: &Pyramid<Self::Predictions>,
        truth: &GroundTruth,
    ) -> Self::Targets;

    /// The targets of a batch by geometry alone; none where they depend on predictions.
    fn geometric_targets(
        &self,
        _levels: &[LevelShape],
        _truth: &GroundTruth,
    ) -> Option<Self::Targets> {
        None
    }

    /// What the losses of a batch are divided by, `[N]`: counts and sums, of which those of the
    /// parts of a batch add up to those of the batch.
    fn normalisers(&self, targets: &Self::Targets) -> Tensor<1>;

    /// The losses of a batch's predictions. Nothing is read back from the device.
    ///
    /// `normalisers` are those of the batch, or of the larger one that it is a part of: then the
    /// losses of all parts add up to those of the larger one.
    fn losses(
        &self,
        predictions: Pyramid<Self::Predictions>,
        targets: Self::Targets,
        normalisers: &Tensor<1>,
    ) -> Losses;

    /// Where detections come from: class logits, and the box of a point or an anchor.
    fn branches(&self, predictions: &Pyramid<Self::Predictions>) -> Vec<Branch<'_>>;

    /// The assignments that there are, for people to look at.
    fn stages(&self, targets: Self::Targets, levels: &[LevelShape]) -> Vec<StageRoles>;

    /// The boxes of each image before NMS, small ones dropped, in original pixels. Waits for the
    /// device twice.
    ///
    /// # Panics
    ///
    /// When there are more `images` than the predictions are of.
    fn candidates(
        &self,
        predictions: &Pyramid<Self::Predictions>,
        images: &[ImageFrame],
    ) -> Vec<Vec<Detection>> {
        decode::candidates(&self.branches(predictions), images, self.inference())
    }

    /// The detections of each image, in original pixels, best first. Waits for the device twice.
    ///
    /// # Panics
    ///
    /// When there are more `images` than the predictions are of.
    fn decode(
        &self,
        predictions: &Pyramid<Self::Predictions>,
        images: &[ImageFrame],
    ) -> Vec<Vec<Detection>> {
        decode::detections(&self.branches(predictions), images, self.inference())
    }
}

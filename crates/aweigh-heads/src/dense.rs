//! What every head is.

use std::fmt::Debug;

use aweigh_backbone::{LayerInfo, weights::ClassLayer};
use burn::module::{Module, ModuleDisplay};
use burn::tensor::{Device, Tensor};

/// The architecture of a head.
pub trait DenseHeadConfig {
    /// The head.
    type Head: DenseHead<Config = Self>;

    /// Builds it with fresh weights.
    ///
    /// # Panics
    ///
    /// When the options contradict each other.
    fn init(&self, device: &Device) -> Self::Head;

    /// Its layers for levels of `[height, width]`, which share their parameters.
    ///
    /// # Panics
    ///
    /// When the options contradict each other.
    fn layers(&self, sizes: &[[usize; 2]]) -> Vec<LayerInfo>;
}

/// A head: the same layers on every level of the pyramid.
pub trait DenseHead: Module + ModuleDisplay {
    /// Its architecture.
    type Config: DenseHeadConfig<Head = Self>;
    /// What it predicts.
    type Predictions: RawPredictions;

    /// Predicts on every level. Features narrower than `f32` are computed with as they are, what is
    /// predicted is `f32`.
    ///
    /// # Shapes
    ///
    /// - `features`: one `[B, in_channels, H_l, W_l]` per level
    ///
    /// # Panics
    ///
    /// When there is not one map for every level of the configuration, if that names any.
    fn forward(&self, features: Vec<Tensor<4>>) -> Self::Predictions;

    /// The layers with outputs for each class.
    fn class_layers(&self) -> Vec<ClassLayer>;
}

/// Raw predictions of a head.
pub trait RawPredictions: Clone + Debug + Send {
    /// The outputs of the head, named as in the reference where it has them, class logits first:
    /// one map per level, `[B, channels, H_l, W_l]`.
    fn outputs(&self) -> Vec<(&'static str, &[Tensor<4>])>;
}

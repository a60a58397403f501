//! From an annotated image to the points that its boxes train.

use std::path::{Path, PathBuf};

use aweigh_data::{CocoDataset, HostBatch, HostTruth, ImageMeta};
use aweigh_detectors::Detector;
use aweigh_geometry::LevelShape;
use burn::tensor::Device;

use crate::TrainError;
use crate::batch::Batch;
use crate::checkpoint::Class;
use crate::config::Experiment;
use crate::model::{Trained, check_classes, classes, fresh};

pub use aweigh_detectors::explain::{Explanation, Learns, LevelRoles, PointRole, Stage};

/// One image of an annotation file.
#[derive(Debug)]
pub struct AnnotatedImage {
    dataset: CocoDataset,
    index: usize,
}

/// A pyramid level.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LevelName {
    /// `P` and the logarithm of the stride: `P3` has a stride of 8.
    pub name: String,
    /// Size and stride.
    pub shape: LevelShape,
}

/// The points that the boxes of an image train.
#[derive(Debug, Clone, PartialEq)]
pub struct ExplainedImage {
    /// The method of the detector.
    pub method: &'static str,
    /// The way of the image to the network input, whose pixels all coordinates are in.
    pub meta: ImageMeta,
    /// `[height, width]` of the network input.
    pub input: [usize; 2],
    /// Boxes and ignore regions.
    pub truth: HostTruth,
    /// The classes in the order of labels.
    pub classes: Vec<Class>,
    /// The pyramid.
    pub levels: Vec<LevelName>,
    /// Which points the boxes train.
    pub explanation: Explanation,
}

impl AnnotatedImage {
    /// Finds an image in an annotation file.
    ///
    /// # Errors
    ///
    /// When either cannot be read, or the image is none of the file.
    pub fn open(annotations: &Path, image: &Path) -> Result<Self, TrainError> {
        let (dataset, index) = CocoDataset::open_image(annotations, image)?;
        Ok(Self { dataset, index })
    }

    /// The image file.
    pub fn file(&self) -> PathBuf {
        self.dataset.image_path(self.index)
    }

    /// A detector of random weights for the classes of the annotation file.
    ///
    /// # Errors
    ///
    /// When the configuration is not valid or has another number of classes.
    pub fn untrained(
        &self,
        experiment: &Experiment,
        device: &Device,
    ) -> Result<Detector, TrainError> {
        let mut config = experiment.detector.clone();
        let found = self.dataset.classes().len();
        let configured = *config.num_classes.get_or_insert(found);
        if configured != found {
            return Err(TrainError::NumClasses {
                configured,
                annotations: self.dataset.annotations().into(),
                found,
            });
        }
        Ok(fresh(&config, experiment.seed, &device.clone().inner())?)
    }

    /// Checks that a trained model knows the classes of the annotation file.
    ///
    /// # Errors
    ///
    /// When its classes are others.
    pub fn check(&self, trained: &Trained) -> Result<(), TrainError> {
        check_classes(&self.dataset, &trained.classes, "the model")
    }

    /// Assigns the boxes of the image as a training step does that neither flips nor rescales it.
    ///
    /// # Errors
    ///
    /// When the file is not a readable image or has another size than declared.
    pub fn explain(
        &self,
        detector: &Detector,
        experiment: &Experiment,
        device: &Device,
    ) -> Result<ExplainedImage, TrainError> {
        let transform = &experiment.data.transform;
        let host = HostBatch::from_dataset(&self.dataset, self.index, transform)?;
        let [_, _, height, width] = host.shape;
        let (meta, truth) = (host.meta[0].clone(), host.truth[0].clone());
        let batch = Batch::upload(host, device);
        let predictions = detector.forward(batch.images);
        let levels = detector.level_shapes(&predictions);
        let mut explained = detector.explain(&predictions, &batch.truth);
        Ok(ExplainedImage {
            method: detector.method().title(),
            meta,
            input: [height, width],
            truth,
            classes: classes(&self.dataset),
            levels: levels
                .into_iter()
                .map(|shape| LevelName {
                    name: level_name(shape.stride),
                    shape,
                })
                .collect(),
            explanation: explained.pop().expect("one explanation per image"),
        })
    }
}

/// The names of a detector's levels, the finest first.
///
/// # Errors
///
/// When backbone and neck do not fit.
pub fn level_names(experiment: &Experiment) -> Result<Vec<String>, TrainError> {
    let levels = experiment.detector.levels()?;
    Ok(levels
        .iter()
        .map(|level| level_name(level.stride))
        .collect())
}

fn level_name(stride: usize) -> String {
    format!("P{}", stride.ilog2())
}

//! From an annotated image to the points that its boxes train.

use std::path::{Path, PathBuf};

use aweigh_data::{Category, CocoDataset, DecodeConfig, HostBatch, ImageMeta};
use aweigh_detectors::Detector;
use aweigh_geometry::{HostTruth, LevelShape};
use burn::tensor::Device;

use crate::TrainError;
use crate::batch::Batch;
use crate::checkpoint::Class;
use crate::config::{DataConfig, Experiment, SplitConfig};
use crate::files::same_file;
use crate::model::{Trained, classes, fresh, match_classes, num_classes};

pub use aweigh_detectors::explain::{Explanation, Learns, LevelRoles, PointRole, Stage};

/// One image of an annotation file.
#[derive(Debug)]
pub struct AnnotatedImage {
    /// The path as it was given.
    path: PathBuf,
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
    /// How the file becomes pixels.
    pub decoding: DecodeConfig,
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
        let path = image.to_path_buf();
        Ok(Self {
            path,
            dataset,
            index,
        })
    }

    /// The same image, decoded as the configuration says. It is found once more if the annotation
    /// file is one of the configuration, which then has a folder for its images: those of training
    /// and validation may share their names.
    ///
    /// # Errors
    ///
    /// When the image is none of that folder.
    pub fn within(mut self, data: &DataConfig) -> Result<Self, TrainError> {
        self.dataset.set_decoding(data.decoding());
        let mut outside = None;
        for split in splits_of(self.dataset.annotations(), data) {
            match self.dataset.find_in(&split.images, &self.path) {
                Ok(index) => return Ok(Self { index, ..self }),
                // Training and validation may share an annotation file.
                Err(error) => outside = outside.or(Some(error)),
            }
        }
        match outside {
            Some(error) => Err(error.into()),
            None => Ok(self),
        }
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
        config.num_classes = Some(num_classes(&config, &self.dataset)?);
        Ok(fresh(&config, experiment.seed, &device.clone().inner())?)
    }

    /// A detector with weights from a file, or from the folder of a checkpoint. Classes that the
    /// weights do not have are those of the annotation file.
    ///
    /// # Errors
    ///
    /// When the configuration has another number of classes, or the weights do not fit.
    pub fn trained(
        &self,
        experiment: &Experiment,
        weights: &Path,
        device: &Device,
    ) -> Result<Trained, TrainError> {
        Trained::from_weights_for(&self.dataset, experiment, weights, device)
    }

    /// Gives the image the classes of a trained model: by name, where their ids differ. The model
    /// may know more, from other annotation files.
    ///
    /// # Errors
    ///
    /// When its classes are others.
    pub fn match_classes(&mut self, trained: &Trained) -> Result<(), TrainError> {
        let more = trained.classes.len() > self.dataset.classes().len();
        if more && self.dataset.adopt_classes(&categories(&trained.classes)) {
            return Ok(());
        }
        match_classes(&mut self.dataset, &trained.classes, "the model")
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
        let mut explained = predictions.explain(&batch.truth);
        Ok(ExplainedImage {
            method: detector.method().title(),
            decoding: self.dataset.config().decoding,
            meta,
            input: [height, width],
            truth,
            classes: classes(&self.dataset),
            levels: predictions
                .levels()
                .iter()
                .map(|shape| LevelName {
                    name: level_name(shape.stride),
                    shape: *shape,
                })
                .collect(),
            explanation: explained.pop().expect("one explanation per image"),
        })
    }
}

fn categories(classes: &[Class]) -> Vec<Category> {
    let classes = classes.iter();
    classes
        .map(|class| Category {
            id: class.id,
            name: class.name.clone(),
        })
        .collect()
}

/// The parts of a configuration whose annotation file is `annotations`.
fn splits_of<'a>(annotations: &Path, data: &'a DataConfig) -> Vec<&'a SplitConfig> {
    let splits = data.train.all().iter().chain(&data.val);
    splits
        .filter(|split| same_file(&split.annotations, annotations))
        .collect()
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

pub(crate) fn level_name(stride: usize) -> String {
    format!("P{}", stride.ilog2())
}

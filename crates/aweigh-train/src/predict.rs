//! From picture files to detections.

use std::path::{Path, PathBuf};

use aweigh_data::{DecodeConfig, DecodedImage, HostBatch, TransformConfig, read_picture};
use aweigh_geometry::Detection;
use burn::tensor::Device;

use crate::TrainError;
use crate::checkpoint::Class;
use crate::config::Experiment;
use crate::evaluate::detect;
use crate::model::Trained;

/// Finds objects in picture files.
#[derive(Debug)]
pub struct Predictor {
    trained: Trained,
    transform: TransformConfig,
    decoding: DecodeConfig,
    device: Device,
}

/// Detections of one picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Prediction {
    /// The file.
    pub file: PathBuf,
    /// `[height, width]` in pixels, after decoding.
    pub size: [usize; 2],
    /// In these pixels, best first.
    pub detections: Vec<Detection>,
}

impl Predictor {
    /// A predictor that prepares pictures as an experiment does.
    pub fn new(trained: Trained, experiment: &Experiment, device: &Device) -> Self {
        Self {
            trained: trained.without_annotations(),
            transform: experiment.data.transform.clone(),
            decoding: experiment.data.decoding(),
            device: device.clone(),
        }
    }

    /// The classes in the order of labels.
    pub fn classes(&self) -> &[Class] {
        &self.trained.classes
    }

    /// How files become the pixels that detections refer to.
    pub fn decoding(&self) -> &DecodeConfig {
        &self.decoding
    }

    /// Reads a picture as training does.
    ///
    /// # Errors
    ///
    /// When the file is not a readable picture.
    pub fn read(&self, file: &Path) -> Result<DecodedImage, TrainError> {
        Ok(read_picture(file, &self.decoding)?)
    }

    /// Finds objects with a score of at least `min_score` in the picture of a file.
    pub fn predict(&self, picture: &DecodedImage, file: &Path, min_score: f32) -> Prediction {
        let batch = HostBatch::from_picture(picture, file, &self.transform);
        let size = batch.meta[0].original;
        let mut images = detect(&self.trained.detector, batch, &self.device);
        let mut detections = images.pop().unwrap_or_default();
        detections.retain(|detection| detection.score >= min_score);
        Prediction {
            file: file.into(),
            size,
            detections,
        }
    }
}

//! What can go wrong in a run.

use std::path::PathBuf;

use aweigh_backbone::weights::WeightsError;
use aweigh_data::DataError;
use aweigh_detectors::DetectorConfigError;
use aweigh_distributed::OtherProcess;
use aweigh_weights::{ExportError, WriteError};
use thiserror::Error;

use crate::checkpoint::CheckpointError;
use crate::config::ConfigError;
use crate::config::mmdet::MmdetError;
use crate::device::DeviceError;
use crate::evaluation::EvalError;
use crate::precision::PrecisionError;
use crate::run_folder::RunError;

/// An error of training, evaluation, prediction or a benchmark.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TrainError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The device.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The device does not compute in the precision of the configuration.
    #[error(transparent)]
    Precision(#[from] PrecisionError),
    /// The dataset.
    #[error(transparent)]
    Data(#[from] DataError),
    /// Both datasets of a run.
    #[error("{0}\n{1}")]
    Both(Box<DataError>, Box<Self>),
    /// An annotation file has no box.
    #[error("{}: no box to learn; expected annotations with a `bbox`", .annotations.display())]
    NothingToLearn {
        /// The file.
        annotations: PathBuf,
    },
    /// The model.
    #[error(transparent)]
    Detector(#[from] DetectorConfigError),
    /// Pretrained weights.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// Weights have another checksum than the configuration says.
    #[error(
        "{}: its SHA-256 is {found}{}, the configuration expects {expected} \
         (`model.weights.sha256`)", .weights.display(), of_source(.source_sha256)
    )]
    Checksum {
        /// The file.
        weights: PathBuf,
        /// That of the file.
        found: String,
        /// That of the file that it was imported from, if it was.
        source_sha256: Option<String>,
        /// That of the configuration.
        expected: String,
    },
    /// No image of a validation set can be read.
    #[error("no image of {annotations} can be read: there is nothing to evaluate")]
    NothingEvaluated {
        /// The annotation file.
        annotations: String,
    },
    /// A pattern of the configuration is that of no parameter.
    #[error("`{key}`: no parameter that is trained matches `{pattern}`; they are {examples}")]
    NoParameter {
        /// The key.
        key: &'static str,
        /// The pattern.
        pattern: String,
        /// Parameters that there are.
        examples: String,
    },
    /// There are no such weights.
    #[error("{}: there are no such weights, which `{key}` names; {advice}", .weights.display())]
    MissingWeights {
        /// The file or folder.
        weights: PathBuf,
        /// The key of the configuration.
        key: &'static str,
        /// Where to get them, or what the path is relative to.
        advice: String,
    },
    /// Weights are of another network than the configuration.
    #[error("{}: the file is {found}, the configuration has {configured}", .weights.display())]
    OtherNetwork {
        /// The weights.
        weights: PathBuf,
        /// The network that they show.
        found: String,
        /// The network of the configuration.
        configured: String,
    },
    /// A configuration feeds a network with other pixels than its weights expect.
    #[error(
        "{} belongs to {expected}; the configuration has {configured}: set {} as the weights have \
         it, or take other weights", .weights.display(), .keys.join(", ")
    )]
    Normalization {
        /// The weights.
        weights: PathBuf,
        /// What they expect, as keys of a configuration.
        expected: String,
        /// What the configuration has.
        configured: String,
        /// The keys that differ.
        keys: Vec<&'static str>,
    },
    /// Nothing says what network a file of weights belongs to.
    #[error(
        "{}: {reason}; name the configuration of its network with --config", .weights.display()
    )]
    NoConfiguration {
        /// The file.
        weights: PathBuf,
        /// What is missing.
        reason: String,
    },
    /// Weights have another number of classes than was said.
    #[error("{} has outputs for {found} classes, but {expected}", .weights.display())]
    Outputs {
        /// The weights.
        weights: PathBuf,
        /// Number of classes of its class layers.
        found: usize,
        /// What was expected.
        expected: String,
    },
    /// A file is not a model that can be used by itself.
    #[error("{} is no model file: {reason}", .path.display())]
    NoModelFile {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A configuration of mmdetection has no place here.
    #[error(transparent)]
    Mmdet(#[from] MmdetError),
    /// A layout has no such network.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// A model file cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// A checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The run folder.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The evaluation.
    #[error(transparent)]
    Eval(#[from] EvalError),
    /// A path of the configuration leads nowhere.
    #[error("{reason}; `{key}` names it, relative to the folder that aweigh is started in")]
    DataPath {
        /// What is missing.
        reason: Box<DataError>,
        /// The key of the path.
        key: String,
    },
    /// The annotations that the number of classes is taken from.
    #[error(
        "{reason}; the classes are counted in `data.train` unless `detector.num_classes` is given"
    )]
    Classes {
        /// What is wrong with them.
        reason: DataError,
    },
    /// `detector.num_classes` and an annotation file contradict each other.
    #[error("detector.num_classes is {configured}, but {annotations} has {found} categories")]
    NumClasses {
        /// The value of the configuration.
        configured: usize,
        /// The annotation file or files.
        annotations: String,
        /// Its number of categories.
        found: usize,
    },
    /// Two annotation files, or a model and an annotation file, have different categories.
    #[error("{annotations} has the categories {found}, but {trained_on} has {expected}")]
    Categories {
        /// The annotation file or files.
        annotations: String,
        /// Its categories.
        found: String,
        /// Where those that were expected come from.
        trained_on: String,
        /// The categories that were expected.
        expected: String,
    },
    /// The classes of the training set are not those of the checkpoint.
    #[error(
        "the classes in {annotations} have changed since the checkpoint: {}; a run keeps the \
         classes that it started with", .changes.join(", ")
    )]
    ChangedClasses {
        /// The annotation file or files.
        annotations: String,
        /// What has changed.
        changes: Vec<String>,
    },
    /// The checkpoint belongs to another model or optimiser than the configuration.
    #[error("the run in {} cannot go on with {changed} changed: {reason}", .dir.display())]
    CannotResume {
        /// The run folder.
        dir: PathBuf,
        /// The tables of the configuration.
        changed: String,
        /// Why the checkpoint does not fit.
        reason: Box<TrainError>,
    },
    /// The model needs a dataset that the configuration does not name.
    #[error("the configuration has no `data.val`, which evaluation needs")]
    NoValidationSet,
    /// Pictures of a dataset cannot be used, which was found before the first step.
    #[error(
        "{first} (the first of {bad} such pictures of {looked} looked at in {annotations}; \
         `data.on_bad_image = \"skip\"` does without them)"
    )]
    Pictures {
        /// The annotation file or files.
        annotations: String,
        /// Number of those that cannot be used.
        bad: usize,
        /// Number of those that were looked at.
        looked: usize,
        /// What is wrong with the first.
        first: Box<DataError>,
    },
    /// Another process of the training cannot go on.
    #[error(transparent)]
    OtherProcess(OtherProcess),
    /// A process is in another training than the first one.
    #[error("{process} has {difference}; all processes of a training need the same")]
    OtherRun {
        /// Which process, and where.
        process: String,
        /// What it has, and what the first one has.
        difference: String,
    },
    /// Processes have other weights than the first one.
    #[error(
        "process {processes} of {size} has other weights than process 0 at iteration {iteration}: \
         their devices do not compute the same, or a memory is faulty; continue from the latest \
         checkpoint"
    )]
    OtherWeights {
        /// Which processes.
        processes: String,
        /// How many there are.
        size: usize,
        /// Completed iterations.
        iteration: usize,
    },
    /// A loss is infinite or not a number.
    #[error(
        "the loss is not finite after iteration {iteration}: {}; try a lower `train.lr`, a longer \
         `train.schedule.warmup` or `train.clip_norm`", .parts.join(", ")
    )]
    NotFinite {
        /// Completed iterations.
        iteration: usize,
        /// The parts that are not finite, with their values.
        parts: Vec<String>,
    },
    /// No batch could be loaded in an epoch.
    #[error("epoch {epoch} has no usable image in {annotations}")]
    NoBatches {
        /// The epoch.
        epoch: usize,
        /// The annotation file or files.
        annotations: String,
    },
}

impl TrainError {
    /// An error of the table `split` of a configuration, such as `data.train`, with the key of a path
    /// that leads nowhere.
    pub(crate) fn of_split(error: DataError, split: &str) -> Self {
        let key = match &error {
            DataError::AnnotationFile { .. } => "annotations",
            DataError::ImageFolder { .. } => "images",
            _ => return error.into(),
        };
        Self::DataPath {
            reason: Box::new(error),
            key: format!("{split}.{key}"),
        }
    }
}

fn of_source(sha256: &Option<String>) -> String {
    match sha256 {
        Some(sha256) => format!(", that of the file it was imported from {sha256}"),
        None => String::new(),
    }
}

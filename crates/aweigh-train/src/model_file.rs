//! A model in one file: weights, configuration, classes, normalisation.

use std::path::Path;

use aweigh_weights::{
    Class as FileClass, FileLayout, Import, ModelFile, ModelMetadata, Part, Precision, Tensor,
    Wanted, export_names,
};
use burn::tensor::Device;
use serde_json::Value;

use crate::TrainError;
use crate::checkpoint::{Checkpoint, Class};
use crate::config::Experiment;
use crate::model::{Trained, Which};
use crate::normalization::normalization_of;
use crate::parameters::named_tensors;
use crate::run_folder::RunFolder;
use crate::weights::open_weights;

impl From<&FileClass> for Class {
    fn from(class: &FileClass) -> Self {
        let FileClass { id, name } = class.clone();
        Self { id, name }
    }
}

/// A model file that has been read, before there is a network.
#[derive(Debug)]
pub struct OpenedModel {
    import: Import,
    classes: Vec<Class>,
    config: String,
}

impl OpenedModel {
    /// Reads a model file that `aweigh export` or `aweigh import` wrote.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, is no model file, or holds a backbone alone.
    pub fn open(path: &Path) -> Result<Self, TrainError> {
        let import = open_weights(path, Wanted::Model)?;
        let incomplete = |reason: &str| TrainError::NoModelFile {
            path: path.into(),
            reason: reason.to_owned(),
        };
        let metadata = import.metadata.as_ref();
        let metadata = metadata.ok_or_else(|| {
            incomplete("it has weights alone; `aweigh import` makes a model file of it")
        })?;
        if metadata.part == Part::Backbone {
            return Err(incomplete(
                "it is a backbone alone, to start training from: `model.weights.backbone`",
            ));
        }
        let config = metadata.config.clone();
        let config = config.ok_or_else(|| incomplete("it has no configuration"))?;
        let classes = metadata.classes.iter().map(Class::from).collect();
        Ok(Self {
            classes,
            config,
            import,
        })
    }

    /// The configuration in the file, with the changes of the command line.
    ///
    /// # Errors
    ///
    /// When the configuration or a change is wrong.
    pub fn experiment(&self, overrides: &[String]) -> Result<Experiment, TrainError> {
        let name = format!("{}, its configuration", self.import.path.display());
        Ok(Experiment::parse(&name, &self.config, overrides)?)
    }

    /// How the model came to be.
    pub fn history(&self) -> History {
        let metadata = self.import.metadata.as_ref();
        metadata.map(History::from).unwrap_or_default()
    }

    /// The model.
    ///
    /// # Errors
    ///
    /// When the configuration is not that of the weights.
    pub fn load(self, experiment: &Experiment, device: &Device) -> Result<Trained, TrainError> {
        let path = self.import.path.clone();
        Trained::of_import(experiment, self.classes, self.import, &path, device)
    }
}

/// What is known about a model beside its weights.
pub(crate) fn to_metadata(experiment: &Experiment, classes: &[Class]) -> ModelMetadata {
    let class = |class: &Class| FileClass {
        id: class.id,
        name: class.name.clone(),
    };
    ModelMetadata {
        method: experiment.detector.method_name().map(str::to_owned),
        config: Some(experiment.to_toml()),
        classes: classes.iter().map(class).collect(),
        normalization: Some(normalization_of(experiment)),
        ..ModelMetadata::new(Part::Detector, FileLayout::Aweigh)
    }
}

/// What is known about the model of a checkpoint, by the files beside it.
///
/// # Errors
///
/// When one of them is missing or damaged.
pub(crate) fn checkpoint_metadata(checkpoint: &Checkpoint) -> Result<ModelMetadata, TrainError> {
    let experiment = Experiment::load(&checkpoint.config_file(), &[])?;
    let history = History::of_checkpoint(checkpoint)?;
    Ok(ModelMetadata {
        metrics: history.metrics,
        command: history.command,
        ..to_metadata(&experiment, &checkpoint.state()?.classes)
    })
}

/// How a model came to be.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct History {
    /// Figures of its evaluation.
    pub metrics: Option<Value>,
    /// The commands that trained it, one per line.
    pub command: Option<String>,
    /// The file that it was imported from.
    pub source: Option<String>,
}

impl History {
    /// That of a checkpoint of a run.
    ///
    /// # Errors
    ///
    /// When the run has no such checkpoint, or its files cannot be read.
    pub fn of_run(run: &RunFolder, which: Which) -> Result<Self, TrainError> {
        Self::within(run, &run.checkpoint(which)?)
    }

    /// That of a checkpoint, which lies in the folder of its run or was taken out of it.
    fn of_checkpoint(checkpoint: &Checkpoint) -> Result<Self, TrainError> {
        let run = checkpoint.dir().parent().and_then(Path::parent);
        match run.map(RunFolder::open) {
            Some(Ok(run)) => Self::within(&run, checkpoint),
            _ => Ok(Self::default()),
        }
    }

    fn within(run: &RunFolder, checkpoint: &Checkpoint) -> Result<Self, TrainError> {
        let state = checkpoint.state()?;
        Ok(Self {
            metrics: run.figures(state.iteration)?,
            command: run.commands()?,
            source: None,
        })
    }
}

impl From<&ModelMetadata> for History {
    fn from(metadata: &ModelMetadata) -> Self {
        Self {
            metrics: metadata.metrics.clone(),
            command: metadata.command.clone(),
            source: metadata.source.clone(),
        }
    }
}

/// How a model is handed on.
#[derive(Debug, Clone, Default)]
pub struct ExportOptions {
    /// Whose names its tensors get.
    pub layout: FileLayout,
    /// Elements of the file.
    pub precision: Precision,
    /// How the model came to be.
    pub history: History,
}

impl Trained {
    /// What is known about the model beside its weights.
    pub fn metadata(&self, experiment: &Experiment, history: History) -> ModelMetadata {
        ModelMetadata {
            metrics: history.metrics,
            command: history.command,
            source: history.source,
            ..to_metadata(&self.complete(experiment), &self.classes)
        }
    }

    /// The configuration with the number of classes.
    pub fn complete(&self, experiment: &Experiment) -> Experiment {
        let mut experiment = experiment.clone();
        experiment.detector.num_classes = Some(self.classes.len());
        experiment
    }

    /// The model as a file, for a user who has nothing else.
    ///
    /// # Errors
    ///
    /// When the layout has no such network.
    pub fn to_model_file(
        &self,
        experiment: &Experiment,
        options: ExportOptions,
    ) -> Result<ModelFile, TrainError> {
        let tensors = named_tensors(&self.detector).into_iter();
        let tensors = tensors.map(|(name, data)| {
            let tensor = Tensor::new(data.shape().to_vec(), data.iter().collect());
            (name, tensor)
        });
        Ok(ModelFile {
            tensors: export_names(tensors.collect(), Part::Detector, options.layout)?,
            metadata: ModelMetadata {
                layout: options.layout,
                ..self.metadata(experiment, options.history)
            },
            precision: options.precision,
        })
    }
}

//! Weights of other programs, as a model file.
//!
//! Layouts and names are the business of `aweigh-weights`. Here the tensors meet the network of a
//! configuration: each must have its place, and each place its tensor.

mod backbone;
mod coco;
mod origin;
mod preset;
mod report;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use aweigh_backbone::weights::{Differences, WeightsError};
use aweigh_weights::{
    Import, Layout, ModelFile, ModelMetadata, Normalization, Part, Precision, Tensor, Wanted,
};
use burn::module::Module;
use burn::tensor::Device;

use crate::TrainError;
use crate::checkpoint::{Checkpoint, CheckpointError, Class, read_whole};
use crate::config::{DeviceConfig, Experiment, RunConfig, WeightsConfig, mmdet};
use crate::model::fresh;
use crate::model_file::{History, checkpoint_metadata, to_metadata};
use crate::network::Shown;
use crate::normalization;
use crate::parameters::named_tensors;
use crate::weights::{checkpoint_of, leave_out, open_weights};

use origin::origin;

pub(crate) use backbone::shown as shown_backbone;
pub(crate) use origin::source_sha256;
pub use report::ImportReport;

/// What to do with tensors that do not fit, and with places that have no tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Partial {
    /// They are an error.
    Refused,
    /// Places keep fresh values, tensors are left out; the report lists both.
    Allowed,
}

/// What a file does not say about itself.
#[derive(Debug)]
pub struct ImportOptions {
    /// The configuration of the network. None: what the file or its layout says.
    pub config: Option<Experiment>,
    /// How the network's pixels are normalised. None: what file or configuration says.
    pub normalization: Option<Normalization>,
    /// Names of the classes, in the order of the outputs. None: what the file says.
    pub classes: Option<Vec<String>>,
    /// What to do with tensors that do not fit.
    pub partial: Partial,
}

/// A model, ready to be written, and what became of each tensor.
#[derive(Debug)]
pub struct Imported {
    /// The tensors under our names, with everything that is known about them.
    pub model: ModelFile,
    /// The configuration; none for a backbone.
    pub experiment: Option<Experiment>,
    /// What became of each tensor.
    pub report: ImportReport,
}

impl Imported {
    /// The configuration as TOML for people, without what the defaults say; none for a backbone.
    ///
    /// It starts from `model`, the file that the weights are written to, for the classes of the data
    /// that it is given, and names no run and no device.
    pub fn config_text(&self, model: &Path) -> Option<String> {
        let mut experiment = self.experiment.clone()?;
        experiment.detector.num_classes = None;
        experiment.run = RunConfig::default();
        experiment.device = DeviceConfig::default();
        experiment.train.weights = None;
        experiment.train.backbone_weights = None;
        experiment.model.weights = WeightsConfig {
            detector: Some(model.to_owned()),
            ..WeightsConfig::default()
        };
        let notes = self.report.notes.clone();
        Some(mmdet::Imported { experiment, notes }.to_toml())
    }
}

/// Reads a file of weights, or the folder of a checkpoint or of a run, and gives its tensors their
/// places in the network that they belong to.
///
/// The network is that of `options.config`; otherwise, for a whole detector, what the file says (a
/// model file of ours, a checkpoint of mmdetection), or what its authors build (torchvision,
/// AdelaiDet); for a backbone, what its tensors show.
///
/// # Errors
///
/// When the file cannot be read, has an unknown layout, says too little about its network, or, unless
/// that is allowed, does not have exactly the tensors of the network.
pub fn import(
    source: &Path,
    options: &ImportOptions,
    device: &Device,
) -> Result<Imported, TrainError> {
    let import = open(source)?;
    match import.part {
        Part::Backbone => backbone::import(import, options, device),
        Part::Detector => detector(import, options, device),
    }
}

/// Weights with what is known about them; what the file of a checkpoint does not say, the files
/// beside it do.
fn open(source: &Path) -> Result<Import, TrainError> {
    let place = || {
        let path = PathBuf::from(source);
        checkpoint_of(source).ok_or(CheckpointError::Missing { path })
    };
    if place().is_err() {
        return open_weights(source, Wanted::Model);
    }
    read_whole(place, |checkpoint: &Checkpoint| {
        let mut import = open_weights(checkpoint.dir(), Wanted::Model)?;
        import.layout = Layout::Aweigh;
        import.metadata = Some(checkpoint_metadata(checkpoint)?);
        Ok(import)
    })
}

fn detector(
    mut import: Import,
    options: &ImportOptions,
    device: &Device,
) -> Result<Imported, TrainError> {
    let (mut experiment, notes) = configuration(&import, options)?;
    settle_normalization(&import, options, &mut experiment)?;
    let classes = settle_classes(&import, options, &mut experiment)?;
    let network = fresh(
        &experiment.detector,
        experiment.seed,
        &device.clone().inner(),
    )?;
    leave_out(&mut import, &network.backbone);
    let fitted = fit(&import, &network, options.partial);
    let explain = |e| Shown::of(&import, Part::Detector).explain(e, &experiment.detector);
    let fitted = fitted.map_err(explain)?;
    let history = match &import.metadata {
        Some(known) => History::from(known),
        None => History {
            source: Some(origin(&import)),
            ..History::default()
        },
    };
    let metadata = ModelMetadata {
        metrics: history.metrics,
        command: history.command,
        source: history.source,
        ..to_metadata(&experiment, &classes)
    };
    let mut report = ImportReport::new(&import, &fitted, &metadata);
    report.notes.extend(notes);
    Ok(Imported {
        model: file(fitted, metadata),
        experiment: Some(experiment),
        report,
    })
}

/// The configuration of a whole detector, and what its user should know of it.
fn configuration(
    import: &Import,
    options: &ImportOptions,
) -> Result<(Experiment, Vec<String>), TrainError> {
    if let Some(experiment) = &options.config {
        let needs = preset::options(import.layout).map(|options| {
            format!(
                "the configuration is yours: {} needs {options}",
                import.layout
            )
        });
        return Ok((experiment.clone(), needs.into_iter().collect()));
    }
    let metadata = import.metadata.as_ref();
    if let Some(text) = metadata.and_then(|metadata| metadata.config.as_ref()) {
        let name = format!("{}, its configuration", import.path.display());
        return Ok((Experiment::parse(&name, text, &[])?, Vec::new()));
    }
    if let Some(text) = &import.mmdet_config {
        let converted = mmdet::experiment(text, &import.path)?;
        return Ok((converted.experiment, converted.notes));
    }
    let unknown = |reason: String| TrainError::NoConfiguration {
        weights: import.path.clone(),
        reason,
    };
    let architecture = import.architecture.as_ref();
    let architecture =
        architecture.ok_or_else(|| unknown("its tensors show no known network".to_owned()))?;
    let experiment = preset::experiment(import.layout, architecture).map_err(unknown)?;
    let set = preset::options(import.layout)
        .map(|options| format!("the configuration is that of its authors, with {options}"));
    Ok((experiment, set.into_iter().collect()))
}

/// Compares what the file says about pixels with the configuration.
fn settle_normalization(
    import: &Import,
    options: &ImportOptions,
    experiment: &mut Experiment,
) -> Result<(), TrainError> {
    if let Some(chosen) = &options.normalization {
        normalization::apply(chosen, &mut experiment.data.transform);
        return Ok(());
    }
    match &import.normalization {
        Some(expected) => normalization::check(&import.path, expected, experiment),
        None => Ok(()),
    }
}

/// The classes, with the number of them in the configuration.
fn settle_classes(
    import: &Import,
    options: &ImportOptions,
    experiment: &mut Experiment,
) -> Result<Vec<Class>, TrainError> {
    let head = import.architecture.as_ref().and_then(|a| a.head.as_ref());
    let outputs = head.map(|head| head.num_classes);
    let configured = experiment.detector.num_classes;
    let number = outputs
        .or(configured)
        .ok_or_else(|| TrainError::NoConfiguration {
            weights: import.path.clone(),
            reason: "its tensors show no number of classes".to_owned(),
        })?;
    if let Some(configured) = configured.filter(|configured| *configured != number) {
        return Err(TrainError::Outputs {
            weights: import.path.clone(),
            found: number,
            expected: format!("`detector.num_classes` is {configured}"),
        });
    }
    experiment.detector.num_classes = Some(number);
    let known = match (&options.classes, &import.metadata, &import.classes) {
        (Some(names), ..) => Some(coco::named(names)),
        (None, Some(metadata), _) if !metadata.classes.is_empty() => {
            Some(metadata.classes.iter().map(Class::from).collect())
        }
        (None, _, Some(names)) => Some(coco::named(names)),
        (None, _, None) => coco::published(number),
    };
    let classes = known.unwrap_or_else(|| unnamed(number));
    if classes.len() == number {
        return Ok(classes);
    }
    Err(TrainError::Outputs {
        weights: import.path.clone(),
        found: number,
        expected: format!("there are names of {}", classes.len()),
    })
}

/// Classes of which nothing is known.
fn unnamed(number: usize) -> Vec<Class> {
    let class = |id: i64| Class {
        id,
        name: format!("class {id}"),
    };
    (1..).take(number).map(class).collect()
}

/// Tensors in their places.
struct Fitted {
    tensors: BTreeMap<String, Tensor>,
    /// What did not fit; empty unless that is allowed.
    differences: Differences,
}

/// Gives every place of a network its tensor.
fn fit<M: Module>(import: &Import, network: &M, partial: Partial) -> Result<Fitted, WeightsError> {
    let mut tensors = BTreeMap::new();
    let mut differences = Differences {
        unexpected: import.left_over.clone(),
        ..Differences::default()
    };
    let places = named_tensors(network);
    let more = import
        .tensors
        .keys()
        .filter(|name| !places.contains_key(*name));
    differences.unexpected.extend(more.cloned());
    for (name, own) in places {
        let shape: &[usize] = own.shape();
        let tensor = match import.tensors.get(&name) {
            Some(tensor) if tensor.shape == shape => tensor.clone(),
            found => {
                match found {
                    None => differences.missing.push(name.clone()),
                    Some(Tensor { shape: other, .. }) => differences
                        .mismatched
                        .push(format!("{name} ({other:?} instead of {shape:?})")),
                }
                Tensor::new(shape.to_vec(), own.iter().collect())
            }
        };
        tensors.insert(name, tensor);
    }
    if differences != Differences::default() && partial == Partial::Refused {
        return Err(WeightsError::Mismatch {
            path: import.path.clone(),
            differences: Box::new(differences),
        });
    }
    Ok(Fitted {
        tensors,
        differences,
    })
}

fn file(fitted: Fitted, metadata: ModelMetadata) -> ModelFile {
    ModelFile {
        tensors: fitted.tensors,
        metadata,
        precision: Precision::F32,
    }
}

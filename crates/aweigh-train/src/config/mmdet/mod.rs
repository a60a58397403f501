//! From a configuration of mmdetection to an experiment.
//!
//! mmdetection keeps the text of its configuration in every checkpoint: Python assignments of
//! dictionaries, in which all names are resolved. It is read as data and never executed. An option
//! that changes numbers is followed or refused by name, never left out; one that does not (logs,
//! hooks that watch, loading in parallel) is ignored.

mod augment;
mod data;
mod error;
mod heads;
mod lexer;
mod model;
mod options;
mod pipeline;
mod python;
mod train_set;
mod training;
mod write;

use std::path::Path;

use aweigh_detectors::DetectorConfig;
use serde_json::Value;

use super::{DataConfig, Experiment, SplitConfig, TrainConfig, TrainSplits};
use data::Images;
pub use error::MmdetError;
use heads::Sections;
use options::{Options, Refusal};

/// Stands for paths that the user has to set.
const PLACEHOLDER: &str = "path/to";

/// Processes of most runs of mmdetection, and of all its published ones with 16 images per step.
const USUAL_PROCESSES: usize = 8;

/// Hooks that watch a run and change nothing.
const WATCHING_HOOKS: [&str; 5] = [
    "NumClassCheckHook",
    "CheckInvalidLossHook",
    "MemoryProfilerHook",
    "DetVisualizationHook",
    "ProfilerHook",
];

/// An experiment that follows a configuration of mmdetection.
#[derive(Debug, Clone, PartialEq)]
pub struct Imported {
    /// The experiment; the paths of its data are placeholders.
    pub experiment: Experiment,
    /// What the configuration leaves open or names in its own way, for the user to read.
    pub notes: Vec<String>,
}

/// Reads the text of a configuration of mmdetection 2.x or 3.x; `origin` names it in messages.
///
/// The text is that of a checkpoint (`meta.cfg` in 3.x, `meta.config` in 2.x) or of a run folder, in
/// which `_base_` files have been read.
///
/// # Errors
///
/// If the text is not data alone, or if an option changes numbers in a way that is not known.
pub fn experiment(text: &str, origin: &Path) -> Result<Imported, MmdetError> {
    let names = python::parse(text).map_err(|error| MmdetError::syntax(origin, error))?;
    let config = Options::new("", &names);
    let mut imported = read(&config).map_err(|refusal| MmdetError::option(origin, refusal))?;
    let valid = imported.experiment.validate();
    valid.map_err(|source| MmdetError::Experiment {
        origin: origin.to_owned(),
        source: Box::new(source),
    })?;
    imported.experiment.train.fill();
    Ok(imported)
}

/// The detector of a `model` of mmdetection, its options as JSON; `origin` names it in messages.
///
/// # Errors
///
/// If an option is not known.
pub fn detector(model: &Value, origin: &Path) -> Result<DetectorConfig, MmdetError> {
    let read = || {
        let options = Options::of("model", model)?;
        let config = model::detector(&options, Sections::default())?;
        options.finish()?;
        Ok(config)
    };
    read().map_err(|refusal| MmdetError::option(origin, refusal))
}

/// Which mmdetection a configuration is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    Two,
    Three,
}

impl Version {
    /// What a run learns by is `optimizer` in 2.x and `optim_wrapper` in 3.x.
    fn of(config: &Options<'_>) -> Self {
        match (config.get("optim_wrapper"), config.get("optimizer")) {
            (None, Some(_)) => Self::Two,
            _ => Self::Three,
        }
    }
}

/// Names that no reader asks for are variables of the configuration, of which the readers of
/// mmdetection take no notice either.
fn read(config: &Options<'_>) -> Result<Imported, Refusal> {
    if config.get("_base_").is_some() {
        let expected = "options of other files are missing; take the configuration that a \
                        checkpoint or a run folder holds";
        return Err(config.refuse("_base_", expected));
    }
    check_hooks(config)?;
    let version = Version::of(config);
    let model = config.needed_table("model")?;
    let beside = match version {
        Version::Two => Sections {
            train: config.table("train_cfg")?,
            test: config.table("test_cfg")?,
        },
        Version::Three => Sections::default(),
    };
    let detector = model::detector(&model, beside)?;
    let images = Images::read(config, &model, version)?;
    let mut notes = notes(config, &model, &images)?;
    let train = TrainConfig {
        batch_size: batch_size(config, images.per_process, &mut notes)?,
        ..training::training(config, version, images.repeats)?
    };
    model.finish()?;
    let experiment = Experiment {
        seed: 0,
        device: Default::default(),
        conv: Default::default(),
        data: data(images),
        detector,
        model: Default::default(),
        train,
        distributed: Default::default(),
        eval: Default::default(),
        run: Default::default(),
    };
    Ok(Imported { experiment, notes })
}

fn check_hooks(config: &Options<'_>) -> Result<(), Refusal> {
    config.expect_none("fp16")?;
    let key = "custom_hooks";
    for (i, hook) in config.list(key)?.unwrap_or_default().iter().enumerate() {
        let hook = Options::of(&config.path(&format!("{key}[{i}]")), hook)?;
        if !WATCHING_HOOKS.contains(&hook.class()?) {
            return Err(hook.refuse("type", "this hook is not known"));
        }
    }
    Ok(())
}

/// Images per step of all processes together.
fn batch_size(
    config: &Options<'_>,
    per_process: usize,
    notes: &mut Vec<String>,
) -> Result<usize, Refusal> {
    if let Some(scaling) = config.table("auto_scale_lr")?
        && let Some(size) = scaling.size("base_batch_size")?
    {
        notes.push(format!(
            "train.batch_size = {size}: what the learning rate is meant for \
             (auto_scale_lr.base_batch_size); each process had {per_process} images"
        ));
        return Ok(size);
    }
    if let Some(processes) = config.list("gpu_ids")? {
        return Ok(per_process * processes.len());
    }
    notes.push(format!(
        "train.batch_size = {USUAL_PROCESSES} x {per_process}: the configuration does not say how many processes \
         there were, and {USUAL_PROCESSES} are usual"
    ));
    Ok(USUAL_PROCESSES * per_process)
}

fn notes(
    config: &Options<'_>,
    model: &Options<'_>,
    images: &Images,
) -> Result<Vec<String>, Refusal> {
    let mut notes = vec![format!(
        "data: set the paths; mmdetection had {}",
        images.annotations.join(" and ")
    )];
    if let Some(weights) = config.text("load_from")? {
        notes.push(format!(
            "model.weights.detector: mmdetection began with {weights}"
        ));
    } else if let Some(weights) = backbone_weights(model)? {
        notes.push(format!(
            "model.weights.backbone: mmdetection began with {weights}"
        ));
    }
    if images.repeats > 1 {
        notes.push(format!(
            "train.epochs and milestones: an epoch of mmdetection was {} passes over the images",
            images.repeats
        ));
    }
    Ok(notes)
}

/// The name of the weights that the backbone begins with.
fn backbone_weights<'a>(model: &Options<'a>) -> Result<Option<&'a str>, Refusal> {
    let backbone = model.needed_table("backbone")?;
    if let Some(init) = backbone.table("init_cfg")? {
        return init.text("checkpoint");
    }
    let weights = backbone.text("pretrained")?;
    Ok(weights.or(model.text("pretrained")?))
}

fn data(images: Images) -> DataConfig {
    let split = |name: &str, repeat: usize| SplitConfig {
        repeat,
        ..SplitConfig::new(
            Path::new(PLACEHOLDER).join(format!("{name}.json")),
            Path::new(PLACEHOLDER).join(name),
        )
    };
    let train: TrainSplits = match images.parts[..] {
        [repeat] => split("train", repeat).into(),
        ref parts => {
            let parts = parts.iter().enumerate();
            let splits = parts.map(|(at, repeat)| split(&format!("train_{}", at + 1), *repeat));
            let splits = splits.collect::<Vec<_>>().try_into();
            splits.expect("a training set has an annotation file")
        }
    };
    DataConfig {
        filter_empty: images.filter_empty,
        min_size: images.min_size,
        aspect_grouping: images.aspect_grouping,
        sampling: images.sampling,
        transform: images.transform,
        augment: images.augment,
        ..DataConfig::new(train, Some(split("val", 1)))
    }
}

//! The experiment: everything that a run depends on, as strict TOML.
//!
//! Unknown keys, wrong types and impossible combinations are errors with the place in the file and
//! the valid keys. `--set` overrides go through the same types.

mod check;
mod distributed;
mod ema;
mod error;
pub mod mmdet;
mod model;
mod optimizer;
mod overrides;
mod pattern;
mod precision;
mod schedule;
mod sections;
mod splits;
mod train;

use std::path::{Path, PathBuf};

use aweigh_detectors::DetectorConfig;
use serde::{Deserialize, Serialize};
use toml::Table;

pub use distributed::DistributedConfig;
pub use ema::{EmaConfig, EvaluatedWeights};
pub use error::ConfigError;
pub use model::{ModelConfig, StartsFrom, WeightsConfig};
pub use optimizer::{GroupConfig, OptimizerConfig, OptimizerKind};
pub use pattern::NamePattern;
pub use precision::Precision;
pub use schedule::{ScheduleConfig, ScheduleKind, WarmupConfig, WarmupKind};
pub use sections::{
    Backend, ConvAlgorithm, ConvConfig, DataConfig, DeviceConfig, EvalConfig, RunConfig, SynthData,
};
pub use splits::{SplitConfig, TrainSplits};
pub use train::{EarlyStoppingConfig, FreezeConfig, Span, TrainConfig};

use error::{Problem, Source, describe};

/// Folder in which a bare configuration name is looked up.
const CONFIG_FOLDER: &str = "configs";

/// Everything that a run depends on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Experiment {
    /// Seed of weights, order and augmentation. Default: 0.
    #[serde(default)]
    pub seed: u32,
    /// Where it runs.
    #[serde(default)]
    pub device: DeviceConfig,
    /// How convolutions are computed.
    #[serde(default)]
    pub conv: ConvConfig,
    /// What it learns from.
    pub data: DataConfig,
    /// What it learns.
    pub detector: DetectorConfig,
    /// What it starts from.
    #[serde(default)]
    pub model: ModelConfig,
    /// How it learns.
    #[serde(default)]
    pub train: TrainConfig,
    /// How several processes train together.
    #[serde(default)]
    pub distributed: DistributedConfig,
    /// How it is scored.
    #[serde(default)]
    pub eval: EvalConfig,
    /// Where results go.
    #[serde(default)]
    pub run: RunConfig,
}

impl Experiment {
    /// Reads a configuration file and applies `overrides`, each `a.b.c=value`.
    ///
    /// A bare name such as `fcos_r50.toml` or `fcos_r50` is also looked up in `configs/`. Every
    /// default is written out in the result. Paths in it are relative to the current folder.
    ///
    /// # Errors
    ///
    /// When the file is missing, or the file or an override is wrong; the message names the place.
    pub fn load(path: &Path, overrides: &[String]) -> Result<Self, ConfigError> {
        let path = locate(path)?;
        let text = std::fs::read_to_string(&path).map_err(|source| ConfigError::Read {
            path: path.clone(),
            source,
        })?;
        let mut experiment = Self::parse(&path.display().to_string(), &text, overrides)?;
        if experiment.run.dir.is_none() {
            let stem = path.file_stem().unwrap_or_default();
            experiment.run.dir = Some(Path::new("runs").join(stem));
        }
        Ok(experiment)
    }

    /// Like [`Experiment::load`], from the text of a file of that name.
    ///
    /// # Errors
    ///
    /// When the text or an override is wrong; the message names the place.
    pub fn parse(file: &str, text: &str, overrides: &[String]) -> Result<Self, ConfigError> {
        let source = Source { file, text };
        let mut experiment = if overrides.is_empty() {
            read(source)?
        } else {
            read_with(source, overrides)?
        };
        let checked = experiment.check();
        checked.map_err(|problem| blame(source, overrides, &problem))?;
        experiment.train.fill();
        Ok(experiment)
    }

    /// Checks every value and combination that the types cannot refuse.
    ///
    /// # Errors
    ///
    /// Names the key and what was expected.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.check().map_err(|problem| ConfigError::Value {
            file: "configuration".to_owned(),
            message: format!("`{}`: {}", problem.key, problem.message),
        })
    }

    fn check(&self) -> Result<(), Problem> {
        self.data.check()?;
        let detector = self.detector.validate();
        detector.map_err(|error| Problem::new(&detector_key(&error), detector_message(&error)))?;
        self.model.check(&self.train)?;
        self.train.check()?;
        self.distributed.check()?;
        self.eval.check()
    }

    /// The experiment as TOML; reading it gives the same experiment.
    ///
    /// # Panics
    ///
    /// Never for an experiment that was read from TOML.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("an experiment is a TOML table")
    }

    /// The key that says what the model starts from, if one does.
    pub(crate) fn weights_key(&self) -> Option<&'static str> {
        self.model.given(&self.train).first().copied()
    }

    /// What the model starts from.
    pub fn starts_from(&self) -> StartsFrom<'_> {
        StartsFrom::of(&self.model, &self.train)
    }

    /// Folder of the run.
    pub fn run_dir(&self) -> &Path {
        self.run.dir.as_deref().unwrap_or(Path::new("runs/unnamed"))
    }
}

fn detector_key(error: &aweigh_detectors::DetectorConfigError) -> String {
    use aweigh_detectors::DetectorConfigError as Error;
    match error {
        Error::Value { key, .. } => key.clone(),
        _ => "detector".to_owned(),
    }
}

fn detector_message(error: &aweigh_detectors::DetectorConfigError) -> String {
    use aweigh_detectors::DetectorConfigError as Error;
    match error {
        Error::Value { problem, .. } => problem.clone(),
        other => other.to_string(),
    }
}

fn locate(path: &Path) -> Result<PathBuf, ConfigError> {
    let bare = path.components().count() == 1;
    let mut candidates = vec![path.to_owned()];
    if bare {
        candidates.push(Path::new(CONFIG_FOLDER).join(path));
        candidates.push(Path::new(CONFIG_FOLDER).join(path).with_extension("toml"));
    }
    let found = candidates.into_iter().find(|candidate| candidate.is_file());
    found.ok_or_else(|| ConfigError::NotFound {
        path: path.to_owned(),
        available: available(),
    })
}

/// Names of the files in `configs/`, sorted; empty where there is no such folder.
fn available() -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(CONFIG_FOLDER) else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.ends_with(".toml"))
        .collect();
    names.sort();
    names
}

fn read(source: Source<'_>) -> Result<Experiment, ConfigError> {
    // Of an array that is too long, reading the text takes what fits and drops the rest without a
    // word; reading a table refuses it. Only the text knows the places of other mistakes.
    let experiment = toml::from_str(source.text).map_err(|error| source.parse_error(&error))?;
    match read_table(source)?.try_into::<Experiment>() {
        Ok(_) => Ok(experiment),
        Err(error) => Err(source.parse_error(&error)),
    }
}

fn read_table(source: Source<'_>) -> Result<Table, ConfigError> {
    toml::from_str(source.text).map_err(|error| source.parse_error(&error))
}

fn read_with(source: Source<'_>, overrides: &[String]) -> Result<Experiment, ConfigError> {
    let mut table = read_table(source)?;
    let replaced = overrides::replace_weights(&mut table, overrides);
    if !replaced.is_empty() {
        let replaced = replaced.join("`, `");
        tracing::info!(
            "--set names other weights: `{replaced}` of {} is left out",
            source.file
        );
    }
    let unchanged = table.clone();
    for argument in overrides {
        overrides::apply(&mut table, argument)?;
    }
    let error = match table.try_into() {
        Ok(experiment) => return Ok(experiment),
        Err(error) => error,
    };
    // Suspect the file alone first, for which the place is known, then one override after the
    // other.
    read(source)?;
    let mut table = unchanged;
    for argument in overrides {
        overrides::apply(&mut table, argument)?;
        if let Err(error) = table.clone().try_into::<Experiment>() {
            return Err(ConfigError::Override {
                argument: argument.clone(),
                message: describe(&error),
            });
        }
    }
    Err(source.parse_error(&error))
}

/// The override that set the key of `problem`, otherwise the place in the file.
fn blame(source: Source<'_>, overrides: &[String], problem: &Problem) -> ConfigError {
    let sets = |argument: &&String| {
        let key = argument.split('=').next().unwrap_or("").trim();
        problem.key == key || problem.key.starts_with(&format!("{key}."))
    };
    match overrides.iter().rev().find(sets) {
        Some(argument) => ConfigError::Override {
            argument: argument.clone(),
            message: format!("`{}`: {}", problem.key, problem.message),
        },
        None => source.problem(problem),
    }
}

#[cfg(test)]
mod tests;

//! Checkpoints: a folder with the model, the optimiser, the position and the configuration.
//!
//! A checkpoint is written to a temporary folder beside its place, synced, then renamed, so that
//! under its name there is always a complete one.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::config::EvaluatedWeights;
use crate::data_record::DataRecord;
use crate::evaluation::Metric;
use crate::files::{self, beside, replace_file, sync_dir, sync_parent};
use crate::loss_scale::LossScale;
use crate::parameters::{Tensors, from_safetensors, to_safetensors};
use crate::window::WindowState;

/// The model, with the reference's parameter names.
pub const MODEL_FILE: &str = "model.safetensors";
/// The moving average of the model, where there is one.
pub const EMA_FILE: &str = "ema.safetensors";
/// The state of the optimiser.
pub const OPTIMIZER_FILE: &str = "optimizer.safetensors";
/// The position in the run.
pub const STATE_FILE: &str = "state.json";
/// The resolved configuration.
pub const CONFIG_FILE: &str = "config.toml";

/// Version of the layout; a reader refuses others.
const FORMAT: u32 = 1;

/// Why a checkpoint could not be written or read.
#[derive(Debug, Error)]
pub enum CheckpointError {
    /// Writing failed, for example because the disk is full.
    #[error("cannot write checkpoint {}: {reason}; {kept}", .path.display())]
    Write {
        /// The checkpoint.
        path: PathBuf,
        /// Why.
        reason: io::Error,
        /// What is left on disk.
        kept: &'static str,
    },
    /// Reading failed.
    #[error("cannot read {}: {reason}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: io::Error,
    },
    /// The file is truncated or something else.
    #[error("{} is damaged or not a checkpoint: {reason}", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found and what was expected.
        reason: String,
    },
    /// A running trainer has replaced it again and again.
    #[error("{} was replaced while it was read, {times} times in a row: try again", .path.display())]
    Replaced {
        /// The checkpoint.
        path: PathBuf,
        /// How often it was read.
        times: usize,
    },
    /// There is no checkpoint.
    #[error(
        "no checkpoint in {}, expected a folder with {MODEL_FILE}, or that of a run", .path.display()
    )]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
}

/// A class of the training set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Class {
    /// Category id in annotation and result files.
    pub id: i64,
    /// Name.
    pub name: String,
}

/// The best evaluation of a run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Best {
    /// The figure by which it is the best.
    #[serde(default)]
    pub metric: Metric,
    /// Its value; older runs have COCO's AP.
    #[serde(alias = "ap")]
    pub value: f64,
    /// Completed iterations.
    pub iteration: usize,
}

/// The moving average of a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmaState {
    /// Steps that it has followed.
    pub steps: usize,
    /// Whether it is what the run evaluates, or the trained weights are.
    pub evaluate: EvaluatedWeights,
}

/// Where a run stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunState {
    format: u32,
    /// Completed iterations.
    pub iteration: usize,
    /// The current epoch.
    pub epoch: usize,
    /// The next batch of the current epoch.
    pub batch: usize,
    /// The best evaluation so far.
    pub best: Option<Best>,
    /// Evaluations since then.
    #[serde(default)]
    pub evaluations_since_best: usize,
    /// The moving average of the weights, if there is one.
    #[serde(default)]
    pub ema: Option<EmaState>,
    /// The scale of the loss, in a precision that needs one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_scale: Option<LossScale>,
    /// Losses since the last line of the log.
    pub window: WindowState,
    /// Classes in the order of labels.
    pub classes: Vec<Class>,
    /// Whether the evaluation of this position is due and not done; a resumed run starts with it.
    #[serde(default)]
    pub evaluation_due: bool,
    /// How many processes train together.
    #[serde(default = "one")]
    pub processes: usize,
    /// The annotations that the run learns from; none in a run of an older version.
    #[serde(default)]
    pub data: Option<DataRecord>,
}

impl RunState {
    /// The start of a run.
    pub fn new(classes: Vec<Class>) -> Self {
        Self {
            format: FORMAT,
            iteration: 0,
            epoch: 0,
            batch: 0,
            best: None,
            evaluations_since_best: 0,
            ema: None,
            loss_scale: None,
            window: WindowState::default(),
            classes,
            evaluation_due: false,
            processes: 1,
            data: None,
        }
    }
}

fn one() -> usize {
    1
}

/// What a checkpoint is made of.
#[derive(Debug)]
pub(crate) struct Contents<'a> {
    pub(crate) model: &'a Tensors,
    /// Its moving average, if the run has one.
    pub(crate) ema: Option<&'a Tensors>,
    /// None in a checkpoint that is only evaluated.
    pub(crate) optimizer: Option<&'a Tensors>,
    pub(crate) state: &'a RunState,
    pub(crate) config: &'a str,
}

/// Writes files; tests replace it to fill the disk.
pub(crate) trait Storage {
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;
}

/// The file system.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Disk;

impl Storage for Disk {
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        files::write(path, bytes)
    }
}

/// A checkpoint on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    dir: PathBuf,
}

impl Checkpoint {
    /// The checkpoint in the folder `dir`.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn open(dir: &Path) -> Result<Self, CheckpointError> {
        if !dir.join(MODEL_FILE).is_file() {
            return Err(CheckpointError::Missing { path: dir.into() });
        }
        Ok(Self { dir: dir.into() })
    }

    /// Its folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The file of the weights that are trained.
    pub fn model_file(&self) -> PathBuf {
        self.dir.join(MODEL_FILE)
    }

    /// The file of the weights that the run evaluates: of their moving average, where it has one and
    /// is not told otherwise.
    pub fn evaluated_file(&self) -> PathBuf {
        let ema = self.state().ok().and_then(|state| state.ema);
        let average = self.dir.join(EMA_FILE);
        match ema {
            Some(ema) if ema.evaluate == EvaluatedWeights::Ema && average.is_file() => average,
            _ => self.model_file(),
        }
    }

    /// The file of the moving average, if the checkpoint has one.
    pub(crate) fn ema_file(&self) -> Option<PathBuf> {
        Some(self.dir.join(EMA_FILE)).filter(|file| file.is_file())
    }

    /// The file of the configuration.
    pub fn config_file(&self) -> PathBuf {
        self.dir.join(CONFIG_FILE)
    }

    /// Whether it has a position in a run, which a model file in a folder of its own has not.
    pub(crate) fn has_state(&self) -> bool {
        self.dir.join(STATE_FILE).is_file()
    }

    /// The position in the run.
    ///
    /// # Errors
    ///
    /// When the file is missing, damaged or of another version.
    pub fn state(&self) -> Result<RunState, CheckpointError> {
        let path = self.dir.join(STATE_FILE);
        let state: Result<RunState, _> = serde_json::from_slice(&read(&path)?);
        let reason = match state {
            Ok(state) if state.format == FORMAT => return Ok(state),
            Ok(state) => format!("format {}, this program reads {FORMAT}", state.format),
            Err(error) => error.to_string(),
        };
        Err(CheckpointError::Damaged { path, reason })
    }

    /// Completed iterations, where the position can be read.
    pub(crate) fn iteration(&self) -> Option<usize> {
        Some(self.state().ok()?.iteration)
    }

    /// Replaces the position in the run.
    pub(crate) fn write_state(&self, state: &RunState) -> Result<(), CheckpointError> {
        let bytes = state_bytes(state);
        let written = bytes.and_then(|bytes| replace_file(&self.dir.join(STATE_FILE), &bytes));
        written.map_err(|reason| CheckpointError::Write {
            path: self.dir.clone(),
            reason,
            kept: "the previous one is kept",
        })
    }

    /// The state of the optimiser.
    pub(crate) fn optimizer(&self) -> Result<Tensors, CheckpointError> {
        let path = self.dir.join(OPTIMIZER_FILE);
        let bytes = read(&path)?;
        from_safetensors(&bytes).map_err(|reason| CheckpointError::Damaged { path, reason })
    }

    /// The error of a state that does not fit the model.
    pub(crate) fn foreign_optimizer(&self, reason: String) -> CheckpointError {
        let path = self.dir.join(OPTIMIZER_FILE);
        CheckpointError::Damaged { path, reason }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, CheckpointError> {
    fs::read(path).map_err(|reason| CheckpointError::Read {
        path: path.into(),
        reason,
    })
}

fn state_bytes(state: &RunState) -> io::Result<Vec<u8>> {
    Ok(serde_json::to_vec_pretty(state)?)
}

/// What `read` makes of the checkpoint that `open` finds, all of it from one checkpoint: it is read
/// again when a running trainer has meanwhile put another one into its place.
///
/// # Errors
///
/// Those of `open` and `read`, and when the checkpoint does not stay long enough.
pub(crate) fn read_whole<T, E: From<CheckpointError>>(
    open: impl Fn() -> Result<Checkpoint, CheckpointError>,
    read: impl Fn(&Checkpoint) -> Result<T, E>,
) -> Result<T, E> {
    const TIMES: usize = 3;
    let mut checkpoint = open()?;
    for _ in 0..TIMES {
        let before = checkpoint.iteration();
        let result = read(&checkpoint);
        let still_there = checkpoint.model_file().is_file();
        if still_there && checkpoint.iteration() == before {
            return result;
        }
        checkpoint = open()?;
    }
    Err(E::from(CheckpointError::Replaced {
        path: checkpoint.dir,
        times: TIMES,
    }))
}

/// Writes a checkpoint to `dir`. What was there moves to `previous`, or is removed.
///
/// # Errors
///
/// When writing fails; then the temporary folder is gone and what was in `dir` is still there.
pub(crate) fn save(
    dir: &Path,
    previous: Option<&Path>,
    contents: &Contents<'_>,
    storage: &dyn Storage,
) -> Result<(), CheckpointError> {
    let temporary = beside(dir, "tmp");
    let written = write_all(&temporary, contents, storage);
    let moved = written.and_then(|()| replace(dir, previous, &temporary));
    moved.map_err(|reason| {
        // The write has failed already; a rest that cannot be removed adds nothing to that.
        let _ = fs::remove_dir_all(&temporary);
        let kept = if dir.exists() {
            "the previous one is kept"
        } else {
            "nothing was left behind"
        };
        let path = dir.into();
        CheckpointError::Write { path, reason, kept }
    })
}

fn write_all(dir: &Path, contents: &Contents<'_>, storage: &dyn Storage) -> io::Result<()> {
    if dir.exists() {
        // Left behind by a run that was killed.
        fs::remove_dir_all(dir)?;
    }
    fs::create_dir_all(dir)?;
    storage.write(&dir.join(MODEL_FILE), &to_safetensors(contents.model))?;
    if let Some(ema) = contents.ema {
        storage.write(&dir.join(EMA_FILE), &to_safetensors(ema))?;
    }
    if let Some(optimizer) = contents.optimizer {
        storage.write(&dir.join(OPTIMIZER_FILE), &to_safetensors(optimizer))?;
    }
    storage.write(&dir.join(STATE_FILE), &state_bytes(contents.state)?)?;
    storage.write(&dir.join(CONFIG_FILE), contents.config.as_bytes())?;
    sync_dir(dir)
}

/// Moves a complete folder into its place. Between the two renames the old one lies at `previous`
/// (or beside its place), where readers look for it and [`recover`] takes it from.
fn replace(dir: &Path, previous: Option<&Path>, temporary: &Path) -> io::Result<()> {
    let aside = previous.map_or_else(|| backup(dir), Path::to_path_buf);
    if dir.exists() {
        if aside.exists() {
            fs::remove_dir_all(&aside)?;
        }
        fs::rename(dir, &aside)?;
    }
    if let Err(error) = fs::rename(temporary, dir) {
        if aside.exists() {
            fs::rename(&aside, dir)?;
        }
        return Err(error);
    }
    sync_parent(dir)?;
    if previous.is_none() && aside.exists() {
        fs::remove_dir_all(&aside)?;
    }
    Ok(())
}

/// Where the checkpoint of `dir` lies while the next one is put into its place.
pub(crate) fn backup(dir: &Path) -> PathBuf {
    beside(dir, "previous")
}

/// Puts a checkpoint back to `dir`, from where a killed run had moved it to make room for the next.
pub(crate) fn recover(checkpoint: &Checkpoint, dir: &Path) {
    if checkpoint.dir == dir {
        return;
    }
    match fs::rename(&checkpoint.dir, dir) {
        Ok(()) => tracing::warn!("recovered checkpoint {}", dir.display()),
        Err(error) => tracing::warn!("cannot recover {}: {error}", dir.display()),
    }
}

#[cfg(test)]
mod tests;

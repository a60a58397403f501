//! Checkpoints: a folder with the model, the optimiser, the position and the configuration.
//!
//! A checkpoint is written to a temporary folder beside its place, synced, then renamed, so that
//! under its name there is always a complete one.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::parameters::{Tensors, from_safetensors, to_safetensors};
use crate::window::WindowState;

/// The model, with the reference's parameter names.
pub const MODEL_FILE: &str = "model.safetensors";
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
    /// There is no checkpoint.
    #[error("no checkpoint in {}, expected a folder with {MODEL_FILE}", .path.display())]
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
    /// COCO's AP.
    pub ap: f64,
    /// Completed iterations.
    pub iteration: usize,
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
    /// Losses since the last line of the log.
    pub window: WindowState,
    /// Classes in the order of labels.
    pub classes: Vec<Class>,
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
            window: WindowState::default(),
            classes,
        }
    }
}

/// What a checkpoint is made of.
#[derive(Debug)]
pub(crate) struct Contents<'a> {
    pub(crate) model: &'a Tensors,
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
        let mut file = File::create(path)?;
        file.write_all(bytes)?;
        file.sync_all()
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
        match dir.join(MODEL_FILE).is_file() {
            true => Ok(Self { dir: dir.into() }),
            false => Err(CheckpointError::Missing { path: dir.into() }),
        }
    }

    /// Its folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The file of the model.
    pub fn model_file(&self) -> PathBuf {
        self.dir.join(MODEL_FILE)
    }

    /// The file of the configuration.
    pub fn config_file(&self) -> PathBuf {
        self.dir.join(CONFIG_FILE)
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
    let temporary = temporary(dir);
    let written = write_all(&temporary, contents, storage);
    let moved = written.and_then(|()| replace(dir, previous, &temporary));
    moved.map_err(|reason| {
        // The write has failed already; a rest that cannot be removed adds nothing to that.
        let _ = fs::remove_dir_all(&temporary);
        let kept = match dir.exists() {
            true => "the previous one is kept",
            false => "nothing was left behind",
        };
        let path = dir.into();
        CheckpointError::Write { path, reason, kept }
    })
}

fn temporary(dir: &Path) -> PathBuf {
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    dir.with_file_name(format!(".{name}.tmp"))
}

fn write_all(dir: &Path, contents: &Contents<'_>, storage: &dyn Storage) -> io::Result<()> {
    if dir.exists() {
        // Left behind by a run that was killed.
        fs::remove_dir_all(dir)?;
    }
    fs::create_dir_all(dir)?;
    storage.write(&dir.join(MODEL_FILE), &to_safetensors(contents.model))?;
    if let Some(optimizer) = contents.optimizer {
        storage.write(&dir.join(OPTIMIZER_FILE), &to_safetensors(optimizer))?;
    }
    let state = serde_json::to_vec_pretty(contents.state)?;
    storage.write(&dir.join(STATE_FILE), &state)?;
    storage.write(&dir.join(CONFIG_FILE), contents.config.as_bytes())?;
    sync_dir(dir)
}

/// Moves a complete folder into its place. Between the two renames the old one lies at `previous`
/// (or beside its place), where [`recover`] finds it.
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
    if let Some(parent) = dir.parent() {
        sync_dir(parent)?;
    }
    if previous.is_none() && aside.exists() {
        fs::remove_dir_all(&aside)?;
    }
    Ok(())
}

fn backup(dir: &Path) -> PathBuf {
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    dir.with_file_name(format!(".{name}.previous"))
}

/// Puts back a checkpoint that a killed run had moved aside to make room for the next one.
pub(crate) fn recover(dir: &Path, previous: Option<&Path>) {
    let aside = previous.map_or_else(|| backup(dir), Path::to_path_buf);
    if !dir.exists() && aside.join(MODEL_FILE).is_file() {
        match fs::rename(&aside, dir) {
            Ok(()) => tracing::warn!("recovered checkpoint {}", dir.display()),
            Err(error) => tracing::warn!("cannot recover {}: {error}", dir.display()),
        }
    }
}

/// Makes renames in a folder survive a loss of power, where the system has such a thing.
fn sync_dir(dir: &Path) -> io::Result<()> {
    if cfg!(unix) {
        File::open(dir)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;

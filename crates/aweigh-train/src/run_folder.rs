//! The folder of a run: configuration, log, metrics, checkpoints, evaluations.
//!
//! It has one writer, the process that holds its [`RunLock`], and any number of readers, which
//! change nothing in it and find a checkpoint at any time.

mod lock;
mod metrics;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::checkpoint::{
    CONFIG_FILE, Checkpoint, CheckpointError, Contents, Disk, RunState, backup, recover, save,
};
use crate::config::{ConfigError, Experiment};
use crate::files::{self, is_temporary, replace_file};
use crate::model::Which;

pub use lock::RunLock;
pub(crate) use metrics::MetricsLine;

/// Why a run folder cannot be used.
#[derive(Debug, Error)]
pub enum RunError {
    /// Another run lies there.
    #[error(
        "{} holds a run already: continue it with --resume, or choose another folder with \
         --run-dir or `run.dir`", .dir.display()
    )]
    Occupied {
        /// The folder.
        dir: PathBuf,
    },
    /// Another process writes to it.
    #[error(
        "{} is being written by {process}: wait until it ends, or choose another folder", .dir.display()
    )]
    Locked {
        /// The folder.
        dir: PathBuf,
        /// The process in words, with its id if that is known.
        process: String,
    },
    /// There is no run.
    #[error("{} is not a run folder: it has no {CONFIG_FILE}", .dir.display())]
    Missing {
        /// The folder.
        dir: PathBuf,
    },
    /// A file cannot be read or written.
    #[error("cannot {action} {}: {reason}", .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        reason: io::Error,
    },
}

/// The folder of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunFolder {
    dir: PathBuf,
}

impl RunFolder {
    /// The folder of a run that is yet to start.
    ///
    /// A folder without a checkpoint is free: the run that it was made for cannot be continued.
    ///
    /// # Errors
    ///
    /// When another process writes to it, or a run lies there already.
    pub fn vacant(dir: &Path) -> Result<Self, RunError> {
        let folder = Self { dir: dir.into() };
        RunLock::check(dir)?;
        folder.check_vacant()?;
        Ok(folder)
    }

    fn check_vacant(&self) -> Result<(), RunError> {
        let (last, best) = (self.last(), self.best());
        let places = [backup(&last), backup(&best), last, best];
        if places.iter().any(|dir| dir.exists()) || self.newest_kept().is_some() {
            let dir = self.dir.clone();
            return Err(RunError::Occupied { dir });
        }
        Ok(())
    }

    /// Makes the folder of a new run, locks it and writes its configuration.
    ///
    /// # Errors
    ///
    /// When another process was faster, or the folder cannot be written.
    pub fn create(&self, experiment: &Experiment) -> Result<RunLock, RunError> {
        fs::create_dir_all(&self.dir).map_err(failed("create", &self.dir))?;
        let lock = self.lock()?;
        self.check_vacant()?;
        for dir in [self.checkpoints(), self.evaluations()] {
            fs::create_dir_all(&dir).map_err(failed("create", &dir))?;
        }
        let metrics = self.metrics_file();
        match fs::remove_file(&metrics) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed("remove", &metrics)(error));
            }
            _ => {}
        }
        self.write_config(experiment)?;
        Ok(lock)
    }

    /// The right to write to the folder, which one process has at a time.
    ///
    /// # Errors
    ///
    /// When another process has it.
    pub fn lock(&self) -> Result<RunLock, RunError> {
        RunLock::take(&self.dir)
    }

    /// Opens the folder of a run and changes nothing in it.
    ///
    /// # Errors
    ///
    /// When there is no run.
    pub fn open(dir: &Path) -> Result<Self, RunError> {
        let folder = Self { dir: dir.into() };
        if !folder.config_file().is_file() {
            return Err(RunError::Missing { dir: dir.into() });
        }
        Ok(folder)
    }

    /// Puts the checkpoints back that a killed run had moved aside, as their only writer.
    pub(crate) fn repair(&self, _lock: &RunLock) {
        let checkpoints = [
            (self.last_checkpoint(), self.last()),
            (self.find_best(), self.best()),
        ];
        for (found, dir) in checkpoints {
            if let Ok(found) = found {
                recover(&found, &dir);
            }
        }
        self.remove_unfinished();
    }

    /// Removes what a killed run had not finished writing.
    fn remove_unfinished(&self) {
        let entries = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        for path in entries.map(|entry| entry.path()) {
            if is_temporary(&path) {
                // It is in nobody's way where it cannot be removed.
                let _ = fs::remove_file(path);
            }
        }
    }

    /// The folder itself.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The resolved configuration.
    pub fn config_file(&self) -> PathBuf {
        self.dir.join(CONFIG_FILE)
    }

    /// The log, for the program's own lines.
    pub fn log_file(&self) -> PathBuf {
        self.dir.join("log.txt")
    }

    /// One JSON object per line of the log and per evaluation.
    pub fn metrics_file(&self) -> PathBuf {
        self.dir.join("metrics.jsonl")
    }

    /// The commands that have written to the folder, one per line, the first first.
    pub fn commands_file(&self) -> PathBuf {
        self.dir.join("commands.txt")
    }

    /// Adds a line to the commands.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn append_command(&self, command: &str) -> Result<(), RunError> {
        let path = self.commands_file();
        files::append(&path, &format!("{command}\n")).map_err(failed("write", &path))
    }

    /// The commands that have written to the folder; none in a run of an older version.
    ///
    /// # Errors
    ///
    /// When the file cannot be read.
    pub fn commands(&self) -> Result<Option<String>, RunError> {
        let text = read_or_empty(&self.commands_file())?;
        let text = text.trim_end();
        Ok((!text.is_empty()).then(|| text.to_owned()))
    }

    /// Folder of evaluations.
    pub fn evaluations(&self) -> PathBuf {
        self.dir.join("eval")
    }

    /// Folder of checkpoints.
    pub fn checkpoints(&self) -> PathBuf {
        self.dir.join("checkpoints")
    }

    /// Where the latest checkpoint lies.
    pub fn last(&self) -> PathBuf {
        self.checkpoints().join("last")
    }

    /// Where the checkpoint with the best AP lies.
    pub fn best(&self) -> PathBuf {
        self.checkpoints().join("best")
    }

    /// A checkpoint.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn checkpoint(&self, which: Which) -> Result<Checkpoint, CheckpointError> {
        match which {
            Which::Best => self.best_checkpoint(),
            Which::Last => self.last_checkpoint(),
        }
    }

    /// The latest checkpoint, under its name or where a killed run has moved it.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn last_checkpoint(&self) -> Result<Checkpoint, CheckpointError> {
        let last = self.last();
        if let Ok(checkpoint) = Checkpoint::open(&last) {
            return Ok(checkpoint);
        }
        let aside = [self.newest_kept(), Some(backup(&last))];
        let found = aside.into_iter().flatten().filter_map(|dir| {
            let checkpoint = Checkpoint::open(&dir).ok()?;
            Some((checkpoint.iteration()?, checkpoint))
        });
        match found.max_by_key(|(iteration, _)| *iteration) {
            Some((_, checkpoint)) => Ok(checkpoint),
            // A running trainer has meanwhile put the next one into its place, or there is none.
            None => Checkpoint::open(&last),
        }
    }

    /// The checkpoint with the best AP; the latest one in a run without evaluations.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn best_checkpoint(&self) -> Result<Checkpoint, CheckpointError> {
        self.find_best().or_else(|_| self.last_checkpoint())
    }

    /// The checkpoint with the best AP, under its name or where a killed run has moved it.
    fn find_best(&self) -> Result<Checkpoint, CheckpointError> {
        let best = self.best();
        Checkpoint::open(&best)
            .or_else(|_| Checkpoint::open(&backup(&best)))
            .or_else(|_| Checkpoint::open(&best))
    }

    /// The configuration of the run.
    ///
    /// # Errors
    ///
    /// When somebody broke the file.
    pub fn experiment(&self) -> Result<Experiment, ConfigError> {
        let mut experiment = Experiment::load(&self.config_file(), &[])?;
        experiment.run.dir = Some(self.dir.clone());
        Ok(experiment)
    }

    /// Replaces the configuration.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn write_config(&self, experiment: &Experiment) -> Result<(), RunError> {
        let path = self.config_file();
        replace_file(&path, experiment.to_toml().as_bytes()).map_err(failed("write", &path))
    }

    /// Writes the latest checkpoint and keeps `keep` of them.
    pub(crate) fn save_last(
        &self,
        contents: &Contents<'_>,
        keep: usize,
    ) -> Result<PathBuf, CheckpointError> {
        let last = self.last();
        let previous = match Checkpoint::open(&last).and_then(|last| last.state()) {
            Ok(state) if keep > 1 && state.iteration != contents.state.iteration => {
                Some(self.kept(state.iteration))
            }
            _ => None,
        };
        save(&last, previous.as_deref(), contents, &Disk)?;
        let old = self.all_kept();
        let surplus = old.len().saturating_sub(keep.saturating_sub(1));
        for dir in &old[..surplus] {
            if let Err(error) = fs::remove_dir_all(dir) {
                tracing::warn!("cannot remove old checkpoint {}: {error}", dir.display());
            }
        }
        Ok(last)
    }

    /// Replaces the position in the latest checkpoint, which stays the same otherwise.
    pub(crate) fn save_state(&self, state: &RunState) -> Result<(), CheckpointError> {
        Checkpoint::open(&self.last())?.write_state(state)
    }

    /// Writes the checkpoint with the best AP.
    pub(crate) fn save_best(&self, contents: &Contents<'_>) -> Result<PathBuf, CheckpointError> {
        let best = self.best();
        save(&best, None, contents, &Disk)?;
        Ok(best)
    }

    fn kept(&self, iteration: usize) -> PathBuf {
        self.checkpoints().join(format!("iteration-{iteration:08}"))
    }

    /// Older checkpoints, the oldest first.
    fn all_kept(&self) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(self.checkpoints()) else {
            return Vec::new();
        };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut names: Vec<String> = names.filter(|n| n.starts_with("iteration-")).collect();
        names.sort();
        names
            .iter()
            .map(|name| self.checkpoints().join(name))
            .collect()
    }

    fn newest_kept(&self) -> Option<PathBuf> {
        self.all_kept().pop()
    }
}

/// The text of a file; nothing if there is none.
fn read_or_empty(path: &Path) -> Result<String, RunError> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        text => text.map_err(failed("read", path)),
    }
}

fn failed(action: &'static str, path: &Path) -> impl Fn(io::Error) -> RunError {
    let path = path.to_path_buf();
    move |reason| RunError::Io {
        action,
        path: path.clone(),
        reason,
    }
}

#[cfg(test)]
mod tests;

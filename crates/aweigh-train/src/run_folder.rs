//! The folder of a run: configuration, log, metrics, checkpoints, evaluations.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::Value;
use thiserror::Error;

use crate::checkpoint::{CONFIG_FILE, Checkpoint, CheckpointError, Contents, Disk, recover, save};
use crate::config::{ConfigError, Experiment};

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
    /// When a run lies there already.
    pub fn vacant(dir: &Path) -> Result<Self, RunError> {
        let folder = Self { dir: dir.into() };
        match folder.checkpoints().join("last").exists() || folder.newest_kept().is_some() {
            true => Err(RunError::Occupied { dir: dir.into() }),
            false => Ok(folder),
        }
    }

    /// Makes the folder of a new run and writes its configuration.
    ///
    /// # Errors
    ///
    /// When the folder cannot be written.
    pub fn create(&self, experiment: &Experiment) -> Result<(), RunError> {
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
        self.write_config(experiment)
    }

    /// Opens the folder of a run.
    ///
    /// # Errors
    ///
    /// When there is no run.
    pub fn open(dir: &Path) -> Result<Self, RunError> {
        let folder = Self { dir: dir.into() };
        if !folder.config_file().is_file() {
            return Err(RunError::Missing { dir: dir.into() });
        }
        recover(&folder.last(), folder.newest_kept().as_deref());
        recover(&folder.best(), None);
        Ok(folder)
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

    /// The latest checkpoint.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn last_checkpoint(&self) -> Result<Checkpoint, CheckpointError> {
        Checkpoint::open(&self.last())
    }

    /// The checkpoint with the best AP; the latest one in a run without evaluations.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn best_checkpoint(&self) -> Result<Checkpoint, CheckpointError> {
        Checkpoint::open(&self.best()).or_else(|_| self.last_checkpoint())
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

    /// Appends a line to the metrics.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn append_metrics(&self, line: &Value) -> Result<(), RunError> {
        let path = self.metrics_file();
        let append = || {
            let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
            file.write_all(format!("{line}\n").as_bytes())
        };
        append().map_err(failed("write", &path))
    }

    /// Removes the lines of the metrics after `iteration`, which a resumed run writes again.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or written.
    pub fn rewind_metrics(&self, iteration: usize) -> Result<(), RunError> {
        let path = self.metrics_file();
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(failed("read", &path)(error)),
        };
        // A line that a killed run did not finish is no JSON and goes as well.
        let kept = text.lines().filter(|line| {
            let line: Option<Value> = serde_json::from_str(line).ok();
            let at = line.as_ref().and_then(|line| line["iteration"].as_u64());
            at.is_some_and(|at| at <= iteration as u64)
        });
        let kept: String = kept.map(|line| format!("{line}\n")).collect();
        replace_file(&path, kept.as_bytes()).map_err(failed("write", &path))
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

fn failed(action: &'static str, path: &Path) -> impl Fn(io::Error) -> RunError {
    let path = path.to_path_buf();
    move |reason| RunError::Io {
        action,
        path: path.clone(),
        reason,
    }
}

/// Writes a file such that a reader finds the old or the new content, never a part.
fn replace_file(path: &Path, content: &[u8]) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}.tmp"));
    let mut file = File::create(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&temporary, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::RunState;
    use crate::parameters::Tensors;
    use serde_json::json;

    fn experiment() -> Experiment {
        let text = "[data]\ntrain = { annotations = \"a\", images = \"b\" }\n[detector.fcos]\n";
        Experiment::parse("x.toml", text, &[]).unwrap()
    }

    fn make(dir: &Path) -> RunFolder {
        let folder = RunFolder::vacant(dir).unwrap();
        folder.create(&experiment()).unwrap();
        folder
    }

    fn save_at(folder: &RunFolder, iteration: usize, keep: usize) {
        let mut state = RunState::new(Vec::new());
        state.iteration = iteration;
        let contents = Contents {
            model: &Tensors::new(),
            optimizer: None,
            state: &state,
            config: "",
        };
        folder.save_last(&contents, keep).unwrap();
    }

    #[test]
    fn a_folder_holds_one_run() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("a/b");
        let message = RunFolder::open(&dir).unwrap_err().to_string();
        assert!(
            message.ends_with("is not a run folder: it has no config.toml"),
            "{message}"
        );
        let folder = make(&dir);
        let mut wanted = experiment();
        wanted.run.dir = Some(dir.clone());
        assert_eq!(folder.experiment().unwrap(), wanted);
        assert_eq!(RunFolder::open(&dir).unwrap(), folder);
        assert!(folder.best_checkpoint().is_err());
        assert_eq!(RunFolder::vacant(&dir).unwrap(), folder);
        save_at(&folder, 1, 1);
        let message = RunFolder::vacant(&dir).unwrap_err().to_string();
        assert!(message.contains("holds a run already"), "{message}");
    }

    #[test]
    fn a_resumed_run_writes_its_metrics_again() {
        let dir = tempfile::tempdir().unwrap();
        let folder = make(dir.path());
        folder.rewind_metrics(0).unwrap();
        for iteration in [10, 20, 30] {
            folder
                .append_metrics(&json!({"iteration": iteration}))
                .unwrap();
        }
        let path = folder.metrics_file();
        let mut text = fs::read_to_string(&path).unwrap();
        text.push_str("{\"iter");
        fs::write(&path, text).unwrap();
        folder.rewind_metrics(20).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text, "{\"iteration\":10}\n{\"iteration\":20}\n");
    }

    #[test]
    fn the_latest_checkpoints_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let folder = make(dir.path());
        let iterations = |folder: &RunFolder| {
            let mut dirs = folder.all_kept();
            dirs.push(folder.last());
            let state = |dir: &PathBuf| Checkpoint::open(dir).unwrap().state().unwrap();
            dirs.iter()
                .map(|dir| state(dir).iteration)
                .collect::<Vec<_>>()
        };
        for iteration in [1, 2, 3, 4] {
            save_at(&folder, iteration, 3);
        }
        assert_eq!(iterations(&folder), [2, 3, 4]);
        save_at(&folder, 4, 3);
        assert_eq!(iterations(&folder), [2, 3, 4]);
        save_at(&folder, 5, 1);
        assert_eq!(iterations(&folder), [5]);
    }

    #[test]
    fn a_run_killed_between_two_renames_is_recovered() {
        let dir = tempfile::tempdir().unwrap();
        let folder = make(dir.path());
        save_at(&folder, 7, 2);
        fs::rename(folder.last(), folder.kept(7)).unwrap();
        let folder = RunFolder::open(dir.path()).unwrap();
        assert_eq!(
            folder.last_checkpoint().unwrap().state().unwrap().iteration,
            7
        );
    }
}

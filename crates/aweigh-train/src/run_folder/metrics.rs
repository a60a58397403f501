//! `metrics.jsonl`: one JSON object per line of the log and per evaluation.

use serde_json::Value;

use super::{RunError, RunFolder, failed, read_or_empty};
use crate::files::{self, replace_file};

/// A kind of line in the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MetricsLine {
    /// Losses, a line of the log.
    Losses,
    /// An evaluation.
    Evaluation,
}

impl RunFolder {
    /// Appends a line to the metrics.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn append_metrics(&self, line: &Value) -> Result<(), RunError> {
        let path = self.metrics_file();
        files::append(&path, &format!("{line}\n")).map_err(failed("write", &path))
    }

    /// The figures of the evaluation after `iteration`, if there was one.
    ///
    /// # Errors
    ///
    /// When the file cannot be read.
    pub fn figures(&self, iteration: usize) -> Result<Option<Value>, RunError> {
        let text = read_or_empty(&self.metrics_file())?;
        let lines = text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        let at = |line: &Value| line["iteration"].as_u64() == Some(iteration as u64);
        let mut evaluations = lines.filter(|line: &Value| at(line) && line.get("eval").is_some());
        Ok(evaluations.next_back().map(|line| line["eval"].clone()))
    }

    /// The metrics without the lines that a run which goes on after `iteration` writes again: all
    /// later ones, and those of the kinds `again` at that iteration. None where there are no such
    /// lines.
    ///
    /// # Errors
    ///
    /// When the file cannot be read.
    pub(crate) fn rewound_metrics(
        &self,
        iteration: usize,
        again: &[MetricsLine],
    ) -> Result<Option<String>, RunError> {
        let text = read_or_empty(&self.metrics_file())?;
        // A line that a killed run did not finish is no JSON and goes as well.
        let kept = text.lines().filter(|line| {
            let line: Value = serde_json::from_str(line).unwrap_or_default();
            let kind = match line.get("eval") {
                Some(_) => MetricsLine::Evaluation,
                None => MetricsLine::Losses,
            };
            line["iteration"].as_u64().is_some_and(|at| {
                let end = iteration as u64;
                at < end || at == end && !again.contains(&kind)
            })
        });
        let kept: String = kept.map(|line| format!("{line}\n")).collect();
        Ok((kept != text).then_some(kept))
    }

    /// Replaces the metrics.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub(crate) fn write_metrics(&self, text: &str) -> Result<(), RunError> {
        let path = self.metrics_file();
        replace_file(&path, text.as_bytes()).map_err(failed("write", &path))
    }
}

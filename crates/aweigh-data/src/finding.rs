//! What is wrong with data, or worth knowing, before anything is trained on it.

use std::fmt;
use std::path::{Path, PathBuf};

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// Probably a mistake.
    Warning,
    /// Training stops at it.
    Error,
}

/// One kind of thing that was found in a dataset: how often, and where first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// The annotation file.
    pub file: PathBuf,
    /// One line with the count and the first example.
    pub text: String,
}

impl Finding {
    pub(crate) fn note(file: &Path, text: String) -> Self {
        let severity = Severity::Note;
        let file = file.to_path_buf();
        Self {
            severity,
            file,
            text,
        }
    }

    pub(crate) fn warning(file: &Path, text: String) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::note(file, text)
        }
    }

    pub(crate) fn error(file: &Path, text: String) -> Self {
        Self {
            severity: Severity::Error,
            ..Self::note(file, text)
        }
    }

    /// Writes it to the log.
    pub fn log(&self) {
        match self.severity {
            Severity::Note => tracing::info!("{self}"),
            Severity::Warning => tracing::warn!("{self}"),
            Severity::Error => tracing::error!("{self}"),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file.display(), self.text)
    }
}

/// `1 box`, `2 boxes`.
pub(crate) fn counted(count: usize, one: &str, many: &str) -> String {
    match count {
        1 => format!("1 {one}"),
        count => format!("{count} {many}"),
    }
}

/// Counts things of one kind and keeps the first as text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counter {
    count: usize,
    first: Option<String>,
}

impl Counter {
    /// Counts one more; `describe` is asked for the first only.
    pub(crate) fn add(&mut self, describe: impl FnOnce() -> String) {
        self.count += 1;
        self.first.get_or_insert_with(describe);
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// The first, if there is any.
    pub(crate) fn first(&self) -> Option<&str> {
        self.first.as_deref()
    }
}

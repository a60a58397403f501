//! What can go wrong in an evaluation.

use std::path::PathBuf;

/// Why an evaluation, or reading and writing its files, failed.
#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    /// A file cannot be read or written.
    #[error("cannot {action} {}: {error}", path.display())]
    Io {
        /// What was attempted, such as `read`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// A file of annotations or detections is wrong.
    #[error(transparent)]
    Data(#[from] aweigh_data::DataError),
    /// A detection of a result list is unusable.
    #[error("{origin}: entry {index}: {reason}")]
    Entry {
        /// The file, or a description of results in memory.
        origin: String,
        /// Position in the list, from 0.
        index: usize,
        /// What was found and what was expected.
        reason: String,
    },
    /// The options contradict themselves.
    #[error("evaluation options: {0}")]
    Options(String),
    /// hotcoco refused its input.
    #[error("evaluation: {0}")]
    Engine(#[from] hotcoco::Error),
}

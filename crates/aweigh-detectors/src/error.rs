//! What can be wrong with a detector's configuration.

use aweigh_backbone::ConfigError;
use thiserror::Error;

/// A configuration that cannot be built.
#[derive(Debug, Error, PartialEq)]
pub enum DetectorConfigError {
    /// Not exactly one method table.
    #[error("[detector] needs exactly one method table out of {known}, found {found}")]
    Method {
        /// Every method that exists.
        known: String,
        /// The tables that the file has.
        found: String,
    },
    /// The number of classes is not known.
    #[error("detector.num_classes is missing and there is no dataset to take it from")]
    NoClasses,
    /// Two keys contradict each other, or a value is out of its range.
    #[error("{key}: {problem}")]
    Value {
        /// Dotted path of the key.
        key: String,
        /// What is wrong and what was expected.
        problem: String,
    },
}

impl DetectorConfigError {
    pub(crate) fn value(key: &str, problem: impl Into<String>) -> Self {
        Self::Value {
            key: key.to_owned(),
            problem: problem.into(),
        }
    }

    /// An error of a layer, whose key is relative to its `table`.
    pub(crate) fn layer(table: &str, error: ConfigError) -> Self {
        Self::value(&format!("{table}.{}", error.key), error.problem)
    }
}

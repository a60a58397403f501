//! What is wrong with a configuration.

use thiserror::Error;

/// A configuration value that no network can be built from.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{key}` {problem}")]
pub struct ConfigError {
    /// Key of the value, as written in the configuration file.
    pub key: &'static str,
    /// What is wrong with it and what was expected.
    pub problem: String,
}

/// `Ok` if `holds`, otherwise the error that `key` has the `problem`.
pub(crate) fn need(
    holds: bool,
    key: &'static str,
    problem: impl FnOnce() -> String,
) -> Result<(), ConfigError> {
    if holds {
        return Ok(());
    }
    Err(ConfigError {
        key,
        problem: problem(),
    })
}

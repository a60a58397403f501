//! What can be wrong with a configuration of mmdetection.

use std::path::{Path, PathBuf};

use thiserror::Error;

use super::options::Refusal;
use super::python::Syntax;
use crate::config::ConfigError;

/// Why a configuration of mmdetection cannot be followed.
#[derive(Debug, Error)]
pub enum MmdetError {
    /// The text is not data alone.
    #[error("{}: line {line} of the configuration: {message}", .origin.display())]
    Syntax {
        /// Where the text is from.
        origin: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What was found and what was expected.
        message: String,
    },
    /// An option is not known, or its value not.
    #[error("{}: `{option}` is {found}: {expected}", .origin.display())]
    Option {
        /// Where the text is from.
        origin: PathBuf,
        /// The path of the option, such as `model.bbox_head.loss_bbox.type`.
        option: String,
        /// Its value.
        found: String,
        /// What is known.
        expected: String,
    },
    /// All options are known, but make no experiment.
    #[error("{}: {source}", .origin.display())]
    Experiment {
        /// Where the text is from.
        origin: PathBuf,
        /// What is wrong.
        source: Box<ConfigError>,
    },
}

impl MmdetError {
    pub(super) fn syntax(origin: &Path, syntax: Syntax) -> Self {
        Self::Syntax {
            origin: origin.to_owned(),
            line: syntax.line,
            message: syntax.message,
        }
    }

    pub(super) fn option(origin: &Path, refusal: Refusal) -> Self {
        Self::Option {
            origin: origin.to_owned(),
            option: refusal.option,
            found: refusal.found,
            expected: refusal.expected,
        }
    }
}

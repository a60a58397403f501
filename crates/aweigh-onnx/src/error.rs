//! Why a detector cannot be exported.

use aweigh_detectors::DetectorConfigError;
use thiserror::Error;

/// Why a detector cannot be exported.
#[derive(Debug, Error, PartialEq)]
pub enum OnnxError {
    /// The configuration cannot be built.
    #[error(transparent)]
    Config(#[from] DetectorConfigError),
    /// The input has no pixels.
    #[error("cannot export for images of {height} x {width} pixels: expected at least 1 x 1")]
    InputSize {
        /// Rows.
        height: usize,
        /// Columns.
        width: usize,
    },
    /// The configuration is not that of the detector.
    #[error("the detector is not the one of its configuration: `{name}` {problem}")]
    Parameter {
        /// Module path of the parameter.
        name: String,
        /// What was found and what was expected.
        problem: String,
    },
    /// The file would be larger than its format allows.
    #[error("the model has {bytes} bytes, more than the 2147483647 of an ONNX file")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
}

impl OnnxError {
    pub(crate) fn parameter(name: &str, problem: impl Into<String>) -> Self {
        Self::Parameter {
            name: name.to_owned(),
            problem: problem.into(),
        }
    }
}

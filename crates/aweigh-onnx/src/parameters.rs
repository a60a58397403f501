//! The values of a detector by module path.

use std::collections::BTreeMap;

use aweigh_detectors::Detector;
use burn::store::{ModuleSnapshot, bridge};

use crate::OnnxError;

/// A tensor of the detector.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Parameter {
    pub(crate) shape: Vec<usize>,
    /// In row-major order.
    pub(crate) values: Vec<f32>,
}

/// Every parameter and running statistic of a detector.
#[derive(Debug)]
pub(crate) struct Parameters(BTreeMap<String, Parameter>);

impl Parameters {
    /// Reads all of a detector back from its device.
    pub(crate) fn of(detector: &Detector) -> Self {
        let tensors = detector.collect(None, None, true).into_iter();
        let read = tensors.map(|tensor| {
            let data = bridge::to_data(&tensor).expect("a parameter of a module is in memory");
            let parameter = Parameter {
                shape: data.shape().to_vec(),
                values: data.iter::<f32>().collect(),
            };
            (tensor.name, parameter)
        });
        Self(read.collect())
    }

    /// Whether the detector has a parameter of this path.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The parameter of this path.
    ///
    /// # Errors
    ///
    /// When the detector has none, or of another shape.
    pub(crate) fn get(&self, name: &str, shape: &[usize]) -> Result<&Parameter, OnnxError> {
        let Some(found) = self.0.get(name) else {
            return Err(OnnxError::parameter(name, "is missing"));
        };
        if found.shape != shape {
            let problem = format!("has the shape {:?}, expected {shape:?}", found.shape);
            return Err(OnnxError::parameter(name, problem));
        }
        Ok(found)
    }
}

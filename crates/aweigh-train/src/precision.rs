//! The precision of the network in training.
//!
//! Layers compute in the type of their maps, so that the type of the images is that of the network
//! up to the raw predictions, which are `f32`.

use burn::tensor::{Device, FloatDType};
use thiserror::Error;

use crate::batch::Batch;
use crate::config::Precision;
use crate::device::{is_host, label};

/// A device does not compute in the precision of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`train.precision` is \"{asked}\", but {device} {reason}; it trains in {}", list(.possible))]
pub struct PrecisionError {
    /// What was asked for.
    asked: Precision,
    /// The device.
    device: String,
    reason: &'static str,
    /// What it can do.
    possible: Vec<Precision>,
}

fn list(possible: &[Precision]) -> String {
    let names: Vec<String> = possible.iter().map(|one| format!("\"{one}\"")).collect();
    names.join(" or ")
}

impl Precision {
    /// Checks that a device can train in this precision.
    ///
    /// # Errors
    ///
    /// Says why it cannot, and in what it can.
    pub fn check(self, device: &Device) -> Result<(), PrecisionError> {
        let device = device.clone().inner();
        if self.is_possible(&device) {
            return Ok(());
        }
        let reason = match (is_host(&device), self) {
            (true, _) => "has its fast convolutions in f32 alone",
            (false, Self::F16) => "has no arithmetic in f16",
            (false, _) => "has no arithmetic in bf16",
        };
        let possible = Self::ALL.into_iter();
        Err(PrecisionError {
            asked: self,
            device: label(&device),
            reason,
            possible: possible.filter(|one| one.is_possible(&device)).collect(),
        })
    }

    fn is_possible(self, device: &Device) -> bool {
        self == Self::F32 || (!is_host(device) && device.supports_dtype(self.dtype()))
    }

    /// The batch as the network takes it.
    pub(crate) fn apply(self, batch: Batch) -> Batch {
        match self.dtype() {
            FloatDType::F32 => batch,
            narrow => Batch {
                images: batch.images.cast(narrow),
                ..batch
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_trains_in_single_precision() {
        let check = |precision: Precision| precision.check(&Device::flex().autodiff());
        assert_eq!(check(Precision::F32), Ok(()));
        for precision in [Precision::F16, Precision::Bf16] {
            assert_eq!(
                check(precision).unwrap_err().to_string(),
                format!(
                    "`train.precision` is \"{precision}\", but the CPU has its fast convolutions in \
                     f32 alone; it trains in \"f32\""
                )
            );
        }
    }
}

//! How far two devices may be apart.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use super::Stage;
use crate::config::Backend;

/// How a device multiplies 32-bit numbers in convolutions and matrix products.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Arithmetic {
    /// With all 24 bits of each factor.
    F32,
    /// With 11 bits of each factor where the device's tensor cores do it, and sums of 24 bits
    /// (NVIDIA's TF32).
    Tf32,
}

impl Arithmetic {
    /// Every choice.
    pub const ALL: [Self; 2] = [Self::F32, Self::Tf32];

    /// How the kernels that Burn chooses for a backend may multiply: on CUDA it tries TF32 for
    /// products of 32-bit numbers and takes what is fastest, with no way to forbid it.
    pub fn of(backend: Backend) -> Self {
        match backend {
            Backend::Cuda => Self::Tf32,
            Backend::Cpu | Backend::Wgpu | Backend::Vulkan | Backend::Metal | Backend::Rocm => {
                Self::F32
            }
        }
    }

    /// Name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Tf32 => "tf32",
        }
    }

    /// The largest error of a stage that rounding explains.
    ///
    /// Rounding the weights alone to 23 bits on the CPU gives errors of up to 2e-6, 2e-7, 1e-5 and
    /// 3e-4 in the four stages, to 11 bits 1e-3, 3e-4, 3e-3 and 7e-2 (the tests do so). A device
    /// rounds activations and sums too, in every layer, and larger networks have more of them: the
    /// bounds are some thirty times the former and, where a wrong result is not far above, ten or
    /// three times the latter. Lavapipe reaches 2e-6, 1e-7, 5e-6 and 2e-4.
    pub(super) fn bound(self, stage: Stage) -> f64 {
        match (self, stage) {
            (Self::F32, Stage::Forward) => 1e-4,
            (Self::F32, Stage::Losses) => 1e-5,
            (Self::F32, Stage::Gradients) => 5e-4,
            (Self::F32, Stage::Steps) => 1e-2,
            (Self::Tf32, Stage::Forward) => 1e-2,
            (Self::Tf32, Stage::Losses) => 3e-3,
            (Self::Tf32, Stage::Gradients) => 3e-2,
            (Self::Tf32, Stage::Steps) => 2e-1,
        }
    }
}

impl fmt::Display for Arithmetic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Arithmetic {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|known| known.name() == text);
        known.ok_or_else(|| format!("unknown arithmetic `{text}`, expected f32 or tf32"))
    }
}

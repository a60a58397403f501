//! The choice between this crate's operators and Burn's, and between fast and direct convolution.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU8, Ordering};

/// Which sums a convolution on the CPU may use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Algorithm {
    /// The fastest: Winograd's transforms where they pay.
    #[default]
    Fast,
    /// Direct sums of products only.
    Exact,
    /// Burn's own operators in place of all of this crate's.
    Burn,
}

/// Name of the environment variable that forces an [`Algorithm`]: `fast`, `exact` or `burn`.
pub const CONV_VARIABLE: &str = "AWEIGH_CONV";

/// [`CONV_VARIABLE`] names no algorithm.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{CONV_VARIABLE} is {given:?}, expected fast, exact or burn")]
pub struct UnknownAlgorithm {
    given: String,
}

impl Algorithm {
    /// The algorithm that the environment asks for, if it does.
    ///
    /// # Errors
    ///
    /// When it names none.
    pub fn from_environment() -> Result<Option<Self>, UnknownAlgorithm> {
        let given = std::env::var_os(CONV_VARIABLE);
        let given = given.map(|given| given.to_string_lossy().into_owned());
        given.map(|given| given.parse()).transpose()
    }
}

impl FromStr for Algorithm {
    type Err = UnknownAlgorithm;

    fn from_str(text: &str) -> Result<Self, UnknownAlgorithm> {
        let all = [Self::Fast, Self::Exact, Self::Burn];
        let known = all.into_iter().find(|one| one.to_string() == text);
        known.ok_or_else(|| UnknownAlgorithm {
            given: text.to_owned(),
        })
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fast => "fast",
            Self::Exact => "exact",
            Self::Burn => "burn",
        })
    }
}

static CHOSEN: AtomicU8 = AtomicU8::new(Algorithm::Fast as u8);

/// Sets the algorithm of all convolutions of the process from now on.
pub fn set_algorithm(algorithm: Algorithm) {
    CHOSEN.store(algorithm as u8, Ordering::Relaxed);
}

/// The algorithm that convolutions use.
pub fn algorithm() -> Algorithm {
    match CHOSEN.load(Ordering::Relaxed) {
        exact if exact == Algorithm::Exact as u8 => Algorithm::Exact,
        burn if burn == Algorithm::Burn as u8 => Algorithm::Burn,
        _ => Algorithm::Fast,
    }
}

/// Whether a tensor is computed with by this crate's operators: single precision on Burn's CPU
/// backend, unless Burn's own were chosen.
#[cfg(feature = "tensor")]
pub fn is_ours<const D: usize>(x: &burn::tensor::Tensor<D>) -> bool {
    #[cfg(feature = "flex")]
    {
        x.dtype() == burn::tensor::DType::F32
            && x.device() == burn::tensor::Device::flex()
            && algorithm() != Algorithm::Burn
    }
    #[cfg(not(feature = "flex"))]
    {
        let _ = x;
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for algorithm in [Algorithm::Fast, Algorithm::Exact, Algorithm::Burn] {
            assert_eq!(algorithm.to_string().parse(), Ok(algorithm));
        }
        let error = "winograd".parse::<Algorithm>().unwrap_err().to_string();
        assert_eq!(
            error,
            "AWEIGH_CONV is \"winograd\", expected fast, exact or burn"
        );
    }
}

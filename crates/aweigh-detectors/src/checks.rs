//! Checks of the values of a configuration's tables.

use std::fmt::Display;

use aweigh_backbone::FeatureSpec;

use crate::DetectorConfigError;

/// A table of the configuration, by its dotted path: it names the key of what is wrong.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Table<'a>(pub(crate) &'a str);

impl Table<'_> {
    /// What is wrong with `key`, and what was expected.
    pub(crate) fn error(self, key: &str, problem: impl Into<String>) -> DetectorConfigError {
        DetectorConfigError::value(&format!("{}.{key}", self.0), problem)
    }

    /// An error of a part whose keys are relative to the table `key`.
    pub(crate) fn inner(self, key: &str, found: (&str, String)) -> DetectorConfigError {
        let (inner, problem) = found;
        self.error(&format!("{key}.{inner}"), problem)
    }

    /// A condition of `key`.
    pub(crate) fn need(
        self,
        holds: bool,
        key: &str,
        problem: impl FnOnce() -> String,
    ) -> Result<(), DetectorConfigError> {
        match holds {
            true => Ok(()),
            false => Err(self.error(key, problem())),
        }
    }

    /// A size, a scale or a threshold of a difference.
    pub(crate) fn positive<N: Number>(
        self,
        key: &str,
        value: N,
    ) -> Result<(), DetectorConfigError> {
        let number = value.into();
        let holds = number > 0.0 && number.is_finite();
        self.need(holds, key, || {
            format!("expected more than 0, found {value}")
        })
    }

    /// A factor or an exponent.
    pub(crate) fn not_negative<N: Number>(
        self,
        key: &str,
        value: N,
    ) -> Result<(), DetectorConfigError> {
        let number = value.into();
        let holds = number >= 0.0 && number.is_finite();
        self.need(holds, key, || format!("expected 0 or more, found {value}"))
    }

    /// A part of a whole.
    pub(crate) fn fraction<N: Number>(
        self,
        key: &str,
        value: N,
    ) -> Result<(), DetectorConfigError> {
        let holds = (0.0..=1.0).contains(&value.into());
        self.need(holds, key, || format!("expected 0 to 1, found {value}"))
    }

    /// A count.
    pub(crate) fn at_least_one(self, key: &str, value: usize) -> Result<(), DetectorConfigError> {
        self.need(value > 0, key, || "expected at least 1, found 0".to_owned())
    }

    /// A list with one entry, `what` in the plural, for every level of the pyramid.
    pub(crate) fn per_level<T>(
        self,
        key: &str,
        list: &[T],
        what: &str,
        levels: &[FeatureSpec],
    ) -> Result<(), DetectorConfigError> {
        let (found, levels) = (list.len(), levels.len());
        self.need(found == levels, key, || {
            format!("{found} {what} for {levels} pyramid levels (detector.neck.num_outs)")
        })
    }

    /// Deformable last convolutions of towers that have `stacked_convs`.
    pub(crate) fn last_conv(
        self,
        dcn_on_last_conv: bool,
        stacked_convs: usize,
    ) -> Result<(), DetectorConfigError> {
        self.need(
            !dcn_on_last_conv || stacked_convs > 0,
            "dcn_on_last_conv",
            || "needs a convolution, but stacked_convs is 0".to_owned(),
        )
    }
}

/// A number that prints as it was written.
pub(crate) trait Number: Copy + Display + Into<f64> {}

impl Number for f32 {}
impl Number for f64 {}

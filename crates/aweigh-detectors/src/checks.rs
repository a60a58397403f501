//! Checks of the values of a configuration's tables.

use std::fmt::Display;

use aweigh_backbone::FeatureSpec;
use aweigh_losses::FocalLoss;

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
        if holds {
            return Ok(());
        }
        Err(self.error(key, problem()))
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
            format!("expected a finite number above 0, found {value}")
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
        self.need(holds, key, || {
            format!("expected a finite number from 0 on, found {value}")
        })
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

    /// The focal loss of the table `key`.
    pub(crate) fn focal(self, key: &str, focal: &FocalLoss) -> Result<(), DetectorConfigError> {
        let path = format!("{}.{key}", self.0);
        let table = Table(&path);
        table.not_negative("gamma", focal.gamma)?;
        table.not_negative("weight", focal.weight)?;
        let alpha = focal.alpha;
        table.need(alpha <= 1.0, "alpha", || {
            format!("expected at most 1, below 0 for no balance, found {alpha}")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_finite_and_in_their_range() {
        type Check = fn(Table<'static>, &'static str, f64) -> Result<(), DetectorConfigError>;
        let check = |check: Check, accepted: &[f64]| {
            for value in [
                f64::NAN,
                f64::NEG_INFINITY,
                -1.0,
                0.0,
                1.0,
                2.0,
                f64::INFINITY,
            ] {
                let result = check(Table("detector.foo"), "bar", value);
                let message = result.as_ref().map_err(ToString::to_string);
                assert_eq!(result.is_ok(), accepted.contains(&value), "{message:?}");
                if let Err(message) = message {
                    assert!(
                        message.starts_with("detector.foo.bar: expected "),
                        "{message}"
                    );
                    assert!(message.ends_with(&format!("found {value}")), "{message}");
                }
            }
        };
        check(Table::positive, &[1.0, 2.0]);
        check(Table::not_negative, &[0.0, 1.0, 2.0]);
        check(Table::fraction, &[0.0, 1.0]);
    }

    #[test]
    fn numbers_print_as_they_were_written() {
        let error = Table("detector.foo").positive("bar", -0.1_f32);
        let message = error.expect_err("below 0").to_string();
        assert!(message.ends_with("found -0.1"), "{message}");
    }
}

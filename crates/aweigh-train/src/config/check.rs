//! Checks of values that their types cannot refuse.

use std::ops::RangeInclusive;

use super::error::Problem;

/// Refuses two keys of `[train]` of which both are given.
pub(super) fn one_of([a, b]: [(&str, bool); 2]) -> Result<(), Problem> {
    if a.1 && b.1 {
        let message = format!("given together with `train.{}`; give one of the two", a.0);
        return Err(Problem::new(&format!("train.{}", b.0), message));
    }
    Ok(())
}

pub(super) fn at_least_one(key: &str, value: usize) -> Result<(), Problem> {
    match value {
        0 => Err(Problem::new(key, "expected at least 1, found 0")),
        _ => Ok(()),
    }
}

pub(super) fn positive(key: &str, value: f64) -> Result<(), Problem> {
    in_range(
        key,
        value,
        f64::MIN_POSITIVE..=f64::MAX,
        "a positive number",
    )
}

pub(super) fn in_range(
    key: &str,
    value: f64,
    range: RangeInclusive<f64>,
    what: &str,
) -> Result<(), Problem> {
    if range.contains(&value) {
        return Ok(());
    }
    Err(Problem::new(key, format!("expected {what}, found {value}")))
}

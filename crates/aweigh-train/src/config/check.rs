//! Checks of values that their types cannot refuse.

use std::ops::RangeInclusive;

use super::error::Problem;

pub(super) fn one_of<A, B>(a: &str, x: Option<A>, b: &str, y: Option<B>) -> Result<(), Problem> {
    if x.is_some() && y.is_some() {
        let message = format!("given together with `train.{a}`; give one of the two");
        return Err(Problem::new(&format!("train.{b}"), message));
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

//! Comparison of outcomes.

use aweigh_testkit::Tolerance;
use burn::tensor::DType;

use crate::naive::Outcome;

/// Roundings of the largest result that a sum may be off by: the square root of some thousand
/// terms, as roundings add up at random. The reference's own f32 and f64 runs differ by up to 16.
const ROUNDINGS: f64 = 64.0;

/// The rounding of results in `dtype` that should be `expected`, all of one kind.
pub(crate) fn tolerance(dtype: DType, expected: &[f64]) -> Tolerance {
    let largest = expected
        .iter()
        .fold(1.0, |max: f64, value| max.max(value.abs()));
    let single = ROUNDINGS * largest * f64::from(f32::EPSILON) / 2.0;
    match dtype {
        DType::F64 => Tolerance::new(ROUNDINGS * largest * f64::EPSILON / 2.0, 0.0),
        DType::F32 => Tolerance::new(single, 0.0),
        // Sums in f32 are rounded once, to 11 or 8 significant bits: half a unit in the last place.
        DType::F16 => Tolerance::new(single, 1.0 / 2048.0),
        DType::BF16 => Tolerance::new(single, 1.0 / 256.0),
        other => panic!("no tolerance for {other:?}"),
    }
}

/// Compares every part of an outcome in `dtype`.
///
/// # Panics
///
/// When an element is out of tolerance; the message starts with `context`.
pub(crate) fn assert_close(got: &Outcome, expected: &Outcome, dtype: DType, context: &str) {
    let (got, expected) = (got.parts(), expected.parts());
    assert_eq!(got.len(), expected.len(), "{context}: number of parts");
    for ((name, got), (_, expected)) in got.into_iter().zip(expected) {
        assert_eq!(got.len(), expected.len(), "{context}: length of {name}");
        let limits = tolerance(dtype, expected);
        for (i, (got, want)) in got.iter().zip(expected).enumerate() {
            let error = (got - want).abs();
            let limit = limits.absolute + limits.relative * want.abs();
            assert!(
                error <= limit,
                "{context}: {name}[{i}] is {got}, not {want} (error {error:.1e}, limit {limit:.1e})"
            );
        }
    }
}

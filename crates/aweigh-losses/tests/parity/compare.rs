//! Comparison of values and gradients, also where the reference is not finite.

use aweigh_testkit::{Case, Report, Tolerance};
use burn::tensor::DType;

/// Rounding of single precision. Losses are of the order of 1 and take some tens of operations
/// (1e-7 each); gradients of boxes smaller than a pixel reach hundreds, with the same relative
/// error. The reference's own f32 and f64 runs differ by up to 2e-6.
const SINGLE: Tolerance = Tolerance::new(1e-5, 1e-5);
/// Rounding of double precision under the same reasoning: 2^-29 times as much, and a margin.
const DOUBLE: Tolerance = Tolerance::new(1e-13, 1e-12);

/// The tolerance of computations in `dtype`.
pub(crate) fn tolerance(dtype: DType) -> Tolerance {
    match dtype {
        DType::F64 => DOUBLE,
        _ => SINGLE,
    }
}

/// Compares with the stored tensor `name`.
///
/// Elements that the reference gives as not a number or infinite, in tensors that the note lists
/// under `not_finite`, must be finite here; all others must agree.
pub(crate) fn close(
    case: &Case,
    report: &mut Report,
    got: &[f64],
    name: &str,
    tolerance: Tolerance,
) {
    let golden = case.f64s(name);
    let listed = case.meta["not_finite"]["tensors"].as_array();
    let listed = listed.is_some_and(|names| names.iter().any(|listed| listed == name));
    let agreed = |i: &usize| golden[*i].is_finite() || !listed;
    assert_eq!(got.len(), golden.len(), "{}: `{name}`", case.name);
    for (i, value) in got.iter().enumerate() {
        let place = format!("{}: `{name}`[{i}]", case.name);
        assert!(value.is_finite(), "{place} is {value}");
    }
    let rows: Vec<usize> = (0..got.len()).filter(agreed).collect();
    let pick = |values: &[f64]| -> Vec<f64> { rows.iter().map(|i| values[*i]).collect() };
    report.close(name, &pick(got), &pick(&golden), tolerance);
}

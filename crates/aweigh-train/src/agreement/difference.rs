//! How far named tensors are apart.

use super::computed::Named;

/// The part of the largest scale of all tensors that each is taken to have at least. Where the
/// terms of a sum cancel, what is left has the rounding of the terms.
const LEAST: f64 = 1e-3;

/// What differences of a tensor are divided by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scale {
    /// Its own largest value.
    Own,
    /// The same, but at least [`LEAST`] of the largest value of all tensors.
    Shared,
}

/// The largest difference, and where it is.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Difference {
    pub(super) error: f64,
    pub(super) worst: String,
}

/// The largest difference of `found` from `expected`, each over the scale of its tensor; infinite
/// where a value is not finite.
///
/// # Panics
///
/// When the two are not of the same network, or there are no tensors.
pub(super) fn largest(found: &Named, expected: &Named, scale: Scale) -> Difference {
    assert!(found.keys().eq(expected.keys()), "tensors of two networks");
    let all = expected.values().map(|values| largest_of(values));
    let least = match scale {
        Scale::Own => 0.0,
        Scale::Shared => LEAST * all.fold(0.0, f64::max),
    };
    let errors = expected.iter().map(|(name, expected)| Difference {
        error: error(&found[name], expected, least),
        worst: name.clone(),
    });
    let worst = errors.max_by(|a, b| a.error.total_cmp(&b.error));
    worst.expect("a network has tensors")
}

fn error(found: &[f64], expected: &[f64], least: f64) -> f64 {
    assert_eq!(found.len(), expected.len(), "values of a tensor");
    let pairs = || found.iter().zip(expected);
    if pairs().any(|(a, b)| !a.is_finite() || !b.is_finite()) {
        return f64::INFINITY;
    }
    let apart = pairs().map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    match apart {
        0.0 => 0.0,
        // A tensor of zeros that should be, and is not, has no scale of its own.
        _ => apart / largest_of(expected).max(least),
    }
}

fn largest_of(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |most, value| value.abs().max(most))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(tensors: &[(&str, &[f64])]) -> Named {
        let named = tensors.iter().map(|(name, values)| {
            let name = (*name).to_owned();
            (name, values.to_vec())
        });
        named.collect()
    }

    #[test]
    fn differences_are_over_the_scale_of_the_tensor() {
        let check = |found: &[f64], expected: &[f64], scale, error| {
            let large: (&str, &[f64]) = ("large", &[1000.0]);
            let found = named(&[large, ("small", found)]);
            let expected = named(&[large, ("small", expected)]);
            assert_eq!(largest(&found, &expected, scale).error, error);
        };
        check(&[4.0, 1.0], &[4.0, 1.0], Scale::Own, 0.0);
        check(&[4.0, 1.5], &[4.0, 1.0], Scale::Own, 0.125);
        check(&[0.0], &[0.0], Scale::Own, 0.0);
        check(&[1e-9], &[0.0], Scale::Own, f64::INFINITY);
        check(&[0.5], &[0.25], Scale::Shared, 0.25);
        check(&[5.0], &[4.0], Scale::Shared, 0.25);
        check(&[f64::NAN], &[f64::NAN], Scale::Own, f64::INFINITY);
    }

    #[test]
    fn the_worst_tensor_is_named() {
        let expected = named(&[("a", &[1.0]), ("b", &[1.0]), ("c", &[1.0])]);
        let found = named(&[("a", &[1.1]), ("b", &[1.5]), ("c", &[1.2])]);
        assert_eq!(largest(&found, &expected, Scale::Own).worst, "b");
    }
}

//! Options of the reference, read strictly: what is absent (or null) has the caller's default, and
//! a value of another type than expected panics instead of being taken for absent.

use serde_json::Value;

/// A number.
///
/// # Panics
///
/// When there is something else.
pub fn number_or(value: &Value, absent: f64) -> f64 {
    match value {
        Value::Null => absent,
        _ => number(value),
    }
}

/// A number.
///
/// # Panics
///
/// When there is none.
pub fn number(value: &Value) -> f64 {
    let number = value.as_f64();
    number.unwrap_or_else(|| panic!("expected a number, got {value}"))
}

/// A switch, off where absent.
///
/// # Panics
///
/// When there is something else than a boolean.
pub fn flag(value: &Value) -> bool {
    choice(value).unwrap_or(false)
}

/// A switch that may be absent.
///
/// # Panics
///
/// When there is something else than a boolean.
pub fn choice(value: &Value) -> Option<bool> {
    match value {
        Value::Null => None,
        Value::Bool(flag) => Some(*flag),
        other => panic!("expected true or false, got {other}"),
    }
}

/// A count.
///
/// # Panics
///
/// When there is no integer from 0 on.
pub fn size(value: &Value) -> usize {
    let count = value.as_u64();
    count.unwrap_or_else(|| panic!("expected a count, got {value}")) as usize
}

/// A count.
///
/// # Panics
///
/// When there is something else than an integer from 0 on.
pub fn size_or(value: &Value, absent: usize) -> usize {
    match value {
        Value::Null => absent,
        _ => size(value),
    }
}

/// A list of numbers.
///
/// # Panics
///
/// When there is something else.
pub fn numbers(value: &Value) -> Vec<f64> {
    let Value::Array(list) = value else {
        panic!("expected a list of numbers, got {value}");
    };
    list.iter().map(number).collect()
}

/// A list of two numbers.
///
/// # Panics
///
/// When there is something else.
pub fn pair(value: &Value) -> [f64; 2] {
    let pair = numbers(value).try_into();
    pair.unwrap_or_else(|_| panic!("expected two numbers, got {value}"))
}

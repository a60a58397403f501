//! Values of JSON as they are found, and what they can plainly mean.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::stream::MARK;

/// Floats from here on stand for several whole numbers each.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// Numbers from here on are shown with an exponent.
const LONG: f64 = 1e40;

/// A value of JSON under a key that matters.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Found {
    /// The key is not there.
    #[default]
    Missing,
    Null,
    Bool(bool),
    Whole(i128),
    /// Also NaN and the infinities, which [`Stream`](super::stream::Stream) lets through.
    Float(f64),
    Text(String),
    List(Vec<Self>),
    Object,
}

impl Found {
    /// Whether nothing is given: no key, `null`, or a text of nothing.
    pub(super) fn is_absent(&self) -> bool {
        match self {
            Self::Missing | Self::Null => true,
            Self::Text(text) => text.trim().is_empty(),
            _ => false,
        }
    }

    /// A number: also one that is written as text.
    pub(super) fn number(&self) -> Option<f64> {
        match self {
            Self::Whole(value) => Some(*value as f64),
            Self::Float(value) => Some(*value),
            Self::Text(text) => text.trim().parse().ok(),
            _ => None,
        }
    }

    /// A whole number of 64 bits: also `1.0`, and one that is written as text.
    pub(super) fn id(&self) -> Option<i64> {
        match self {
            Self::Whole(value) => i64::try_from(*value).ok(),
            Self::Text(text) if let Ok(value) = text.trim().parse() => Some(value),
            _ => self
                .number()
                .filter(|value| value.fract() == 0.0 && value.abs() < EXACT)
                .map(|value| value as i64),
        }
    }

    /// A flag: 0 or 1 as a number, a bool or text; absent is false.
    pub(super) fn flag(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            Self::Text(text) => match text.trim().to_ascii_lowercase().as_str() {
                "true" | "yes" => Some(true),
                "" | "false" | "no" | "none" | "null" => Some(false),
                _ => self.zero_or_one(),
            },
            _ if self.is_absent() => Some(false),
            _ => self.zero_or_one(),
        }
    }

    fn zero_or_one(&self) -> Option<bool> {
        match self.number()? {
            0.0 => Some(false),
            1.0 => Some(true),
            _ => None,
        }
    }

    /// A name: also a number or a bool that is one.
    pub(super) fn name(&self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text.clone()),
            Self::Whole(_) | Self::Float(_) | Self::Bool(_) => Some(self.to_string()),
            _ => None,
        }
    }
}

/// As in the file, shortened.
impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 60;
        match self {
            Self::Missing => f.write_str("missing"),
            Self::Null => f.write_str("null"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Whole(value) => write!(f, "{value}"),
            Self::Float(value) if value.is_infinite() => f.write_str(if *value > 0.0 {
                "Infinity"
            } else {
                "-Infinity"
            }),
            Self::Float(value) if value.abs() >= LONG => write!(f, "{value:e}"),
            Self::Float(value) => write!(f, "{value}"),
            Self::Text(text) if text.chars().count() > SHOWN => {
                let start: String = text.chars().take(SHOWN).collect();
                write!(f, "{:?}...", start)
            }
            Self::Text(text) => write!(f, "{text:?}"),
            Self::List(values) => {
                let shown: Vec<String> = values.iter().take(8).map(Self::to_string).collect();
                let rest = if values.len() > shown.len() {
                    ", ..."
                } else {
                    ""
                };
                write!(f, "[{}{rest}]", shown.join(", "))
            }
            Self::Object => f.write_str("an object"),
        }
    }
}

impl<'de> Deserialize<'de> for Found {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Found;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<Found, E> {
        Ok(Found::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Found, E> {
        Ok(Found::Bool(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Found, E> {
        Ok(Found::Whole(value.into()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Found, E> {
        Ok(Found::Whole(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Found, E> {
        Ok(Found::Float(value))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Found, E> {
        Ok(match text.strip_prefix(MARK) {
            Some(rest) if rest.starts_with('+') => Found::Float(f64::INFINITY),
            Some(rest) if rest.starts_with('-') => Found::Float(f64::NEG_INFINITY),
            Some("") => Found::Float(f64::NAN),
            _ => Found::Text(text.to_owned()),
        })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Found, A::Error> {
        let mut values = Vec::with_capacity(4);
        while let Some(value) = list.next_element()? {
            values.push(value);
        }
        Ok(Found::List(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Found, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Found::Object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Found {
        serde_json::from_str(text).expect("JSON")
    }

    #[test]
    fn plain_values_in_another_dress_are_taken() {
        let check = |text: &str, id: Option<i64>, number: Option<f64>| {
            assert_eq!(
                (found(text).id(), found(text).number()),
                (id, number),
                "{text}"
            );
        };
        check("7", Some(7), Some(7.0));
        check("-7", Some(-7), Some(-7.0));
        check("7.0", Some(7), Some(7.0));
        check("\"7\"", Some(7), Some(7.0));
        check("\" 7.0 \"", Some(7), Some(7.0));
        check("7.5", None, Some(7.5));
        check("\"7.5\"", None, Some(7.5));
        check("9223372036854775807", Some(i64::MAX), Some(i64::MAX as f64));
        check(
            "9223372036854775808",
            None,
            Some(9_223_372_036_854_775_808.0),
        );
        check(
            "81645724526782010095170042166076916001",
            None,
            Some(8.164_572_452_678_201e37),
        );
        check("\"a\"", None, None);
        check("null", None, None);
        check("[1]", None, None);
        check("true", None, None);
    }

    #[test]
    fn flags_are_bools_numbers_and_texts() {
        let check = |text: &str, expected: Option<bool>| {
            assert_eq!(found(text).flag(), expected, "{text}");
        };
        for text in ["1", "1.0", "\"1\"", "true", "\"True\""] {
            check(text, Some(true));
        }
        for text in ["0", "0.0", "\"0\"", "false", "\"false\"", "null", "\"\""] {
            check(text, Some(false));
        }
        for text in ["2", "-1", "\"crowd\"", "[]", "{}"] {
            check(text, None);
        }
        assert_eq!(Found::Missing.flag(), Some(false));
    }

    #[test]
    fn values_are_shown_as_in_the_file() {
        let check = |text: &str, expected: &str| assert_eq!(found(text).to_string(), expected);
        check("[1, 2.5, \"a\", null]", "[1, 2.5, \"a\", null]");
        check("[1,2,3,4,5,6,7,8,9]", "[1, 2, 3, 4, 5, 6, 7, 8, ...]");
        check("{\"a\": [1]}", "an object");
        check("\"\u{7f}\"", "NaN");
        check("\"\u{7f}+    \"", "Infinity");
        let long = format!("\"{}\"", "x".repeat(100));
        check(&long, &format!("\"{}\"...", "x".repeat(60)));
    }
}

//! How files become pixels.

use std::fmt;

use serde::de::{Error, MapAccess, Unexpected, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::DataError;
use crate::exif::Exif;

/// How samples of 16 bits become 8 bits.
///
/// As a key, `sixteen_bit = "full"`, `"range"` or `{ range = [1200, 1400] }`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SixteenBit {
    /// 0 to 65535 become 0 to 255.
    #[default]
    Full,
    /// The range of the training pictures, `"range"`: it is measured before training starts, which
    /// makes a [`Range`](Self::Range) of it.
    Measured,
    /// The first value and below become 0, the last and above 255, linearly between them.
    Range([u16; 2]),
}

impl SixteenBit {
    /// The samples that become 0 and 255.
    ///
    /// # Errors
    /// If they have not been measured yet.
    pub(crate) fn ends(self) -> Result<[u16; 2], DataError> {
        match self {
            Self::Full => Ok([0, u16::MAX]),
            Self::Range(ends) => Ok(ends),
            Self::Measured => Err(DataError::Config {
                key: "data.sixteen_bit",
                reason: "\"range\" is measured when training starts and written into the run's \
                         configuration: use that, or give the numbers, as in \
                         { range = [1200, 1400] }"
                    .to_string(),
            }),
        }
    }
}

/// Writes the value as it stands in a configuration.
impl fmt::Display for SixteenBit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("\"full\""),
            Self::Measured => f.write_str("\"range\""),
            Self::Range([low, high]) => write!(f, "{{ range = [{low}, {high}] }}"),
        }
    }
}

impl Serialize for SixteenBit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Full => serializer.serialize_str("full"),
            Self::Measured => serializer.serialize_str("range"),
            Self::Range(ends) => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("range", ends)?;
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for SixteenBit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WordOrTable)
    }
}

/// Reads what a derived implementation cannot: one name as a word and as a key.
struct WordOrTable;

impl<'de> Visitor<'de> for WordOrTable {
    type Value = SixteenBit;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"full\", \"range\" or { range = [low, high] }")
    }

    fn visit_str<E: Error>(self, word: &str) -> Result<SixteenBit, E> {
        match word {
            "full" => Ok(SixteenBit::Full),
            "range" => Ok(SixteenBit::Measured),
            other => Err(E::invalid_value(Unexpected::Str(other), &self)),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<SixteenBit, A::Error> {
        let mut ends = None;
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "range" => ends = Some(map.next_value()?),
                other => return Err(A::Error::unknown_field(other, &["range"])),
            }
        }
        let ends = ends.ok_or_else(|| A::Error::missing_field("range"))?;
        Ok(SixteenBit::Range(ends))
    }
}

/// How files become pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DecodeConfig {
    /// What becomes of the EXIF orientation. Default: `apply`.
    pub exif: Exif,
    /// How samples of 16 bits become 8 bits. Default: `full`.
    pub sixteen_bit: SixteenBit,
    /// Largest number of pixels of a picture, width times height. Default: 200 000 000.
    pub max_pixels: u64,
}

impl Default for DecodeConfig {
    fn default() -> Self {
        Self {
            exif: Exif::Apply,
            sixteen_bit: SixteenBit::Full,
            max_pixels: 200_000_000,
        }
    }
}

impl DecodeConfig {
    /// Checks what the types cannot refuse.
    ///
    /// # Errors
    /// If a value is out of range.
    pub fn validate(&self) -> Result<(), DataError> {
        let failed = |key, reason| Err(DataError::Config { key, reason });
        match self.sixteen_bit {
            SixteenBit::Range([low, high]) if low >= high => failed(
                "sixteen_bit",
                format!("range = [{low}, {high}]; expected two rising numbers"),
            ),
            _ if self.max_pixels == 0 => failed("max_pixels", "0; expected at least 1".into()),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixteen_bit_is_a_word_or_a_table() {
        let check = |text: &str, expected: SixteenBit| {
            let read: SixteenBit = serde_json::from_str(text).expect(text);
            assert_eq!(read, expected);
            assert_eq!(serde_json::to_string(&read).expect("JSON"), text);
        };
        check("\"full\"", SixteenBit::Full);
        check("\"range\"", SixteenBit::Measured);
        check("{\"range\":[3,500]}", SixteenBit::Range([3, 500]));
        let refuse = |text: &str, expected: &str| {
            let error = serde_json::from_str::<SixteenBit>(text).expect_err(text);
            assert!(error.to_string().contains(expected), "{error}");
        };
        let expected = "\"half\", expected \"full\", \"range\" or { range = [low, high] }";
        refuse("\"half\"", expected);
        refuse("{\"rang\":[3,500]}", "unknown field `rang`");
        refuse("{\"range\":[-3,500]}", "expected u16");
        refuse("{}", "missing field `range`");
        refuse("7", "integer `7`, expected \"full\"");
    }

    #[test]
    fn impossible_values_name_their_key() {
        let check = |config: DecodeConfig, expected: &str| {
            let error = config.validate().expect_err(expected);
            assert_eq!(error.to_string(), expected);
        };
        for ends in [[5, 5], [9, 5]] {
            let config = DecodeConfig {
                sixteen_bit: SixteenBit::Range(ends),
                ..DecodeConfig::default()
            };
            let [low, high] = ends;
            let expected =
                format!("`sixteen_bit`: range = [{low}, {high}]; expected two rising numbers");
            check(config, &expected);
        }
        let config = DecodeConfig {
            max_pixels: 0,
            ..DecodeConfig::default()
        };
        check(config, "`max_pixels`: 0; expected at least 1");
        DecodeConfig::default().validate().expect("valid");
    }
}

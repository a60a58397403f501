//! Strict parsing of result lists, with messages that name the entry and what was expected.

use std::cell::Cell;
use std::fmt;
use std::path::Path;

use serde::de::{Deserializer, Error, SeqAccess, Visitor};

use super::{CocoResult, EvalError};

/// Parses the result list in `bytes`; `path` names it in errors.
pub(super) fn parse(bytes: &[u8], path: &Path) -> Result<Vec<CocoResult>, EvalError> {
    let entry = Cell::new(None);
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let parsed = json
        .deserialize_seq(Entries { entry: &entry })
        .and_then(|results| json.end().map(|()| results));
    parsed.map_err(|error| match entry.get() {
        Some(index) => EvalError::Entry {
            origin: path.display().to_string(),
            index,
            reason: error.to_string(),
        },
        None => EvalError::Json {
            path: path.into(),
            error,
        },
    })
}

/// Reads a list of detections, keeping the index of the entry it is at for error messages.
struct Entries<'a> {
    entry: &'a Cell<Option<usize>>,
}

impl<'de> Visitor<'de> for Entries<'_> {
    type Value = Vec<CocoResult>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of detections {image_id, category_id, bbox, score}")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut results = Vec::new();
        self.entry.set(Some(0));
        while let Some(result) = list.next_element()? {
            results.push(result);
            self.entry.set(Some(results.len()));
        }
        self.entry.set(None);
        Ok(results)
    }
}

pub(super) fn image_id<'de, D: Deserializer<'de>>(value: D) -> Result<u64, D::Error> {
    value.deserialize_u64(Id("image_id"))
}

pub(super) fn category_id<'de, D: Deserializer<'de>>(value: D) -> Result<u64, D::Error> {
    value.deserialize_u64(Id("category_id"))
}

pub(super) fn score<'de, D: Deserializer<'de>>(value: D) -> Result<f64, D::Error> {
    value.deserialize_f64(Score)
}

pub(super) fn bbox<'de, D: Deserializer<'de>>(value: D) -> Result<[f64; 4], D::Error> {
    value.deserialize_seq(Bbox)
}

struct Id(&'static str);

impl Visitor<'_> for Id {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to be an integer of 0 or more", self.0)
    }

    fn visit_u64<E: Error>(self, id: u64) -> Result<u64, E> {
        Ok(id)
    }
}

struct Score;

impl Visitor<'_> for Score {
    type Value = f64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("score to be a number")
    }

    fn visit_f64<E: Error>(self, score: f64) -> Result<f64, E> {
        Ok(score)
    }

    fn visit_u64<E: Error>(self, score: u64) -> Result<f64, E> {
        Ok(score as f64)
    }

    fn visit_i64<E: Error>(self, score: i64) -> Result<f64, E> {
        Ok(score as f64)
    }
}

struct Bbox;

impl<'de> Visitor<'de> for Bbox {
    type Value = [f64; 4];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bbox to be 4 numbers [x, y, width, height]")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut bbox = [0.0; 4];
        let mut length = 0;
        while let Some(value) = list.next_element()? {
            if let Some(slot) = bbox.get_mut(length) {
                *slot = value;
            }
            length += 1;
        }
        match length {
            4 => Ok(bbox),
            other => Err(A::Error::invalid_length(other, &self)),
        }
    }
}

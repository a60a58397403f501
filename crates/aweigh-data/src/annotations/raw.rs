//! An annotation file whose records are kept as they are written.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::json::json_error;
use super::list::Place;
use super::value::Found;
use crate::DataError;

/// The text of an annotation file, record by record.
#[derive(Debug)]
pub(crate) struct RawFile {
    path: PathBuf,
    /// Every key with its value, in their order.
    keys: Vec<(String, Box<RawValue>)>,
    images: Vec<Box<RawValue>>,
    annotations: Vec<Box<RawValue>>,
}

/// Keys and values of the outermost object.
struct Keys(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeysVisitor;
        impl<'de> Visitor<'de> for KeysVisitor {
            type Value = Keys;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with `images`, `annotations` and `categories`")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Keys, A::Error> {
                let mut keys = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    keys.push(pair);
                }
                Ok(Keys(keys))
            }
        }
        deserializer.deserialize_map(KeysVisitor)
    }
}

#[derive(Deserialize)]
struct ImageOf {
    #[serde(default)]
    id: Found,
    #[serde(default)]
    image_id: Found,
}

impl RawFile {
    /// Reads a file.
    ///
    /// # Errors
    /// If it cannot be read, or is not JSON by the letter: `NaN` is not.
    pub(crate) fn read(path: &Path) -> Result<Self, DataError> {
        let text = std::fs::read_to_string(path).map_err(|reason| DataError::AnnotationFile {
            path: path.to_path_buf(),
            reason,
        })?;
        let text = text.trim_start_matches('\u{feff}');
        let wrong = |error: serde_json::Error| json_error(path, &error);
        let Keys(keys) = serde_json::from_str(text).map_err(wrong)?;
        let list = |name: &str| -> Result<Vec<Box<RawValue>>, DataError> {
            let value = keys.iter().find(|(key, _)| key == name);
            let list: Option<Option<_>> = value
                .map(|(_, value)| serde_json::from_str(value.get()))
                .transpose()
                .map_err(wrong)?;
            Ok(list.flatten().unwrap_or_default())
        };
        Ok(Self {
            path: path.to_path_buf(),
            images: list("images")?,
            annotations: list("annotations")?,
            keys,
        })
    }

    /// The `image_id` of each annotation.
    ///
    /// # Errors
    /// If one has none.
    pub(crate) fn image_ids(&self) -> Result<Vec<i64>, DataError> {
        let id = |(index, raw): (usize, &RawValue)| {
            let wrong = |error| json_error(&self.path, &error);
            let found: ImageOf = serde_json::from_str(raw.get()).map_err(wrong)?;
            let place = Place {
                path: &self.path,
                list: "annotations",
                index,
            };
            place.id(&found.id, "image_id", &found.image_id)
        };
        let records = self.annotations.iter().map(|record| &**record);
        records.enumerate().map(id).collect()
    }

    /// The file with some of its images and annotations, all else as it is.
    pub(crate) fn part(
        &self,
        image: impl Fn(usize) -> bool,
        annotation: impl Fn(usize) -> bool,
    ) -> String {
        let mut text = String::from("{");
        for (at, (key, value)) in self.keys.iter().enumerate() {
            let comma = if at > 0 { ", " } else { "" };
            let key_text = serde_json::to_string(key).expect("text serialises");
            text.push_str(&format!("{comma}{key_text}: "));
            match key.as_str() {
                "images" => push_list(&mut text, &self.images, &image),
                "annotations" => push_list(&mut text, &self.annotations, &annotation),
                _ => text.push_str(value.get()),
            }
        }
        text.push('}');
        text
    }
}

fn push_list(text: &mut String, records: &[Box<RawValue>], taken: &dyn Fn(usize) -> bool) {
    text.push('[');
    let mut separator = "";
    for (_, record) in records.iter().enumerate().filter(|(at, _)| taken(*at)) {
        text.push_str(separator);
        text.push_str(record.get());
        separator = ", ";
    }
    text.push(']');
}

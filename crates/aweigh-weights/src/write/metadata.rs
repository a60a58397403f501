//! What a model file says about its tensors.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

use crate::{Normalization, Part};

/// The version of the keys below. A file with a later one is refused: its tensors may mean
/// something else.
const FORMAT: u32 = 1;

/// Why the metadata of a file cannot be used.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum MetadataError {
    /// The file is of a later version.
    #[error(
        "`aweigh.format` is {found}, this version of Aweigh reads up to {FORMAT}; use a newer one"
    )]
    Newer {
        /// What the file says.
        found: String,
    },
    /// A value is not what its key has.
    #[error("`{key}` of `__metadata__` is `{found}`, expected {expected}")]
    Value {
        /// The key.
        key: &'static str,
        /// Its value, shortened.
        found: String,
        /// What it should be.
        expected: String,
    },
}

/// Whose names the tensors of a model file have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileLayout {
    /// Ours.
    #[default]
    Aweigh,
    /// mmdetection's, 3.x.
    Mmdet,
    /// torchvision's.
    Torchvision,
}

impl fmt::Display for FileLayout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Aweigh => "aweigh",
            Self::Mmdet => "mmdet",
            Self::Torchvision => "torchvision",
        })
    }
}

/// A class, with its id in the annotations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Class {
    /// COCO's category id.
    pub id: i64,
    /// Its name.
    pub name: String,
}

/// What a model file says about its tensors, beside their names.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelMetadata {
    /// Version of Aweigh that wrote the file.
    pub version: String,
    /// How much of a detector the tensors are.
    pub part: Part,
    /// Whose names they have.
    pub layout: FileLayout,
    /// Name of the method's table in a configuration (`fcos`).
    pub method: Option<String>,
    /// The configuration, as TOML.
    pub config: Option<String>,
    /// The classes, in the order of the outputs.
    pub classes: Vec<Class>,
    /// How pixels are normalised.
    pub normalization: Option<Normalization>,
    /// Figures of an evaluation.
    pub metrics: Option<Value>,
    /// The command that made the file.
    pub command: Option<String>,
    /// The file that the tensors came from.
    pub source: Option<String>,
    /// Keys of others, kept as they are.
    pub other: BTreeMap<String, String>,
}

impl ModelMetadata {
    /// Metadata of tensors of which nothing more is known.
    pub fn new(part: Part, layout: FileLayout) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            part,
            layout,
            method: None,
            config: None,
            classes: Vec::new(),
            normalization: None,
            metrics: None,
            command: None,
            source: None,
            other: BTreeMap::new(),
        }
    }

    /// The entries of `__metadata__`. `format` is `pt`, by which other programs know tensors of
    /// PyTorch's shapes.
    pub fn to_map(&self) -> BTreeMap<String, String> {
        let mut entries = self.to_properties();
        entries.insert("format".to_owned(), "pt".to_owned());
        entries.insert("aweigh.layout".to_owned(), self.layout.to_string());
        entries
    }

    /// The entries for a model that is no file of safetensors: without what they say of its tensors.
    pub fn to_properties(&self) -> BTreeMap<String, String> {
        let part = match self.part {
            Part::Backbone => "backbone",
            Part::Detector => "detector",
        };
        let entries = [
            ("aweigh.format", Some(FORMAT.to_string())),
            ("aweigh.version", Some(self.version.clone())),
            ("aweigh.part", Some(part.to_owned())),
            ("aweigh.method", self.method.clone()),
            ("aweigh.config", self.config.clone()),
            (
                "aweigh.classes",
                (!self.classes.is_empty()).then(|| json(&self.classes)),
            ),
            (
                "aweigh.normalization",
                self.normalization.as_ref().map(json),
            ),
            (
                "aweigh.metrics",
                self.metrics.as_ref().map(Value::to_string),
            ),
            ("aweigh.command", self.command.clone()),
            ("aweigh.source", self.source.clone()),
        ];
        let known = entries
            .into_iter()
            .filter_map(|(key, value)| Some((key.to_owned(), value?)));
        self.other.clone().into_iter().chain(known).collect()
    }
}

impl ModelMetadata {
    /// Reads the entries of `__metadata__`; nothing if the file is not one of ours.
    ///
    /// # Errors
    ///
    /// When the file is of a later version, or a value is not what its key has.
    pub fn from_map(map: &BTreeMap<String, String>) -> Result<Option<Self>, MetadataError> {
        let Some(format) = map.get("aweigh.format") else {
            return Ok(None);
        };
        match format.parse::<u32>() {
            Ok(1..=FORMAT) => {}
            Ok(FORMAT..) => {
                let found = format.clone();
                return Err(MetadataError::Newer { found });
            }
            _ => return Err(unexpected("aweigh.format", format, "a number from 1")),
        }
        let text = |key: &str| map.get(key).cloned();
        let other = map.iter().filter(|(key, _)| !KEYS.contains(&key.as_str()));
        Ok(Some(Self {
            version: text("aweigh.version").unwrap_or_default(),
            part: part(map)?,
            layout: layout(map)?,
            method: text("aweigh.method"),
            config: text("aweigh.config"),
            classes: parse(map, "aweigh.classes", "a list of id and name")?.unwrap_or_default(),
            normalization: parse(map, "aweigh.normalization", "mean, std and order")?,
            metrics: parse(map, "aweigh.metrics", "JSON")?,
            command: text("aweigh.command"),
            source: text("aweigh.source"),
            other: other
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect(),
        }))
    }
}

/// The keys that are read here.
const KEYS: [&str; 12] = [
    "format",
    "aweigh.format",
    "aweigh.version",
    "aweigh.part",
    "aweigh.layout",
    "aweigh.method",
    "aweigh.config",
    "aweigh.classes",
    "aweigh.normalization",
    "aweigh.metrics",
    "aweigh.command",
    "aweigh.source",
];

fn part(map: &BTreeMap<String, String>) -> Result<Part, MetadataError> {
    match map.get("aweigh.part").map(String::as_str) {
        Some("backbone") => Ok(Part::Backbone),
        Some("detector") => Ok(Part::Detector),
        other => Err(unexpected(
            "aweigh.part",
            other.unwrap_or_default(),
            "`backbone` or `detector`",
        )),
    }
}

fn layout(map: &BTreeMap<String, String>) -> Result<FileLayout, MetadataError> {
    match map.get("aweigh.layout").map(String::as_str) {
        Some("aweigh") => Ok(FileLayout::Aweigh),
        Some("mmdet") => Ok(FileLayout::Mmdet),
        Some("torchvision") => Ok(FileLayout::Torchvision),
        other => Err(unexpected(
            "aweigh.layout",
            other.unwrap_or_default(),
            "`aweigh`, `mmdet` or `torchvision`",
        )),
    }
}

/// The value of a key as JSON.
fn parse<T: DeserializeOwned>(
    map: &BTreeMap<String, String>,
    key: &'static str,
    expected: &str,
) -> Result<Option<T>, MetadataError> {
    let Some(text) = map.get(key) else {
        return Ok(None);
    };
    let value = serde_json::from_str(text);
    value
        .map(Some)
        .map_err(|error| unexpected(key, text, &format!("{expected} ({error})")))
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("numbers and strings are JSON")
}

fn unexpected(key: &'static str, found: &str, expected: &str) -> MetadataError {
    const SHOWN: usize = 80;
    MetadataError::Value {
        key,
        found: found.chars().take(SHOWN).collect(),
        expected: expected.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{ChannelOrder, Style};

    fn full() -> ModelMetadata {
        ModelMetadata {
            method: Some("fcos".to_owned()),
            config: Some("[detector]\nnum_classes = 2\n".to_owned()),
            classes: vec![Class {
                id: 3,
                name: "größer \"x\"".to_owned(),
            }],
            normalization: Some(Normalization {
                mean: [102.9801, 115.9465, 122.7717],
                std: [1.0; 3],
                order: ChannelOrder::Bgr,
                style: Some(Style::Caffe),
                source: "file".to_owned(),
            }),
            metrics: Some(json!({"AP": 0.366})),
            command: Some("aweigh import x.pth".to_owned()),
            source: Some("x.pth".to_owned()),
            other: [("note".to_owned(), "kept".to_owned())].into(),
            ..ModelMetadata::new(Part::Detector, FileLayout::Mmdet)
        }
    }

    #[test]
    fn entries_come_back() {
        let plain = ModelMetadata::new(Part::Backbone, FileLayout::Aweigh);
        for metadata in [full(), plain] {
            let read = ModelMetadata::from_map(&metadata.to_map()).expect("readable");
            assert_eq!(read, Some(metadata));
        }
    }

    #[test]
    fn properties_say_nothing_of_tensors() {
        let (properties, mut entries) = (full().to_properties(), full().to_map());
        entries.retain(|key, _| !["format", "aweigh.layout"].contains(&key.as_str()));
        assert_eq!(properties, entries);
    }

    #[test]
    fn files_of_others_have_none() {
        let map = [("format".to_owned(), "pt".to_owned())].into();
        assert_eq!(ModelMetadata::from_map(&map), Ok(None));
    }

    #[test]
    fn wrong_entries_are_named() {
        let check = |key: &str, value: &str, words: &str| {
            let mut map = full().to_map();
            map.insert(key.to_owned(), value.to_owned());
            let error = ModelMetadata::from_map(&map)
                .expect_err("refused")
                .to_string();
            assert!(error.contains(words) && error.contains(value), "{error}");
        };
        check("aweigh.format", "2", "use a newer one");
        check("aweigh.format", "one", "a number from 1");
        check("aweigh.part", "neck", "`backbone` or `detector`");
        check("aweigh.layout", "yolo", "`mmdet`");
        check("aweigh.classes", "[1]", "a list of id and name");
        check("aweigh.normalization", "{}", "mean, std and order");
    }
}

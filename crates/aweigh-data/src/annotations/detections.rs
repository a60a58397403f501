//! Detections in files: COCO's result lists, and annotation files with a score for each record.

use std::cell::RefCell;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::value::SeqAccessDeserializer;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::entry::{Category, ImageEntry};
use super::json::{Json, Parsed, another, json_error, parse};
use super::list::{Context, Keys, Place};
use super::value::Found;
use super::{kind, record, segmentation};
use crate::DataError;

/// One detection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DetectionEntry {
    /// The `image_id`.
    pub image_id: i64,
    /// The `category_id`.
    pub category_id: i64,
    /// `[x, y, width, height]` in pixels; that of the `segmentation` where there is no `bbox`.
    pub bbox: [f64; 4],
    /// Confidence; only the order matters.
    pub score: f64,
}

/// A file of detections.
#[derive(Clone, Debug, PartialEq)]
pub struct DetectionFile {
    /// The file.
    pub path: PathBuf,
    /// The detections.
    pub entries: Vec<DetectionEntry>,
    /// The images that the file lists; none in a plain list of results.
    pub images: Vec<ImageEntry>,
    /// The categories that the file lists; none in a plain list of results.
    pub categories: Vec<Category>,
}

impl DetectionFile {
    /// Reads a list of results, or an object whose `annotations` have scores, as `aweigh predict`
    /// writes it. Values are taken as in an [`AnnotationFile`](super::AnnotationFile).
    ///
    /// # Errors
    /// If the file is missing, of another kind, or not JSON; if a value cannot be meant as one of
    /// its key, or is not finite.
    pub fn read(path: &Path) -> Result<Self, DataError> {
        let (read, _) = parse(path, detection_file)?;
        read.map_err(|keys| another(path, kind::of_object(&keys.0)))
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(
    default,
    expecting = "a detection {image_id, category_id, bbox, score}"
)]
struct RawDetection {
    image_id: Found,
    category_id: Found,
    bbox: Found,
    score: Found,
    segmentation: Option<Box<RawValue>>,
}

/// The file, or the keys of an object that is none.
type Read = Result<DetectionFile, Keys>;

fn detection_file(path: &Path, json: &mut Json<'_>) -> Result<Parsed<Read>, DataError> {
    let failure = RefCell::new(None);
    let context = Context {
        path,
        failure: &failure,
    };
    let read = json.deserialize_any(FileVisitor(context));
    read.map_err(|error| failure.take().unwrap_or_else(|| json_error(path, &error)))
}

struct FileVisitor<'a>(Context<'a>);

impl FileVisitor<'_> {
    fn empty(&self) -> DetectionFile {
        DetectionFile {
            path: self.0.path.to_path_buf(),
            entries: Vec::new(),
            images: Vec::new(),
            categories: Vec::new(),
        }
    }
}

impl<'de> Visitor<'de> for FileVisitor<'_> {
    type Value = Parsed<Read>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of detections {image_id, category_id, bbox, score}")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
        let mut file = self.empty();
        let entries = &mut file.entries;
        let seed = self.0.records("", |place, raw| {
            entries.push(entry(place, &raw)?);
            Ok(())
        });
        seed.deserialize(SeqAccessDeserializer::new(list))?;
        Ok(Parsed {
            value: Ok(file),
            is_record: false,
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut file = self.empty();
        let mut keys = Keys::default();
        let mut known = false;
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "annotations" => {
                    let entries = &mut file.entries;
                    known |= self.0.list("annotations", &mut map, entries, entry)?;
                }
                "images" => {
                    let images = &mut file.images;
                    self.0.list("images", &mut map, images, record::image)?;
                }
                "categories" => {
                    let categories = &mut file.categories;
                    self.0
                        .list("categories", &mut map, categories, record::category)?;
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
            keys.add(key);
        }
        Ok(Parsed {
            value: if known { Ok(file) } else { Err(keys) },
            is_record: true,
        })
    }
}

fn entry(place: Place<'_>, raw: &RawDetection) -> Result<DetectionEntry, DataError> {
    let none = Found::Missing;
    let score = raw.score.number().filter(|score| score.is_finite());
    let own = match &raw.bbox {
        Found::List(values) if values.len() == 4 => {
            let numbers = values.iter().filter_map(Found::number);
            let numbers: Vec<f64> = numbers.filter(|number| number.is_finite()).collect();
            <[f64; 4]>::try_from(numbers).ok()
        }
        bbox if bbox.is_absent() => {
            let json = raw.segmentation.as_ref();
            let extent = json.and_then(|json| segmentation::extent(json.get()));
            extent.map(|extent| extent.bbox)
        }
        _ => None,
    };
    let error = |key, value, expected| place.error(&none, key, value, expected);
    const BOX: &str = "[x, y, width, height] in pixels, all finite";
    Ok(DetectionEntry {
        image_id: place.id(&none, "image_id", &raw.image_id)?,
        category_id: place.id(&none, "category_id", &raw.category_id)?,
        bbox: own.ok_or_else(|| error("bbox", &raw.bbox, BOX))?,
        score: score.ok_or_else(|| error("score", &raw.score, "a finite number"))?,
    })
}

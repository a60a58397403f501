//! The outermost value of an annotation file.

use std::cell::RefCell;
use std::fmt;
use std::path::Path;

use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::entry::{Annotation, Category, ImageEntry};
use super::json::{Json, Parsed, json_error};
use super::kind;
use super::list::{Context, Keys};
use super::record::{self, RawAnnotation, Taken};
use crate::DataError;
use crate::finding::Counter;

/// What a file turned out to be.
pub(super) enum Top {
    File(Lists),
    /// Something else, in words.
    Other(String),
}

/// The lists of an annotation file.
#[derive(Default)]
pub(super) struct Lists {
    pub(super) images: Vec<ImageEntry>,
    pub(super) annotations: Vec<Annotation>,
    pub(super) categories: Vec<Category>,
    /// Records of the list of annotations.
    pub(super) annotation_count: usize,
    /// Annotations without a usable box.
    pub(super) left_out: Counter,
    /// Annotations whose box is that of their segmentation.
    pub(super) from_segmentation: Counter,
}

/// Reads the value of an annotation file.
pub(super) fn annotation_file(path: &Path, json: &mut Json<'_>) -> Result<Parsed<Top>, DataError> {
    let failure = RefCell::new(None);
    let context = Context {
        path,
        failure: &failure,
    };
    let top = json.deserialize_any(TopVisitor(context));
    top.map_err(|error| failure.take().unwrap_or_else(|| json_error(path, &error)))
}

struct TopVisitor<'a>(Context<'a>);

impl<'de> Visitor<'de> for TopVisitor<'_> {
    type Value = Parsed<Top>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with `images`, `annotations` and `categories`")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let first = list.next_element()?.unwrap_or(serde_json::Value::Null);
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Parsed {
            value: Top::Other(kind::of_list(&Keys::of(&first).0)),
            is_record: false,
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut lists = Lists::default();
        let mut keys = Keys::default();
        let mut known = false;
        while let Some(key) = map.next_key::<String>()? {
            known |= match key.as_str() {
                "images" => {
                    let images = &mut lists.images;
                    self.0.list("images", &mut map, images, record::image)?
                }
                "categories" => {
                    let categories = &mut lists.categories;
                    self.0
                        .list("categories", &mut map, categories, record::category)?
                }
                "annotations" => {
                    let seed = self.0.records("annotations", |place, raw| {
                        lists.annotation(record::annotation(place, &raw)?, &raw, place.index);
                        Ok(())
                    });
                    map.next_value_seed(seed)?
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    false
                }
            };
            keys.add(key);
        }
        let value = if known {
            Top::File(lists)
        } else {
            Top::Other(kind::of_object(&keys.0))
        };
        let is_record = true;
        Ok(Parsed { value, is_record })
    }
}

impl Lists {
    fn annotation(&mut self, taken: Taken, raw: &RawAnnotation, index: usize) {
        self.annotation_count += 1;
        match taken {
            Taken::Box(annotation) => self.annotations.push(annotation),
            Taken::SegmentationBox(annotation) => {
                self.from_segmentation.add(|| annotation.name());
                self.annotations.push(annotation);
            }
            Taken::Nothing(key, value) => {
                let name = raw.name(index);
                self.left_out
                    .add(|| format!("{name}, whose `{key}` is {value}"));
            }
        }
    }
}

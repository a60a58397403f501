//! From the values of a record to what they mean.

use aweigh_geometry::boxes::xywh_to_xyxy;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::entry::{Annotation, Category, ImageEntry, name_of};
use super::list::Place;
use super::value::Found;
use super::{kind, segmentation};
use crate::DataError;

/// An image as it is found.
#[derive(Debug, Default, Deserialize)]
#[serde(default, expecting = "an object with the keys of an image")]
pub(super) struct RawImage {
    id: Found,
    file_name: Found,
    width: Found,
    height: Found,
}

/// A category as it is found.
#[derive(Debug, Default, Deserialize)]
#[serde(default, expecting = "an object with the keys of a category")]
pub(super) struct RawCategory {
    id: Found,
    name: Found,
}

/// An annotation as it is found.
#[derive(Debug, Default, Deserialize)]
#[serde(default, expecting = "an object with the keys of an annotation")]
pub(super) struct RawAnnotation {
    id: Found,
    image_id: Found,
    category_id: Found,
    bbox: Found,
    area: Found,
    iscrowd: Found,
    ignore: Found,
    /// Looked into only where something else is missing.
    segmentation: Option<Box<RawValue>>,
    caption: Option<IgnoredAny>,
    segments_info: Option<IgnoredAny>,
}

impl RawAnnotation {
    /// How messages name it.
    pub(super) fn name(&self, index: usize) -> String {
        name_of(self.id.id(), index)
    }
}

/// What an annotation gives.
pub(super) enum Taken {
    Box(Annotation),
    /// The box is that of the segmentation.
    SegmentationBox(Annotation),
    /// No usable box: the key and what is there.
    Nothing(&'static str, Found),
}

pub(super) fn image(place: Place<'_>, raw: &RawImage) -> Result<ImageEntry, DataError> {
    let name = if raw.file_name.is_absent() {
        String::new()
    } else {
        raw.file_name.name().ok_or_else(|| {
            place.error(&raw.id, "file_name", &raw.file_name, "the name of a file")
        })?
    };
    Ok(ImageEntry {
        id: place.id(&raw.id, "id", &raw.id)?,
        file_name: name,
        width: side(place, raw, "width", &raw.width)?,
        height: side(place, raw, "height", &raw.height)?,
    })
}

/// A side of an image; 0 where none is given.
fn side(
    place: Place<'_>,
    raw: &RawImage,
    key: &'static str,
    value: &Found,
) -> Result<u32, DataError> {
    if value.is_absent() {
        return Ok(0);
    }
    let side = value.id().and_then(|side| u32::try_from(side).ok());
    side.ok_or_else(|| place.error(&raw.id, key, value, "a whole number of pixels"))
}

pub(super) fn category(place: Place<'_>, raw: &RawCategory) -> Result<Category, DataError> {
    let id = place.id(&raw.id, "id", &raw.id)?;
    let name = if raw.name.is_absent() {
        placeholder_name(id)
    } else {
        raw.name
            .name()
            .ok_or_else(|| place.error(&raw.id, "name", &raw.name, "a name"))?
    };
    Ok(Category { id, name })
}

/// The name of a category without one, as evaluation tables show it.
fn placeholder_name(id: i64) -> String {
    format!("cat_{id}")
}

pub(super) fn annotation(place: Place<'_>, raw: &RawAnnotation) -> Result<Taken, DataError> {
    another_kind(place, raw)?;
    let own = bbox(place, raw)?;
    if says_nothing(&raw.area) && !raw.area.is_absent() {
        return Ok(Taken::Nothing("area", raw.area.clone()));
    }
    let area = area(place, raw)?;
    let needs_extent = own.is_none() || area.is_none();
    let segmentation = raw.segmentation.as_ref().filter(|_| needs_extent);
    let extent = segmentation.and_then(|json| segmentation::extent(json.get()));
    let Some(bbox) = own.or(extent.map(|extent| extent.bbox)) else {
        return Ok(Taken::Nothing("bbox", raw.bbox.clone()));
    };
    let covered = extent.map(|extent| extent.area).filter(|area| *area > 0.0);
    let annotation = Annotation {
        index: place.index,
        id: raw.id.id(),
        image_id: place.id(&raw.id, "image_id", &raw.image_id)?,
        category_id: place.id(&raw.id, "category_id", &raw.category_id)?,
        bbox,
        area: area.or(covered).unwrap_or(bbox[2] * bbox[3]),
        crowd: flag(place, raw, "iscrowd", &raw.iscrowd)?,
        ignore: flag(place, raw, "ignore", &raw.ignore)?,
    };
    Ok(match own {
        Some(_) => Taken::Box(annotation),
        None => Taken::SegmentationBox(annotation),
    })
}

fn another_kind(place: Place<'_>, raw: &RawAnnotation) -> Result<(), DataError> {
    let what = if raw.segments_info.is_some() {
        kind::PANOPTIC
    } else if raw.caption.is_some() && raw.bbox.is_absent() && raw.category_id.is_absent() {
        kind::CAPTIONS
    } else {
        return Ok(());
    };
    Err(DataError::AnotherKind {
        path: place.path.to_path_buf(),
        what: what.to_string(),
    })
}

/// The `bbox`; none where it, or a number in it, says nothing.
fn bbox(place: Place<'_>, raw: &RawAnnotation) -> Result<Option<[f64; 4]>, DataError> {
    let error = |expected| Err(place.error(&raw.id, "bbox", &raw.bbox, expected));
    let values = match &raw.bbox {
        Found::List(values) => values,
        other if says_nothing(other) => return Ok(None),
        _ => return error(BOX),
    };
    if values.is_empty() || values.len() == 4 && values.iter().any(says_nothing) {
        return Ok(None);
    }
    let numbers: Option<Vec<f64>> = values.iter().map(finite).collect();
    match numbers.as_deref() {
        Some(&[x, y, w, h]) if xywh_to_xyxy([x, y, w, h]).iter().all(|v| fits(*v)) => {
            Ok(Some([x, y, w, h]))
        }
        Some([_, _, _, _]) => error("numbers that are not too large for a coordinate"),
        _ => error(BOX),
    }
}

/// The `area`, if there is one.
fn area(place: Place<'_>, raw: &RawAnnotation) -> Result<Option<f64>, DataError> {
    match &raw.area {
        area if area.is_absent() => Ok(None),
        area => finite(area).map(Some).ok_or_else(|| {
            let expected = "a number of square pixels";
            place.error(&raw.id, "area", area, expected)
        }),
    }
}

/// Whether a value is absent or NaN, as programs write what they do not have.
fn says_nothing(value: &Found) -> bool {
    value.is_absent() || value.number().is_some_and(f64::is_nan)
}

const BOX: &str = "[x, y, width, height] in pixels";

fn finite(value: &Found) -> Option<f64> {
    value.number().filter(|number| number.is_finite())
}

/// Whether a coordinate is a finite f32.
fn fits(value: f64) -> bool {
    (value as f32).is_finite()
}

fn flag(
    place: Place<'_>,
    raw: &RawAnnotation,
    key: &'static str,
    value: &Found,
) -> Result<bool, DataError> {
    let flag = value.flag();
    flag.ok_or_else(|| place.error(&raw.id, key, value, "0 or 1"))
}

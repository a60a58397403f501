//! Files of other kinds, called by their names.

use crate::decode::signed;

/// Several values of JSON where one was expected.
pub(super) const LINES: &str = "JSON lines (several values, one after the other); put the records into the lists of one object";

/// What a file is that does not start as JSON does.
pub(super) fn by_start(start: &[u8]) -> Option<&'static str> {
    if let Some(known) = signed(start) {
        return Some(known);
    }
    if image::guess_format(start).is_ok() {
        return Some("a picture");
    }
    // Every other byte of ASCII in UTF-16 is 0.
    if start.len() > 1 && (start[0] == 0 || start[1] == 0) {
        return Some("UTF-16 text; save it as UTF-8");
    }
    match start.trim_ascii_start() {
        [] => Some("empty"),
        [b'<', ..] => Some("XML or HTML, such as Pascal VOC's or CVAT's own format"),
        _ => None,
    }
}

/// What a list is, by the keys of its first object.
pub(super) fn of_list(first: &[String]) -> String {
    let has = |key: &str| first.iter().any(|k| k == key);
    let what = if has("score") && has("image_id") {
        "a list of results (detections with a `score`), not annotations"
    } else if has("caption") {
        "a list of captions"
    } else if has("image") && has("annotations") {
        "a list of images with their own annotations, as of CreateML"
    } else if has("data") && (has("annotations") || has("completions")) {
        "Label Studio's own format; export it as COCO"
    } else if has("regions") || has("fileref") {
        "VIA's own format; export it as COCO"
    } else if first.is_empty() {
        "a list"
    } else {
        return format!("a list of records with {}", listed(first));
    };
    what.to_string()
}

/// What an object is that has none of COCO's lists, by its keys.
pub(super) fn of_object(keys: &[String]) -> String {
    let has = |key: &str| keys.iter().any(|k| k == key);
    let what = if keys.iter().any(|key| key.starts_with("_via_")) {
        "a project of VIA; export it as COCO"
    } else if has("shapes") && has("imagePath") {
        "Labelme's annotation of one image; convert them to COCO"
    } else if has("asset") || has("assets") {
        "a project of VoTT; export it as COCO"
    } else if has("items") && has("info") {
        "Datumaro's own format; export it as COCO"
    } else if has("features") {
        "GeoJSON"
    } else if has("database") {
        "a list of videos"
    } else if keys.is_empty() {
        "an object without keys"
    } else {
        return format!("an object with {}", listed(keys));
    };
    what.to_string()
}

/// What annotations are that a box detector has no use for.
pub(super) const PANOPTIC: &str = "a panoptic annotation file (its annotations have `segments_info`); the boxes of the same \
     images are in the instances file";
/// The same for captions.
pub(super) const CAPTIONS: &str = "a file of captions (its annotations have a `caption` and neither box nor category); the boxes \
     of the same images are in the instances file";

/// Some keys, as in `a`, `b` and others.
fn listed(keys: &[String]) -> String {
    const SHOWN: usize = 6;
    let mut shown: Vec<String> = keys.iter().take(SHOWN).map(|k| format!("`{k}`")).collect();
    if keys.len() > SHOWN {
        shown.push("...".to_string());
    }
    let plural = if keys.len() == 1 { "" } else { "s" };
    format!("the key{plural} {}", shown.join(", "))
}

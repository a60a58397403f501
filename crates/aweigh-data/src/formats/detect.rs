//! Which format a folder or file is.

use std::io::Read;
use std::path::Path;

use super::{Format, layout, yolo};
use crate::DataError;

/// The format of a dataset, by what lies in its folder.
///
/// # Errors
/// If there is nothing at the path, or no format is recognised: the message says what each needs.
pub fn detect(source: &Path) -> Result<Format, DataError> {
    layout::check_there(source)?;
    if yolo::is_yolo(source) {
        return Ok(Format::Yolo);
    }
    let files = match source.is_dir() {
        true => layout::files(source),
        false => vec![source.to_path_buf()],
    };
    let first = |ending: &str| files.iter().find(|file| layout::has_ending(file, ending));
    let xml = files.iter().filter(|file| layout::has_ending(file, "xml"));
    if let Some(format) = xml.into_iter().find_map(|file| of_xml(file)) {
        return Ok(format);
    }
    if first("json").is_some() {
        return Ok(Format::Coco);
    }
    if first("csv").is_some_and(|file| begins_with(file, "ImageID")) {
        return Ok(Format::OpenImages);
    }
    let labels = files.iter().filter(|file| layout::has_ending(file, "txt"));
    if labels
        .into_iter()
        .any(|file| begins_with(file, "imagesource:"))
    {
        return Ok(Format::Dota);
    }
    Err(layout::unknown(
        source,
        "no dataset of a known layout; expected COCO (*.json), Pascal VOC (*.xml), or YOLO \
         (data.yaml, or classes.txt beside the labels)",
    ))
}

/// The format of an XML file, of which editors and systems have their own kinds.
fn of_xml(path: &Path) -> Option<Format> {
    if begins_with(path, "<annotations") {
        Some(Format::Cvat)
    } else {
        begins_with(path, "<annotation").then_some(Format::Voc)
    }
}

/// Whether the first kilobyte of a file has a text.
fn begins_with(path: &Path, text: &str) -> bool {
    let mut start = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(1024).read_to_end(&mut start));
    read.is_ok() && String::from_utf8_lossy(&start).contains(text)
}

//! Images that share a file.

use std::collections::HashMap;
use std::path::Path;

use crate::finding::{Counter, Finding, counted};
use crate::plain::plain;
use crate::record::ImageRecord;

/// Images whose file is that of another.
pub(crate) fn repeated_files(file: &Path, images: &[ImageRecord]) -> Option<Finding> {
    let mut ids = HashMap::with_capacity(images.len());
    let mut repeated = Counter::default();
    for image in images {
        let name = plain(Path::new(&image.file_name));
        if let Some(other) = ids.insert(name, image.id) {
            repeated.add(|| format!("`{}` has the ids {other} and {}", image.file_name, image.id));
        }
    }
    let first = repeated.first()?;
    let count = counted(repeated.count(), "image has", "images have");
    let text = format!(
        "{count} the file of another image (first: {first}): in each of them, the objects of the \
         other count as background"
    );
    Some(Finding::warning(file, text))
}

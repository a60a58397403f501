//! Pictures that are trained on and scored on.

use std::collections::HashSet;
use std::path::PathBuf;

use crate::finding::{Counter, Finding};
use crate::plain::plain;
use crate::{CocoDataset, DatasetPart};

/// Tells how many pictures of `val` are those of `train`: the same files, by their paths.
///
/// Both are datasets with the images that they use.
pub fn shared_pictures(train: &CocoDataset, val: &CocoDataset) -> Option<Finding> {
    let trained: HashSet<PathBuf> = paths(train).into_iter().collect();
    let mut shared = Counter::default();
    for (path, image) in paths(val).iter().zip(val.images()) {
        if trained.contains(path) {
            shared.add(|| image.file_name.clone());
        }
    }
    let first = shared.first()?;
    let text = format!(
        "{} of {} images are trained on as well, by {} (first: `{first}`): their scores say \
         nothing about new pictures",
        shared.count(),
        val.images().len(),
        train.name()
    );
    Some(Finding::warning(val.annotations(), text))
}

/// The paths of the images in their order, by which equal files are recognised.
pub(crate) fn paths(dataset: &CocoDataset) -> Vec<PathBuf> {
    let parts = dataset.parts().iter();
    let of_part = |part: &DatasetPart| -> Vec<PathBuf> {
        let folder = &part.config.images;
        let folder = folder.canonicalize().unwrap_or_else(|_| folder.clone());
        let images = dataset.images()[part.images.clone()].iter();
        images
            .map(|image| plain(&folder.join(&image.file_name)))
            .collect()
    };
    parts.flat_map(of_part).collect()
}

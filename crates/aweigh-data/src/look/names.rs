//! The files of the images: which are missing, and what their names are likely to mean.

mod reason;

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

use crate::dataset::ImageRecord;
use crate::finding::{Counter, Finding};
use crate::{CocoDataset, DataError};

/// Checks that every image of a dataset has its file. Looks at names only: folders are listed,
/// files are not opened.
///
/// # Errors
/// If files are missing: how many, the first, and where they are likely to be.
pub fn check_files(dataset: &CocoDataset) -> Result<(), DataError> {
    let missing = missing(dataset);
    let Some(first) = missing.first() else {
        return Ok(());
    };
    Err(DataError::MissingImages {
        annotations: dataset.annotations().to_path_buf(),
        images: dataset.config().images.clone(),
        missing: missing.len(),
        all: dataset.images().len(),
        first: (*first).to_string(),
        reasons: reason::explain(dataset, &missing),
    })
}

/// The `file_name`s of the images without a file.
fn missing(dataset: &CocoDataset) -> Vec<&str> {
    let mut folders = Folders::default();
    let images = dataset.images().iter().enumerate();
    images
        .filter(|(index, _)| !folders.has(&dataset.image_path(*index)))
        .map(|(_, image)| image.file_name.as_str())
        .collect()
}

/// The names in folders, listed once: to ask for each of a hundred thousand files takes long on a
/// network drive.
#[derive(Default)]
struct Folders(HashMap<PathBuf, HashSet<OsString>>);

impl Folders {
    fn has(&mut self, file: &Path) -> bool {
        let (Some(folder), Some(name)) = (file.parent(), file.file_name()) else {
            return false;
        };
        if !self.0.contains_key(folder) {
            let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
            let names = entries.map(|entry| entry.file_name()).collect();
            self.0.insert(folder.to_path_buf(), names);
        }
        // Some file systems find a file by another spelling of its name.
        self.0[folder].contains(name) || file.is_file()
    }
}

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
    let count = super::counted(repeated.count(), "image has", "images have");
    let text = format!(
        "{count} the file of another image (first: {first}): in each of them, the objects of the \
         other count as background"
    );
    Some(Finding::warning(file, text))
}

/// A path without `.`, and without `..` where it has something to go back from.
pub(super) fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        let back = component == Component::ParentDir;
        match plain.components().next_back() {
            Some(Component::Normal(_)) if back => {
                plain.pop();
            }
            _ if component == Component::CurDir => {}
            _ => plain.push(component),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_compared_without_detours() {
        let check =
            |path: &str, wanted: &str| assert_eq!(plain(Path::new(path)), Path::new(wanted));
        check("a/./b.png", "a/b.png");
        check("./a.png", "a.png");
        check("a/../b.png", "b.png");
        check("../a.png", "../a.png");
        check("/a//b.png", "/a/b.png");
    }
}

//! The files of the images: which are missing, and what their names are likely to mean.

mod reason;
mod splits;

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::{CocoDataset, DataError, DatasetPart};

pub(crate) use splits::paths;
pub use splits::shared_pictures;

/// Checks that every image of a dataset has its file. Looks at names only: folders are listed,
/// files are not opened.
///
/// # Errors
/// If files are missing: how many of each annotation file, the first, and where they are likely to
/// be.
pub fn check_files(dataset: &CocoDataset) -> Result<(), DataError> {
    let parts = dataset.parts().iter();
    let mut errors: Vec<DataError> = parts
        .filter_map(|part| check_part(dataset, part).err())
        .collect();
    match errors.len() {
        0 => Ok(()),
        1 => Err(errors.remove(0)),
        _ => Err(DataError::Several(errors)),
    }
}

fn check_part(dataset: &CocoDataset, part: &DatasetPart) -> Result<(), DataError> {
    let missing = missing(dataset, part);
    let Some(first) = missing.first() else {
        return Ok(());
    };
    Err(DataError::MissingImages {
        annotations: part.config.annotations.clone(),
        images: part.config.images.clone(),
        missing: missing.len(),
        all: part.images.len(),
        first: (*first).to_string(),
        reasons: reason::explain(&part.config, &missing),
    })
}

/// The `file_name`s of the images without a file.
fn missing<'a>(dataset: &'a CocoDataset, part: &DatasetPart) -> Vec<&'a str> {
    let mut folders = Folders::default();
    let images = dataset.images()[part.images.clone()].iter();
    images
        .map(|image| image.file_name.as_str())
        .filter(|name| !folders.has(&part.config.images.join(name)))
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

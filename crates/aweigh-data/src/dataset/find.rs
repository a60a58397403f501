//! Finds the record of an image file in an annotation file.

use std::io;
use std::path::{Component, Path, PathBuf};

use super::{CocoDataset, DatasetConfig, Purpose};
use crate::DataError;

impl CocoDataset {
    /// Opens an annotation file, and finds the record of one of its images: the one with the
    /// longest `file_name` that the path ends with. Gives the position of the image too.
    ///
    /// Which folder `file_name` is relative to is not known here: where it is, [`find_in`] tells
    /// images of one name in different folders apart.
    ///
    /// # Errors
    /// If the image cannot be opened, is none of the annotation file or has several records, or
    /// for the reasons of [`open`](Self::open).
    ///
    /// [`find_in`]: Self::find_in
    pub fn open_image(annotations: &Path, image: &Path) -> Result<(Self, usize), DataError> {
        check_file(image)?;
        let absolute = std::path::absolute(image).map_err(|reason| unreadable(image, reason))?;
        let folder = absolute.parent().unwrap_or(&absolute);
        let config = DatasetConfig::new(annotations, folder);
        let mut dataset = Self::open(&config, Purpose::Evaluate)?;
        let (index, folder) = dataset.find(image)?;
        dataset.parts[0].config.images = folder;
        Ok((dataset, index))
    }

    /// The image with the longest `file_name` that a spelling of its path ends with, and the
    /// folder before it.
    fn find(&self, image: &Path) -> Result<(usize, PathBuf), DataError> {
        let mut longest = (0, Vec::new(), PathBuf::new());
        for path in spellings(image) {
            let (depth, indices) = self.ends_of(&path);
            // Of equals the first, which is closest to what the user wrote.
            if depth > longest.0 {
                longest = (depth, indices, path);
            }
        }
        let (depth, indices, path) = longest;
        match indices[..] {
            [] => Err(self.not_annotated(image, "a `file_name` that this path ends with".into())),
            [index] => {
                // Nothing lies before an absolute `file_name`, which is relative to no folder.
                let folder = path.ancestors().nth(depth).or(path.parent());
                Ok((index, folder.unwrap_or(&path).to_path_buf()))
            }
            _ => Err(self.repeated(image, &indices)),
        }
    }

    /// The images with the longest `file_name` that `path` ends with, and its components.
    fn ends_of(&self, path: &Path) -> (usize, Vec<usize>) {
        let (mut longest, mut indices) = (0, Vec::new());
        for (index, image) in self.images.iter().enumerate() {
            let depth = depth_at_end(&image.file_name, path);
            if depth > longest {
                (longest, indices) = (depth, Vec::new());
            }
            if depth > 0 && depth == longest {
                indices.push(index);
            }
        }
        (longest, indices)
    }

    /// Finds the record of an image, given the folder that `file_name` is relative to; it becomes
    /// the folder of the dataset. Gives the position of the image.
    ///
    /// # Errors
    /// If the image does not lie in the folder, has no record or has several.
    pub fn find_in(&mut self, folder: &Path, image: &Path) -> Result<usize, DataError> {
        for path in resolved(image) {
            let found = self.files_at(folder, &path);
            match found[..] {
                [] => {}
                [index] => {
                    self.parts[0].config.images = folder.to_path_buf();
                    return Ok(index);
                }
                _ => return Err(self.repeated(image, &found)),
            }
        }
        Err(self.not_in(folder, image))
    }

    /// The images whose file below `folder` is `path`, which is free of links.
    fn files_at(&self, folder: &Path, path: &Path) -> Vec<usize> {
        let here = |index: &usize| {
            let file = folder.join(&self.images[*index].file_name);
            // Names first: to resolve the path of every image of a large dataset takes seconds.
            file.file_name() == path.file_name() && place(&file).is_ok_and(|place| place == path)
        };
        (0..self.images.len()).filter(here).collect()
    }

    /// Why there is no record of an image below `folder`.
    fn not_in(&self, folder: &Path, image: &Path) -> DataError {
        let folder_place = folder.canonicalize().ok();
        let below = |path: &PathBuf| {
            let name = path.strip_prefix(folder_place.as_ref()?).ok()?;
            Some(format!("the `file_name` `{}`", name.display()))
        };
        match resolved(image).iter().find_map(below) {
            Some(expected) => self.not_annotated(image, expected),
            None => DataError::OutsideFolder {
                path: image.to_path_buf(),
                images: folder.to_path_buf(),
                annotations: self.annotations().to_path_buf(),
            },
        }
    }

    fn not_annotated(&self, image: &Path, expected: String) -> DataError {
        DataError::NotAnnotated {
            path: image.to_path_buf(),
            annotations: self.annotations().to_path_buf(),
            images: self.images.len(),
            expected,
            example: self.images[0].file_name.clone(),
        }
    }

    fn repeated(&self, image: &Path, indices: &[usize]) -> DataError {
        DataError::SeveralRecords {
            path: image.to_path_buf(),
            annotations: self.annotations().to_path_buf(),
            ids: indices.iter().map(|index| self.images[*index].id).collect(),
        }
    }
}

/// Checks that an image can be opened, whether or not it can be decoded.
fn check_file(image: &Path) -> Result<(), DataError> {
    // A folder can be opened on some systems.
    if image.is_dir() {
        let path = image.to_path_buf();
        return Err(DataError::ImageIsFolder { path });
    }
    let opened = std::fs::File::open(image);
    opened.map(drop).map_err(|reason| unreadable(image, reason))
}

fn unreadable(image: &Path, reason: io::Error) -> DataError {
    let path = image.to_path_buf();
    DataError::ImageFile { path, reason }
}

/// Number of components of a `file_name` that `path` ends with; 0 if it does not.
fn depth_at_end(file_name: &str, path: &Path) -> usize {
    let name = Path::new(file_name);
    if name.file_name() != path.file_name() {
        return 0;
    }
    let components = name.components();
    let mut name: PathBuf = components.filter(|c| *c != Component::CurDir).collect();
    if name.is_absolute() {
        name = place(&name).unwrap_or(name);
    }
    if path.ends_with(&name) {
        name.components().count()
    } else {
        0
    }
}

/// The path of a file as it is given, absolute, and [`resolved`].
fn spellings(path: &Path) -> Vec<PathBuf> {
    let mut all = vec![path.to_path_buf()];
    all.extend(std::path::absolute(path));
    all.extend(resolved(path));
    all
}

/// The path of a file without links and `..`: up to its folder, since a dataset may consist of
/// links, and up to the file that is meant.
fn resolved(path: &Path) -> Vec<PathBuf> {
    let both = [place(path), path.canonicalize()];
    both.into_iter().flatten().collect()
}

/// The path of a file, which may be a link, in a folder that is free of links and `..`.
fn place(path: &Path) -> io::Result<PathBuf> {
    let path = std::path::absolute(path)?;
    match (path.parent(), path.file_name()) {
        (Some(folder), Some(name)) => Ok(folder.canonicalize()?.join(name)),
        _ => Ok(path),
    }
}

//! A COCO annotation file with its folder of images.

use std::io;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::annotations;
use crate::{DataError, HostTruth};

/// Where a dataset lies and which of its images are used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatasetConfig {
    /// The annotation file, COCO's JSON layout.
    pub annotations: PathBuf,
    /// The folder to which `file_name` in the annotation file is relative.
    pub images: PathBuf,
    /// Leave images without any box or ignore region out of training. Default: true.
    /// Evaluation always uses every image.
    #[serde(default = "default_filter_empty")]
    pub filter_empty: bool,
    /// Leave images whose shorter side has fewer pixels than this out of training. Default: 32.
    /// Evaluation always uses every image.
    #[serde(default = "default_min_size")]
    pub min_size: u32,
}

fn default_filter_empty() -> bool {
    true
}

fn default_min_size() -> u32 {
    32
}

impl DatasetConfig {
    /// A dataset with the default filters.
    pub fn new(annotations: impl Into<PathBuf>, images: impl Into<PathBuf>) -> Self {
        Self {
            annotations: annotations.into(),
            images: images.into(),
            filter_empty: default_filter_empty(),
            min_size: default_min_size(),
        }
    }
}

/// What a dataset is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The filters of [`DatasetConfig`] apply.
    Train,
    /// Every image is kept, since leaving one out would change the scores.
    Evaluate,
}

/// One class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Category {
    /// The `id` in the annotation file.
    pub id: u64,
    /// The name.
    pub name: String,
}

/// One image with its ground truth in original pixels.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageRecord {
    /// The `id` in the annotation file.
    pub id: u64,
    /// The `file_name` in the annotation file.
    pub file_name: String,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Boxes, labels and ignore regions in original pixels.
    pub truth: HostTruth,
}

/// What was read and what was left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DatasetStats {
    /// Images in use.
    pub images: usize,
    /// Boxes in the images in use.
    pub boxes: usize,
    /// Ignore regions (`iscrowd` or `ignore`) in the images in use.
    pub ignore_regions: usize,
    /// Annotations dropped because they are less than 1 pixel wide or high.
    pub dropped_tiny: usize,
    /// Annotations dropped because their `area` is not positive.
    pub dropped_area: usize,
    /// Annotations dropped because they do not touch their image.
    pub dropped_outside: usize,
    /// Images left out because they have no box and no ignore region.
    pub filtered_empty: usize,
    /// Images left out because they are too small.
    pub filtered_small: usize,
}

impl DatasetStats {
    /// Annotations dropped as degenerate, for any reason.
    pub fn dropped(&self) -> usize {
        self.dropped_tiny + self.dropped_area + self.dropped_outside
    }
}

/// A checked COCO dataset: classes, images and ground truth; pixels stay on disk.
#[derive(Clone, Debug)]
pub struct CocoDataset {
    config: DatasetConfig,
    classes: Vec<Category>,
    images: Vec<ImageRecord>,
    stats: DatasetStats,
}

impl CocoDataset {
    /// Reads and checks an annotation file, and logs what it holds.
    ///
    /// Images keep the order of the file. Crowds (`iscrowd`) and annotations with `ignore: 1`
    /// become ignore regions. Annotations less than 1 pixel wide or high, with an `area` that is
    /// not positive, or outside their image are dropped and counted (the rules of mmdetection 3.x
    /// `datasets/coco.py`). Image files are not opened.
    ///
    /// # Errors
    /// If the file is missing, not COCO JSON, has repeated ids, refers to an undeclared image or
    /// category, has an annotation without a usable `bbox` or an image without a size; if the
    /// folder of the images is missing; if no class or no image is left.
    pub fn open(config: &DatasetConfig, purpose: Purpose) -> Result<Self, DataError> {
        let annotations::Parsed {
            classes,
            images,
            mut stats,
        } = annotations::read(&config.annotations)?;
        if !config.images.is_dir() {
            return Err(DataError::ImageFolder {
                path: config.images.clone(),
            });
        }
        let images = match purpose {
            Purpose::Train => filter(images, config, &mut stats),
            Purpose::Evaluate => images,
        };
        stats.images = images.len();
        stats.boxes = images.iter().map(|image| image.truth.boxes.len()).sum();
        stats.ignore_regions = images.iter().map(|image| image.truth.ignore.len()).sum();
        let dataset = Self {
            config: config.clone(),
            classes,
            images,
            stats,
        };
        dataset.check_not_empty()?;
        dataset.log();
        Ok(dataset)
    }

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
        dataset.config.images = folder;
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
                    self.config.images = folder.to_path_buf();
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
            Some(wanted) => self.not_annotated(image, wanted),
            None => DataError::OutsideFolder {
                path: image.to_path_buf(),
                images: folder.to_path_buf(),
                annotations: self.config.annotations.clone(),
            },
        }
    }

    fn not_annotated(&self, image: &Path, wanted: String) -> DataError {
        DataError::NotAnnotated {
            path: image.to_path_buf(),
            annotations: self.config.annotations.clone(),
            images: self.images.len(),
            wanted,
            example: self.images[0].file_name.clone(),
        }
    }

    fn repeated(&self, image: &Path, indices: &[usize]) -> DataError {
        DataError::SeveralRecords {
            path: image.to_path_buf(),
            annotations: self.config.annotations.clone(),
            ids: indices.iter().map(|index| self.images[*index].id).collect(),
        }
    }

    /// The classes; the position is the label `0..C`. Sorted by category id.
    pub fn classes(&self) -> &[Category] {
        &self.classes
    }

    /// The images in use, in the order of the annotation file.
    pub fn images(&self) -> &[ImageRecord] {
        &self.images
    }

    /// What was read and what was left out.
    pub fn stats(&self) -> &DatasetStats {
        &self.stats
    }

    /// The configuration that the dataset was opened with.
    pub fn config(&self) -> &DatasetConfig {
        &self.config
    }

    /// The annotation file.
    pub fn annotations(&self) -> &Path {
        &self.config.annotations
    }

    /// The file of image `index`.
    ///
    /// # Panics
    /// If `index` is not below the number of images.
    pub fn image_path(&self, index: usize) -> PathBuf {
        self.config.images.join(&self.images[index].file_name)
    }

    /// The category id of a label, for results files.
    ///
    /// # Panics
    /// If `label` is not below the number of classes.
    pub fn category_id(&self, label: usize) -> u64 {
        self.classes[label].id
    }

    fn check_not_empty(&self) -> Result<(), DataError> {
        let stats = &self.stats;
        let reason = if self.classes.is_empty() {
            "no categories; `categories` must list at least one".to_string()
        } else if !self.images.is_empty() {
            return Ok(());
        } else if stats.filtered_empty + stats.filtered_small == 0 {
            "no images; `images` must list at least one".to_string()
        } else {
            format!(
                "no image left: {} without boxes (`filter_empty`), {} with a side below {} px \
                 (`min_size`)",
                stats.filtered_empty, stats.filtered_small, self.config.min_size
            )
        };
        Err(DataError::Empty {
            path: self.config.annotations.clone(),
            reason,
        })
    }

    fn log(&self) {
        let stats = &self.stats;
        tracing::info!(
            "{}: {} images, {} classes, {} boxes, {} ignore regions",
            self.config.annotations.display(),
            stats.images,
            self.classes.len(),
            stats.boxes,
            stats.ignore_regions,
        );
        if stats.dropped() > 0 {
            tracing::info!(
                "{}: dropped {} degenerate boxes ({} below 1 px, {} without area, {} outside)",
                self.config.annotations.display(),
                stats.dropped(),
                stats.dropped_tiny,
                stats.dropped_area,
                stats.dropped_outside,
            );
        }
        if stats.filtered_empty + stats.filtered_small > 0 {
            tracing::info!(
                "{}: left out {} images without boxes and {} with a side below {} px",
                self.config.annotations.display(),
                stats.filtered_empty,
                stats.filtered_small,
                self.config.min_size,
            );
        }
    }
}

/// Removes the images that training does not use and counts them.
fn filter(
    mut images: Vec<ImageRecord>,
    config: &DatasetConfig,
    stats: &mut DatasetStats,
) -> Vec<ImageRecord> {
    images.retain(|image| {
        let small = image.width.min(image.height) < config.min_size;
        let empty = image.truth.boxes.is_empty() && image.truth.ignore.is_empty();
        let filtered = config.filter_empty && empty;
        stats.filtered_small += usize::from(small);
        stats.filtered_empty += usize::from(filtered && !small);
        !small && !filtered
    });
    images
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
    match path.ends_with(&name) {
        true => name.components().count(),
        false => 0,
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

//! A COCO annotation file with its folder of images.

mod find;

use std::path::{Path, PathBuf};

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

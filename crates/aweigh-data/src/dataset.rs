//! A COCO annotation file with its folder of images.

mod build;
mod config;
mod find;

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use crate::annotations::{AnnotationFile, Category};
use crate::finding::Finding;
use crate::record::ImageRecord;
use crate::{DataError, DecodeConfig};
use build::Built;

pub use build::DatasetStats;
pub use config::{DatasetConfig, Purpose};

/// A checked COCO dataset: classes, images and ground truth; pixels stay on disk.
#[derive(Clone, Debug)]
pub struct CocoDataset {
    config: DatasetConfig,
    classes: Vec<Category>,
    images: Vec<ImageRecord>,
    stats: DatasetStats,
    findings: Vec<Finding>,
    digest: String,
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
    /// For the reasons of [`AnnotationFile::read`] and [`from_file`](Self::from_file).
    pub fn open(config: &DatasetConfig, purpose: Purpose) -> Result<Self, DataError> {
        Self::from_file(&AnnotationFile::read(&config.annotations)?, config, purpose)
    }

    /// As [`open`](Self::open), with the annotation file of `config` read already.
    ///
    /// # Errors
    /// If an annotation refers to an undeclared image or category, or an image has no name or no
    /// size; if the folder of the images is missing; if no image is left.
    pub fn from_file(
        file: &AnnotationFile,
        config: &DatasetConfig,
        purpose: Purpose,
    ) -> Result<Self, DataError> {
        let Built {
            classes,
            images,
            mut stats,
            findings,
        } = build::build(file, purpose)?;
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
            findings,
            digest: file.digest().to_string(),
        };
        dataset.log();
        dataset.check_not_empty()?;
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

    /// What is probably a mistake in the annotation file, or worth knowing; in the log already.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// SHA-256 of the annotation file, in hexadecimal.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The configuration that the dataset was opened with.
    pub fn config(&self) -> &DatasetConfig {
        &self.config
    }

    /// Changes how files become pixels from now on.
    pub fn set_decoding(&mut self, decoding: DecodeConfig) {
        self.config.decoding = decoding;
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
    pub fn category_id(&self, label: usize) -> i64 {
        self.classes[label].id
    }

    /// Puts the classes into the order of `names` and relabels the boxes. False, and nothing is
    /// changed, where these are not exactly the names of the classes, each once.
    pub fn reorder_classes(&mut self, names: &[String]) -> bool {
        let place = |class: &Category| {
            let mut places = (0..names.len()).filter(|at| names[*at] == class.name);
            places.next().filter(|_| places.next().is_none())
        };
        let places: Option<Vec<usize>> = self.classes.iter().map(place).collect();
        let Some(places) = places.filter(|places| places.len() == names.len()) else {
            return false;
        };
        let distinct: HashSet<usize> = places.iter().copied().collect();
        if distinct.len() != names.len() {
            return false;
        }
        let mut order: Vec<usize> = (0..places.len()).collect();
        order.sort_by_key(|label| places[*label]);
        self.classes = order
            .iter()
            .map(|label| self.classes[*label].clone())
            .collect();
        let labels = self
            .images
            .iter_mut()
            .flat_map(|image| &mut image.truth.labels);
        labels.for_each(|label| *label = places[*label]);
        true
    }

    fn check_not_empty(&self) -> Result<(), DataError> {
        if !self.images.is_empty() {
            return Ok(());
        }
        let stats = &self.stats;
        Err(DataError::Empty {
            path: self.config.annotations.clone(),
            reason: format!(
                "no image left: {} without boxes (`filter_empty`), {} with a side below {} px \
                 (`min_size`); boxes left out: {} less than 1 px wide or high, {} with an `area` \
                 of zero or less, {} outside of their image",
                stats.filtered_empty,
                stats.filtered_small,
                self.config.min_size,
                stats.dropped_tiny,
                stats.dropped_area,
                stats.dropped_outside,
            ),
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
        self.findings.iter().for_each(Finding::log);
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

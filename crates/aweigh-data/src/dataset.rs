//! A COCO annotation file with its folder of images.

mod build;
mod config;
mod find;
mod parts;
#[cfg(test)]
pub(crate) mod testing;

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use crate::annotations::{AnnotationFile, Category};
use crate::finding::{Finding, counted};
use crate::record::ImageRecord;
use crate::{DataError, DecodeConfig};
use build::Built;

pub use build::DatasetStats;
pub use config::{DatasetConfig, Purpose};
pub use parts::DatasetPart;

/// A checked COCO dataset: classes, images and ground truth; pixels stay on disk.
///
/// It has one annotation file, or several that [`concat`](Self::concat) puts together.
#[derive(Clone, Debug)]
pub struct CocoDataset {
    /// At least one.
    parts: Vec<DatasetPart>,
    classes: Vec<Category>,
    images: Vec<ImageRecord>,
    stats: DatasetStats,
    findings: Vec<Finding>,
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

    /// Opens annotation files and puts them [together](Self::concat).
    ///
    /// # Errors
    /// For the reasons of [`open`](Self::open) and [`concat`](Self::concat).
    ///
    /// # Panics
    /// If `configs` is empty.
    pub fn open_all(configs: &[DatasetConfig], purpose: Purpose) -> Result<Self, DataError> {
        let datasets = configs.iter().map(|config| Self::open(config, purpose));
        Self::concat(datasets.collect::<Result<_, _>>()?)
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
        let dataset = Self::assemble(file, config, purpose)?;
        dataset.log();
        dataset.check_not_empty()?;
        Ok(dataset)
    }

    /// As [`from_file`](Self::from_file), without a word in the log; it may be empty.
    pub(crate) fn assemble(
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
        let part = DatasetPart {
            config: config.clone(),
            digest: file.digest().to_string(),
            images: 0..images.len(),
            boxes: stats.boxes,
        };
        Ok(Self {
            parts: vec![part],
            classes,
            images,
            stats,
            findings,
        })
    }

    /// The classes; the position is the label `0..C`. Sorted by category id, in each annotation
    /// file.
    pub fn classes(&self) -> &[Category] {
        &self.classes
    }

    /// The images in use, in the order of the annotation files.
    pub fn images(&self) -> &[ImageRecord] {
        &self.images
    }

    /// What was read and what was left out.
    pub fn stats(&self) -> &DatasetStats {
        &self.stats
    }

    /// What is probably a mistake in an annotation file, or worth knowing; in the log already.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Its annotation files with their images: at least one.
    pub fn parts(&self) -> &[DatasetPart] {
        &self.parts
    }

    /// SHA-256 of the annotation file, the first of several, in hexadecimal.
    pub fn digest(&self) -> &str {
        &self.parts[0].digest
    }

    /// The configuration that the dataset was opened with. Of several annotation files it is that of
    /// the first: the others differ in their paths and repeats.
    pub fn config(&self) -> &DatasetConfig {
        &self.parts[0].config
    }

    /// Changes how files become pixels from now on.
    pub fn set_decoding(&mut self, decoding: DecodeConfig) {
        for part in &mut self.parts {
            part.config.decoding = decoding;
        }
    }

    /// The annotation file, the first of several.
    pub fn annotations(&self) -> &Path {
        &self.config().annotations
    }

    /// What messages call the dataset: its annotation file, or the first and how many more.
    pub fn name(&self) -> String {
        let first = self.annotations().display();
        match self.parts.len() - 1 {
            0 => first.to_string(),
            others => format!(
                "{first} and {}",
                counted(others, "other file", "other files")
            ),
        }
    }

    /// The annotation file of image `index`, with its folder.
    ///
    /// # Panics
    /// If `index` is not below the number of images.
    pub fn part_of(&self, index: usize) -> &DatasetPart {
        let part = self.parts.iter().find(|part| index < part.images.end);
        part.expect("the index of an image of the dataset")
    }

    /// The file of image `index`.
    ///
    /// # Panics
    /// If `index` is not below the number of images.
    pub fn image_path(&self, index: usize) -> PathBuf {
        let folder = &self.part_of(index).config.images;
        folder.join(&self.images[index].file_name)
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
        self.relabel(&places);
        true
    }

    /// Gives every box of a label the one that `labels` has for it.
    fn relabel(&mut self, labels: &[usize]) {
        let all = self
            .images
            .iter_mut()
            .flat_map(|image| &mut image.truth.labels);
        all.for_each(|label| *label = labels[*label]);
    }

    fn check_not_empty(&self) -> Result<(), DataError> {
        if !self.images.is_empty() {
            return Ok(());
        }
        let stats = &self.stats;
        Err(DataError::Empty {
            path: self.annotations().to_path_buf(),
            reason: format!(
                "no image left: {} without boxes (`filter_empty`), {} with a side below {} px \
                 (`min_size`); boxes left out: {} less than 1 px wide or high, {} with an `area` \
                 of zero or less, {} outside of their image",
                stats.filtered_empty,
                stats.filtered_small,
                self.config().min_size,
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
            self.annotations().display(),
            stats.images,
            self.classes.len(),
            stats.boxes,
            stats.ignore_regions,
        );
        self.findings.iter().for_each(Finding::log);
        if stats.filtered_empty + stats.filtered_small > 0 {
            tracing::info!(
                "{}: left out {} images without boxes and {} with a side below {} px",
                self.annotations().display(),
                stats.filtered_empty,
                stats.filtered_small,
                self.config().min_size,
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
        let filtered = config.filter_empty && image.is_empty();
        stats.filtered_small += usize::from(small);
        stats.filtered_empty += usize::from(filtered && !small);
        !small && !filtered
    });
    images
}

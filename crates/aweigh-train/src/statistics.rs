//! A dataset in numbers, and what the pyramid of an experiment makes of it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use aweigh_data::{CocoDataset, ImageRecord, PlainTruth, evenly_spread};
use aweigh_detectors::learnable::learners;
use burn::tensor::Device;
use serde::Serialize;

use crate::TrainError;
use crate::config::Experiment;
use crate::explain::level_name;
use crate::learnable::scene;

/// Time that a census takes at most, but for its last image.
const BUDGET: Duration = Duration::from_secs(20);

/// Time that a glance takes at most, but for its last image.
const GLANCE: Duration = Duration::from_secs(2);

/// Values in rising order at these parts of all.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Quantiles {
    /// The smallest.
    pub min: f32,
    /// A tenth is not larger.
    pub p10: f32,
    /// Half is not larger.
    pub median: f32,
    /// Nine tenths are not larger.
    pub p90: f32,
    /// The largest.
    pub max: f32,
}

/// The boxes of a class.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClassStatistics {
    /// The name.
    pub name: String,
    /// Boxes.
    pub boxes: usize,
    /// Images with at least one.
    pub images: usize,
    /// Square roots of areas of boxes, in pixels of the images.
    pub size: Option<Quantiles>,
}

/// A dataset in numbers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Statistics {
    /// The annotation file.
    pub annotations: PathBuf,
    /// Images.
    pub images: usize,
    /// Boxes.
    pub boxes: usize,
    /// Ignore regions.
    pub ignore_regions: usize,
    /// Shorter sides of images, in pixels.
    pub short_side: Option<Quantiles>,
    /// Longer sides of images, in pixels.
    pub long_side: Option<Quantiles>,
    /// Boxes of an image.
    pub boxes_per_image: Option<Quantiles>,
    /// Square roots of areas of boxes, in pixels of the images.
    pub size: Option<Quantiles>,
    /// Widths over heights of boxes.
    pub aspect_ratio: Option<Quantiles>,
    /// Every class, in the order of labels.
    pub classes: Vec<ClassStatistics>,
    /// Square roots of areas of all boxes, in pixels of the images.
    #[serde(skip)]
    pub sizes: Vec<f32>,
}

/// A box as the network sees it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct InputBox {
    /// Square root of the area, in pixels of the network input.
    pub size: f32,
    /// The level with most of the points that learn it; none where no point does.
    pub level: Option<usize>,
}

/// A level of the pyramid and the boxes that train it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LevelStatistics {
    /// Such as `P3`.
    pub name: String,
    /// Distance between its points, in pixels of the network input.
    pub stride: usize,
    /// Boxes with most of their points on this level.
    pub boxes: usize,
    /// Points of this level that learn one of these boxes.
    pub points_per_box: Option<Quantiles>,
    /// Square roots of areas of these boxes, in pixels of the network input.
    pub size: Option<Quantiles>,
}

/// What the pyramid of an experiment makes of the boxes of a dataset.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Census {
    /// Images that were looked at, spread evenly over all.
    pub looked_at: usize,
    /// Shorter and longer side that images are resized to, in pixels.
    pub input: [usize; 2],
    /// What learns boxes: points or anchors.
    pub learner: &'static str,
    /// Every level, the finest first.
    pub levels: Vec<LevelStatistics>,
    /// Boxes that were looked at.
    pub boxes: usize,
    /// Boxes that nothing learns.
    pub unlearnt: usize,
    /// The same for each class that has such boxes.
    pub unlearnt_by_class: BTreeMap<String, usize>,
    /// Square roots of areas of boxes, in pixels of the network input.
    pub size: Option<Quantiles>,
    /// Every box that was looked at.
    #[serde(skip)]
    pub each: Vec<InputBox>,
}

impl Quantiles {
    /// The quantiles of some values; none of none.
    pub fn of(values: impl IntoIterator<Item = f32>) -> Option<Self> {
        let mut values: Vec<f32> = values.into_iter().collect();
        values.sort_by(f32::total_cmp);
        let last = values.len().checked_sub(1)?;
        let at = |part: f64| {
            let value = values[(part * last as f64).round() as usize];
            (value * 100.0).round() / 100.0
        };
        Some(Self {
            min: at(0.0),
            p10: at(0.1),
            median: at(0.5),
            p90: at(0.9),
            max: at(1.0),
        })
    }

    /// Every value times `factor`.
    pub(crate) fn times(self, factor: f32) -> Self {
        let [min, p10, median, p90, max] =
            [self.min, self.p10, self.median, self.p90, self.max].map(|value| value * factor);
        Self {
            min,
            p10,
            median,
            p90,
            max,
        }
    }
}

impl Statistics {
    /// Counts and measures; no image is opened.
    pub fn of(dataset: &CocoDataset) -> Self {
        let images = dataset.images();
        let sides = |image: &ImageRecord| [image.width as f32, image.height as f32];
        let boxes = || images.iter().flat_map(|image| &image.truth.boxes);
        Self {
            annotations: dataset.annotations().to_path_buf(),
            images: images.len(),
            boxes: boxes().count(),
            ignore_regions: images.iter().map(|image| image.truth.ignore.len()).sum(),
            short_side: Quantiles::of(images.iter().map(|i| sides(i)[0].min(sides(i)[1]))),
            long_side: Quantiles::of(images.iter().map(|i| sides(i)[0].max(sides(i)[1]))),
            boxes_per_image: Quantiles::of(images.iter().map(|i| i.truth.boxes.len() as f32)),
            size: Quantiles::of(boxes().map(size)),
            aspect_ratio: Quantiles::of(boxes().map(|[x1, y1, x2, y2]| (x2 - x1) / (y2 - y1))),
            classes: classes(dataset),
            sizes: boxes().map(size).collect(),
        }
    }
}

/// Square root of the area of a box.
fn size([x1, y1, x2, y2]: &[f32; 4]) -> f32 {
    ((x2 - x1) * (y2 - y1)).max(0.0).sqrt()
}

fn classes(dataset: &CocoDataset) -> Vec<ClassStatistics> {
    let mut sizes: Vec<Vec<f32>> = vec![Vec::new(); dataset.classes().len()];
    let mut with: Vec<usize> = vec![0; sizes.len()];
    for image in dataset.images() {
        let truth = &image.truth;
        for (label, bbox) in truth.labels.iter().zip(&truth.boxes) {
            sizes[*label].push(size(bbox));
        }
        for (label, with) in with.iter_mut().enumerate() {
            *with += usize::from(truth.labels.contains(&label));
        }
    }
    let named = dataset.classes().iter().zip(sizes).zip(with);
    named
        .map(|((class, sizes), images)| ClassStatistics {
            name: class.name.clone(),
            boxes: sizes.len(),
            images,
            size: Quantiles::of(sizes),
        })
        .collect()
}

impl Census {
    /// Assigns the boxes of a dataset as a step does that neither flips nor rescales its images: of
    /// as many images as twenty seconds suffice for.
    ///
    /// # Errors
    ///
    /// When the detector's configuration is not valid.
    pub fn take(experiment: &Experiment, dataset: &CocoDataset) -> Result<Self, TrainError> {
        Self::within(BUDGET, experiment, dataset)
    }

    /// As [`take`](Self::take), of as many images as two seconds suffice for.
    ///
    /// # Errors
    ///
    /// When the detector's configuration is not valid.
    pub(crate) fn glance(
        experiment: &Experiment,
        dataset: &CocoDataset,
    ) -> Result<Self, TrainError> {
        Self::within(GLANCE, experiment, dataset)
    }

    fn within(
        budget: Duration,
        experiment: &Experiment,
        dataset: &CocoDataset,
    ) -> Result<Self, TrainError> {
        let started = Instant::now();
        let method = experiment.detector.method()?;
        let strides: Vec<usize> = experiment
            .detector
            .levels()?
            .iter()
            .map(|l| l.stride)
            .collect();
        let (mut each, mut points) = (Vec::new(), Vec::new());
        let mut unlearnt_by_class = BTreeMap::new();
        let (all, mut looked_at) = (dataset.images().len(), 0);
        for index in (0..all).map(evenly_spread(all)) {
            let record = &dataset.images()[index];
            let plain = plain(experiment, record);
            let found = learners(method, &scene(experiment, &plain)?, &Device::flex());
            for (slot, counts) in found.iter().enumerate() {
                let seen = InputBox::new(&plain.truth.boxes[slot], counts);
                points.push(seen.level.map_or(0, |level| counts[level]));
                if seen.level.is_none() {
                    let name = dataset.classes()[record.truth.labels[slot]].name.clone();
                    *unlearnt_by_class.entry(name).or_default() += 1;
                }
                each.push(seen);
            }
            looked_at += 1;
            if started.elapsed() > budget {
                break;
            }
        }
        let transform = &experiment.data.transform;
        let level =
            |(level, stride): (usize, &usize)| level_statistics(level, *stride, &each, &points);
        Ok(Self {
            looked_at,
            input: [transform.short_edge, transform.long_edge].map(|edge| edge as usize),
            learner: method.learner(),
            levels: strides.iter().enumerate().map(level).collect(),
            boxes: each.len(),
            unlearnt: each.iter().filter(|seen| seen.level.is_none()).count(),
            unlearnt_by_class,
            size: Quantiles::of(each.iter().map(|seen| seen.size)),
            each,
        })
    }
}

fn plain(experiment: &Experiment, record: &ImageRecord) -> PlainTruth {
    let size = [record.height as usize, record.width as usize];
    experiment.data.transform.plain_truth(&record.truth, size)
}

fn level_statistics(
    level: usize,
    stride: usize,
    each: &[InputBox],
    points: &[usize],
) -> LevelStatistics {
    let of_level = || {
        each.iter()
            .zip(points)
            .filter(|(seen, _)| seen.level == Some(level))
    };
    LevelStatistics {
        name: level_name(stride),
        stride,
        boxes: of_level().count(),
        points_per_box: Quantiles::of(of_level().map(|(_, points)| *points as f32)),
        size: Quantiles::of(of_level().map(|(seen, _)| seen.size)),
    }
}

impl InputBox {
    fn new(bbox: &[f32; 4], counts: &[usize]) -> Self {
        // Of equals the finest.
        let levels = counts.iter().enumerate().rev();
        let most = levels.max_by_key(|(_, count)| **count);
        Self {
            size: size(bbox),
            level: most
                .filter(|(_, count)| **count > 0)
                .map(|(level, _)| level),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values() {
        let check = |values: &[f32], expected: Option<[f32; 5]>| {
            let found = Quantiles::of(values.iter().copied());
            let found = found.map(|q| [q.min, q.p10, q.median, q.p90, q.max]);
            assert_eq!(found, expected, "{values:?}");
        };
        check(&[], None);
        check(&[2.0], Some([2.0; 5]));
        check(&[3.0, 1.0, 2.0], Some([1.0, 1.0, 2.0, 3.0, 3.0]));
        let many: Vec<f32> = (0..=100).map(|value| value as f32).collect();
        check(&many, Some([0.0, 10.0, 50.0, 90.0, 100.0]));
    }

    #[test]
    fn a_box_is_of_the_level_with_most_of_its_points() {
        let check = |counts: &[usize], expected| {
            assert_eq!(
                InputBox::new(&[0.0, 0.0, 4.0, 4.0], counts).level,
                expected,
                "{counts:?}"
            );
        };
        check(&[0, 3, 1], Some(1));
        check(&[2, 2, 1], Some(0));
        check(&[0, 0], None);
    }
}

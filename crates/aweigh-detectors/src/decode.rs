//! From raw predictions to detections.
//!
//! Semantics follow mmdetection 3.x `base_dense_head.py`: threshold on the class score, the
//! `nms_pre` best (point, class) pairs of each level, boxes clipped to the resized image,
//! class-aware NMS, the best `max_per_image`.
//!
//! Most of a million scores are far below the threshold. The device finds the points that have one
//! above it ([`points`]); what they predict is read back, and the rest, sequential and
//! data-dependent, happens on the host, images in parallel.

mod points;

use std::ops::Range;

use aweigh_geometry::{Detection, ImageFrame, nms::batched_nms};
use burn::tensor::Tensor;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::DetectorConfigError;
use crate::checks::Table;
use points::{Points, lowest_logit};

/// How a class score and the location's quality make the score of a detection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Score {
    /// `class * quality`.
    Product,
    /// `sqrt(class * quality)`: the same order inside an image, on the scale of a probability.
    Sqrt,
}

impl Score {
    /// The score of a detection; the class score alone without a quality.
    fn of(self, class: f32, quality: Option<f32>) -> f32 {
        match (self, quality) {
            (_, None) => class,
            (Self::Product, Some(quality)) => class * quality,
            (Self::Sqrt, Some(quality)) => (class * quality).sqrt(),
        }
    }
}

/// Thresholds and limits of inference.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct InferenceConfig {
    /// Smallest class score of a candidate, exclusive. Default: 0.05.
    pub score_threshold: f32,
    /// Candidates kept per level. Default: 1000.
    pub nms_pre: usize,
    /// Overlap above which the lower of two boxes of one class is dropped. Default: 0.6.
    pub nms_iou: f32,
    /// Detections kept per image. Default: 100.
    pub max_per_image: usize,
    /// Boxes not wider or not higher than this, in pixels of the file, are dropped; below 0 none.
    /// Default: 0.
    pub min_box_size: f32,
    /// How class score and quality combine. Default: the product.
    pub score: Score,
}

impl Default for InferenceConfig {
    fn default() -> Self {
        Self {
            score_threshold: 0.05,
            nms_pre: 1000,
            nms_iou: 0.6,
            max_per_image: 100,
            min_box_size: 0.0,
            score: Score::Product,
        }
    }
}

/// Reads an [`InferenceConfig`] whose absent keys have the values of
/// [`InferenceConfig::half_overlap`]: `#[serde(with = "HalfOverlap")]`.
#[derive(Serialize, Deserialize)]
#[serde(
    remote = "InferenceConfig",
    deny_unknown_fields,
    default = "InferenceConfig::half_overlap"
)]
pub(crate) struct HalfOverlap {
    score_threshold: f32,
    nms_pre: usize,
    nms_iou: f32,
    max_per_image: usize,
    min_box_size: f32,
    score: Score,
}

impl InferenceConfig {
    /// The defaults of methods that drop boxes at an overlap of 0.5, all but FCOS.
    pub fn half_overlap() -> Self {
        Self {
            nms_iou: 0.5,
            ..Self::default()
        }
    }

    /// Checks every value.
    pub(crate) fn validate(&self, table: Table<'_>) -> Result<(), DetectorConfigError> {
        table.fraction("score_threshold", self.score_threshold)?;
        table.fraction("nms_iou", self.nms_iou)?;
        table.at_least_one("nms_pre", self.nms_pre)?;
        table.at_least_one("max_per_image", self.max_per_image)?;
        let size = self.min_box_size;
        table.need(!size.is_nan(), "min_box_size", || {
            format!("expected a number of pixels, found {size}")
        })
    }

    /// [`validate`](Self::validate) for a method that predicts no quality.
    pub(crate) fn validate_without_quality(
        &self,
        table: Table<'_>,
    ) -> Result<(), DetectorConfigError> {
        table.need(self.score == Score::Product, "score", || {
            "expected product: the method predicts no quality to combine with".to_owned()
        })?;
        self.validate(table)
    }
}

/// The box of a candidate, in pixels of the network input.
pub type DecodeBox<'a> = Box<dyn Fn(&Candidate<'_>) -> [f32; 4] + Send + Sync + 'a>;

/// Points, or anchors, of all levels that predict classes and boxes in one way.
pub struct Branch<'a> {
    /// Class logits, `[B, C, P]`.
    pub logits: Tensor<3>,
    /// What the box and the quality of a candidate are made of, `[B, V, P]`.
    pub values: Tensor<3>,
    /// Channel of `values` with the logit of a candidate's quality, if the method predicts one.
    pub quality: Option<usize>,
    /// Number of points of each level; their sum is P.
    pub level_points: Vec<usize>,
    /// The box of a candidate, in pixels of the network input.
    pub decode: DecodeBox<'a>,
}

/// A point with a class score above the threshold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate<'a> {
    /// Index of the point among all points of the image.
    pub point: usize,
    /// Index of its level.
    pub level: usize,
    /// What the point predicts, V values.
    pub values: &'a [f32],
    /// Its image.
    pub image: &'a ImageFrame,
}

impl Candidate<'_> {
    /// The first four values, one for each side of the box.
    ///
    /// # Panics
    ///
    /// When there are fewer.
    pub fn sides(&self) -> [f32; 4] {
        [0, 1, 2, 3].map(|side| self.values[side])
    }
}

/// The detections of each image, in original pixels, best first.
pub(crate) fn detections(
    branches: &[Branch<'_>],
    images: &[ImageFrame],
    config: &InferenceConfig,
) -> Vec<Vec<Detection>> {
    of_images(branches, images, config, |found| suppress(&found, config))
}

/// The boxes of each image before NMS, small ones dropped, in original pixels: those of the first
/// branch, then those of the next.
pub(crate) fn candidates(
    branches: &[Branch<'_>],
    images: &[ImageFrame],
    config: &InferenceConfig,
) -> Vec<Vec<Detection>> {
    of_images(branches, images, config, |found| found)
}

/// Finds the candidates of each image and finishes them, images in parallel.
fn of_images(
    branches: &[Branch<'_>],
    images: &[ImageFrame],
    config: &InferenceConfig,
    finish: impl Fn(Vec<Detection>) -> Vec<Detection> + Sync,
) -> Vec<Vec<Detection>> {
    let read = points::read(branches, config.score_threshold);
    let of_image = |(index, image): (usize, &ImageFrame)| {
        let parts = branches.iter().zip(&read);
        let boxes =
            |(branch, read): (&Branch<'_>, &Vec<Points>)| branch.boxes(&read[index], image, config);
        finish(parts.flat_map(boxes).collect())
    };
    images.par_iter().enumerate().map(of_image).collect()
}

/// A (point, class) pair that passed the threshold.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Scored {
    /// Index among the points that were read.
    column: usize,
    label: usize,
    score: f32,
}

impl Branch<'_> {
    /// The boxes of the candidates of an image, level after level, the best of a level first; small
    /// ones dropped, in original pixels.
    fn boxes(
        &self,
        points: &Points,
        image: &ImageFrame,
        config: &InferenceConfig,
    ) -> Vec<Detection> {
        let mut boxes = Vec::new();
        let mut values = Vec::new();
        let mut start = 0;
        for (level, count) in self.level_points.iter().enumerate() {
            let range = start..start + count;
            start = range.end;
            for found in best_of_level(points, range, config) {
                values.clear();
                values.extend(points.values(found.column));
                let bbox = (self.decode)(&Candidate {
                    point: points.indices[found.column],
                    level,
                    values: &values,
                    image,
                });
                let bbox = image.to_original(image.clip(bbox));
                if is_large(bbox, config) {
                    let quality = self.quality.map(|channel| sigmoid(values[channel]));
                    boxes.push(Detection {
                        bbox,
                        score: config.score.of(found.score, quality),
                        label: found.label,
                    });
                }
            }
        }
        boxes
    }
}

/// The candidates among the points of one level, best first; of equal scores the first point, then
/// the first class.
fn best_of_level(points: &Points, level: Range<usize>, config: &InferenceConfig) -> Vec<Scored> {
    let column = |point: usize| points.indices.partition_point(|index| *index < point);
    let columns = column(level.start)..column(level.end);
    let lowest = lowest_logit(config.score_threshold);
    let mut found = Vec::new();
    for label in 0..points.classes() {
        let logits = &points.logits(label)[columns.clone()];
        for (column, logit) in columns.clone().zip(logits) {
            if *logit < lowest {
                continue;
            }
            let score = sigmoid(*logit);
            if score > config.score_threshold {
                found.push(Scored {
                    column,
                    label,
                    score,
                });
            }
        }
    }
    let order = |a: &Scored, b: &Scored| {
        let order = b.score.total_cmp(&a.score);
        order.then((a.column, a.label).cmp(&(b.column, b.label)))
    };
    if found.len() > config.nms_pre {
        found.select_nth_unstable_by(config.nms_pre - 1, order);
        found.truncate(config.nms_pre);
    }
    found.sort_unstable_by(order);
    found
}

/// `1 / (1 + e^-x)`.
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

/// Applies class-aware NMS and keeps the best.
fn suppress(candidates: &[Detection], config: &InferenceConfig) -> Vec<Detection> {
    let boxes: Vec<[f32; 4]> = candidates.iter().map(|d| d.bbox).collect();
    let scores: Vec<f32> = candidates.iter().map(|d| d.score).collect();
    let labels: Vec<usize> = candidates.iter().map(|d| d.label).collect();
    let mut kept = batched_nms(&boxes, &scores, &labels, config.nms_iou);
    kept.truncate(config.max_per_image);
    kept.into_iter().map(|i| candidates[i]).collect()
}

/// Whether a box is wider and higher than the limit.
fn is_large([x1, y1, x2, y2]: [f32; 4], config: &InferenceConfig) -> bool {
    x2 - x1 > config.min_box_size && y2 - y1 > config.min_box_size
}

//! From raw predictions to detections, on the host.
//!
//! Top-k of a thousand and NMS are sequential and data-dependent; the predictions of a batch are
//! read back once and the rest happens here. Semantics follow mmdetection 3.x
//! `base_dense_head.py`: threshold on the class score, the `nms_pre` best (point, class) pairs of
//! each level, boxes clipped to the resized image, class-aware NMS, the best `max_per_image`.

use std::ops::Range;

use aweigh_geometry::{Detection, ImageSize, boxes::clip_host, nms::batched_nms};
use burn::tensor::{Tensor, TensorData, Transaction};
use serde::{Deserialize, Serialize};

use crate::DetectorConfigError;
use crate::checks::Table;

/// What an image's detections need to return to its original pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ImageFrame {
    /// Height and width after resizing, before padding, in pixels.
    pub size: [usize; 2],
    /// Resized over original size along x and y.
    pub scale: [f32; 2],
}

/// How a class score and the location's quality make the score of a detection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Score {
    /// `class * quality`.
    Product,
    /// `sqrt(class * quality)`: the same order inside an image, on the scale of a probability.
    Sqrt,
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

/// A (point, class) pair that passed the threshold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Candidate {
    /// Index of the point among all points of the image.
    pub(crate) point: usize,
    pub(crate) label: usize,
    pub(crate) score: f32,
}

/// Per-point values of a batch on the host, `[B, channels, P]`.
pub(crate) struct HostMap {
    values: Vec<f32>,
    channels: usize,
    points: usize,
}

impl HostMap {
    /// Reads several maps with one synchronisation.
    pub(crate) fn read<const N: usize>(maps: [Tensor<3>; N]) -> [Self; N] {
        let shapes = maps.each_ref().map(|map| map.dims());
        let transaction = maps
            .into_iter()
            .fold(Transaction::default(), |t, map| t.register(map));
        let mut read = transaction.execute().into_iter();
        shapes.map(|[_, channels, points]| Self {
            values: floats(read.next().expect("one result per registered tensor")),
            channels,
            points,
        })
    }

    /// The values of one channel of one image, `[P]`.
    pub(crate) fn channel(&self, image: usize, channel: usize) -> &[f32] {
        let start = (image * self.channels + channel) * self.points;
        &self.values[start..start + self.points]
    }
}

fn floats(data: TensorData) -> Vec<f32> {
    data.iter::<f32>().collect()
}

/// `1 / (1 + e^-x)`.
pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

/// The candidates of one level of one image, best first; of equal scores the first point, then
/// the first class.
fn candidates(
    logits: &HostMap,
    image: usize,
    level: Range<usize>,
    config: &InferenceConfig,
) -> Vec<Candidate> {
    let mut found = Vec::new();
    for label in 0..logits.channels {
        let scores = &logits.channel(image, label)[level.clone()];
        for (i, logit) in scores.iter().enumerate() {
            let score = sigmoid(*logit);
            if score > config.score_threshold {
                let point = level.start + i;
                found.push(Candidate {
                    point,
                    label,
                    score,
                });
            }
        }
    }
    found.sort_by(|a, b| {
        let order = b.score.total_cmp(&a.score);
        order.then((a.point, a.label).cmp(&(b.point, b.label)))
    });
    found.truncate(config.nms_pre);
    found
}

/// Where a candidate was found.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) image: usize,
    pub(crate) level: usize,
}

/// Every image's class logits, and what to keep of them.
pub(crate) struct Search<'a> {
    pub(crate) logits: &'a HostMap,
    /// Number of points of each level.
    pub(crate) level_points: Vec<usize>,
    pub(crate) images: &'a [ImageFrame],
    pub(crate) test: &'a InferenceConfig,
}

impl Search<'_> {
    /// The candidates of each image, small boxes dropped, in original pixels. `decode` gives box
    /// and score of one candidate, the box in pixels of the network input.
    pub(crate) fn detections(
        &self,
        decode: impl Fn(Place, Candidate) -> ([f32; 4], f32),
    ) -> Vec<Vec<Detection>> {
        let of_image = |(image, frame): (usize, &ImageFrame)| {
            let mut found = Vec::new();
            let mut start = 0;
            for (level, points) in self.level_points.iter().enumerate() {
                let range = start..start + points;
                start = range.end;
                for candidate in candidates(self.logits, image, range, self.test) {
                    let (bbox, score) = decode(Place { image, level }, candidate);
                    let bbox = to_original(bbox, frame);
                    if is_large(bbox, self.test) {
                        let label = candidate.label;
                        found.push(Detection { bbox, score, label });
                    }
                }
            }
            found
        };
        self.images.iter().enumerate().map(of_image).collect()
    }
}

/// Applies class-aware NMS and keeps the best.
pub(crate) fn suppress(candidates: &[Detection], config: &InferenceConfig) -> Vec<Detection> {
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

/// Clips a box to the resized image and returns it to original pixels.
fn to_original(bbox: [f32; 4], image: &ImageFrame) -> [f32; 4] {
    let [height, width] = image.size.map(|side| side as f32);
    let [sx, sy] = image.scale;
    let [x1, y1, x2, y2] = clip_host(bbox, ImageSize::new(height, width));
    [x1 / sx, y1 / sy, x2 / sx, y2 / sy]
}

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
use points::{Selected, lowest_logit};

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

/// What decides which candidates reach NMS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RankBy {
    /// The class score (mmdetection).
    Class,
    /// The score of the detection, which the quality lowers (torchvision).
    Score,
}

/// Thresholds and limits of inference.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct InferenceConfig {
    /// What a candidate needs more of, as `rank_by` says. Default: 0.05.
    pub score_threshold: f32,
    /// Candidates kept per level, the best as `rank_by` says. Default: 1000.
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
    /// What candidates are compared by before NMS. Default: the class score.
    pub rank_by: RankBy,
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
            rank_by: RankBy::Class,
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
    rank_by: RankBy,
}

impl InferenceConfig {
    /// The defaults of methods that drop boxes at an overlap of 0.5, all but FCOS.
    pub fn half_overlap() -> Self {
        Self {
            nms_iou: 0.5,
            ..Self::default()
        }
    }

    /// What a candidate is compared by, and the score of its detection.
    fn rank_and_score(&self, class: f32, quality: Option<f32>) -> [f32; 2] {
        let score = self.score.of(class, quality);
        match self.rank_by {
            RankBy::Class => [class, score],
            RankBy::Score => [score, score],
        }
    }

    /// A class score that every candidate's is above: a quality is at most 1.
    fn lowest_class_score(&self) -> f32 {
        match (self.rank_by, self.score) {
            (RankBy::Score, Score::Sqrt) => self.score_threshold * self.score_threshold,
            _ => self.score_threshold,
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
        table.need(self.rank_by == RankBy::Class, "rank_by", || {
            "expected class: the method predicts no quality that could lower a score".to_owned()
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
    let read = points::read(branches, config.lowest_class_score());
    let of_image = |(index, image): (usize, &ImageFrame)| {
        let parts = branches.iter().zip(&read);
        let boxes = |(branch, read): (&Branch<'_>, &Vec<Selected>)| {
            branch.boxes(&read[index], image, config)
        };
        finish(parts.flat_map(boxes).collect())
    };
    images.par_iter().enumerate().map(of_image).collect()
}

/// A (point, class) pair that passed the threshold.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Scored {
    /// Index among the points that were read.
    index: usize,
    label: usize,
    /// What it is compared by.
    rank: f32,
    /// That of the detection.
    score: f32,
}

impl Branch<'_> {
    /// The boxes of the candidates of an image, level after level, the best of a level first; small
    /// ones dropped, in original pixels.
    fn boxes(
        &self,
        points: &Selected,
        image: &ImageFrame,
        config: &InferenceConfig,
    ) -> Vec<Detection> {
        let mut boxes = Vec::new();
        let mut values = Vec::new();
        let mut start = 0;
        for (level, count) in self.level_points.iter().enumerate() {
            let range = start..start + count;
            start = range.end;
            for found in self.best_of_level(points, range, config) {
                values.clear();
                values.extend(points.values(found.index));
                let bbox = (self.decode)(&Candidate {
                    point: points.indices[found.index],
                    level,
                    values: &values,
                    image,
                });
                let bbox = image.to_original(image.clip(bbox));
                if is_large(bbox, config) {
                    boxes.push(Detection {
                        bbox,
                        score: found.score,
                        label: found.label,
                    });
                }
            }
        }
        boxes
    }

    /// The candidates among the points of one level, best first; of equal ones the first point,
    /// then the first class.
    fn best_of_level(
        &self,
        points: &Selected,
        level: Range<usize>,
        config: &InferenceConfig,
    ) -> Vec<Scored> {
        let first = |point: usize| points.indices.partition_point(|index| *index < point);
        let of_level = first(level.start)..first(level.end);
        let quality = |index: usize| {
            let logit = points.values(index).nth(self.quality?)?;
            Some(sigmoid(logit))
        };
        let qualities: Vec<Option<f32>> = of_level.clone().map(quality).collect();
        let lowest = lowest_logit(config.lowest_class_score());
        let mut found = Vec::new();
        for label in 0..points.classes() {
            let logits = points.logits(label)[of_level.clone()].iter();
            for (index, (logit, quality)) in of_level.clone().zip(logits.zip(&qualities)) {
                if *logit >= lowest {
                    let [rank, score] = config.rank_and_score(sigmoid(*logit), *quality);
                    found.push(Scored {
                        index,
                        label,
                        rank,
                        score,
                    });
                }
            }
        }
        found.retain(|scored| scored.rank > config.score_threshold);
        let order = |a: &Scored, b: &Scored| {
            let order = b.rank.total_cmp(&a.rank);
            order.then((a.index, a.label).cmp(&(b.index, b.label)))
        };
        if found.len() > config.nms_pre {
            found.select_nth_unstable_by(config.nms_pre - 1, order);
            found.truncate(config.nms_pre);
        }
        found.sort_unstable_by(order);
        found
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use aweigh_testkit::device;
    use burn::tensor::TensorData;

    const FRAME: ImageFrame = ImageFrame {
        size: [64, 64],
        scale: [1.0, 1.0],
    };

    /// Two levels of two points and one point, two classes, logits by image, class and point; a
    /// point's box starts at its index, and its one value is its quality.
    fn branch(logits: &[[[f32; 3]; 2]]) -> Branch<'static> {
        let images = logits.len();
        let logits = logits.as_flattened().as_flattened().to_vec();
        let tensor = |values: Vec<f32>, channels: usize| {
            let data = TensorData::new(values, [images, channels, 3]);
            Tensor::<3>::from_data(data, &device())
        };
        Branch {
            logits: tensor(logits, 2),
            values: tensor([0.0, 1.0, 2.0].repeat(images), 1),
            quality: None,
            level_points: vec![2, 1],
            decode: Box::new(|found| {
                assert_eq!(found.values, [found.point as f32]);
                let x = found.point as f32;
                [x, 0.0, x + 1.0, 1.0 + found.level as f32]
            }),
        }
    }

    /// Point and label of the candidates of each image.
    fn check(branches: &[Branch<'_>], nms_pre: usize, expected: &[&[(usize, usize)]]) {
        let config = InferenceConfig {
            nms_pre,
            ..InferenceConfig::default()
        };
        let found = candidates(branches, &vec![FRAME; expected.len()], &config);
        let pair = |d: &Detection| (d.bbox[0] as usize, d.label);
        let found: Vec<Vec<_>> = found.iter().map(|f| f.iter().map(pair).collect()).collect();
        assert_eq!(found, expected);
    }

    /// Far below the threshold.
    const LOW: f32 = -9.0;

    #[test]
    fn candidates_come_level_by_level_best_first() {
        let logits = [[[1.0, 2.0, 3.0], [LOW, 0.0, LOW]]];
        check(
            &[branch(&logits)],
            1000,
            &[&[(1, 0), (0, 0), (1, 1), (2, 0)]],
        );
        check(&[branch(&logits)], 2, &[&[(1, 0), (0, 0), (2, 0)]]);
    }

    #[test]
    fn of_equal_scores_the_first_point_and_class_are_kept() {
        // Sigmoids of 30 and more are all 1.
        let logits = [[[30.0, 40.0, LOW], [50.0, 30.0, LOW]]];
        let all = [(0, 0), (0, 1), (1, 0), (1, 1)];
        for kept in 1..=4 {
            check(&[branch(&logits)], kept, &[&all[..kept]]);
        }
    }

    #[test]
    fn images_without_candidates_stay_in_their_place() {
        let (none, some) = ([[LOW; 3]; 2], [[LOW, 0.0, LOW], [LOW; 3]]);
        check(&[branch(&[none, some, none])], 1000, &[&[], &[(1, 0)], &[]]);
        check(&[branch(&[none, none])], 1000, &[&[], &[]]);
    }

    #[test]
    fn a_logit_that_is_no_number_hides_no_other() {
        let logits = [[[f32::NAN, LOW, LOW], [0.0, LOW, LOW]]];
        check(&[branch(&logits)], 1000, &[&[(0, 1)]]);
    }

    #[test]
    fn branches_follow_each_other() {
        let first = branch(&[[[LOW, LOW, 1.0], [LOW; 3]]]);
        let second = branch(&[[[2.0, LOW, LOW], [LOW; 3]]]);
        check(&[first, second], 1000, &[&[(2, 0), (0, 0)]]);
    }

    #[test]
    fn a_quality_can_decide_who_is_a_candidate() {
        // Class scores 0.5, 0.62 and 0.38 (alone on its level); qualities 0.5, 0.73 and 0.88.
        let mut branch = branch(&[[[0.0, 0.5, -0.5], [LOW; 3]]]);
        branch.quality = Some(0);
        let check = |score: Score, rank_by: RankBy, threshold: f32, expected: &[usize]| {
            let config = InferenceConfig {
                score_threshold: threshold,
                score,
                rank_by,
                ..InferenceConfig::default()
            };
            let found = candidates(std::slice::from_ref(&branch), &[FRAME], &config);
            let points: Vec<usize> = found[0].iter().map(|d| d.bbox[0] as usize).collect();
            assert_eq!(points, expected, "{score:?}, {rank_by:?}, {threshold}");
        };
        check(Score::Product, RankBy::Class, 0.45, &[1, 0]);
        check(Score::Product, RankBy::Score, 0.45, &[1]);
        check(Score::Sqrt, RankBy::Score, 0.45, &[1, 0, 2]);
        // The square roots are 0.5, 0.67 and 0.58.
        check(Score::Sqrt, RankBy::Score, 0.55, &[1, 2]);
        check(Score::Sqrt, RankBy::Class, 0.55, &[1]);
    }

    #[test]
    fn a_quality_lowers_the_score() {
        let mut branch = branch(&[[[0.0, LOW, LOW], [LOW; 3]]]);
        branch.quality = Some(0);
        for (score, expected) in [(Score::Product, 0.25), (Score::Sqrt, 0.5)] {
            let config = InferenceConfig {
                score,
                ..InferenceConfig::default()
            };
            let found = candidates(std::slice::from_ref(&branch), &[FRAME], &config);
            assert_eq!(found[0][0].score, expected, "{score:?}");
        }
    }
}

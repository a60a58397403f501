//! Crops with a lower limit to the overlap with the boxes.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::config::{probability, within};
use super::scene::Scene;
use crate::DataError;
use crate::random::Stream;

/// Crops that are tried before another limit is drawn.
const TRIALS: usize = 50;

/// Range of the ratio of height to width of a crop.
const RATIOS: RangeInclusive<f64> = 0.5..=2.0;

/// A crop whose overlap with every box is at least a drawn limit (SSD, section 2.2; mmdetection 3.x
/// `MinIoURandomCrop`).
///
/// The limit is one of `min_ious`, or 0, or there is no crop, all equally likely. Boxes whose centre
/// lies in the crop are kept, their visible part. Ignore regions count as boxes do where crops are
/// tried; of all of them the visible part is kept, since otherwise it would become background.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MinIouCrop {
    /// Probability of drawing a limit at all. Default: 1.
    pub prob: f64,
    /// Limits to the overlap (intersection over union) of the crop with each box.
    /// Default: 0.1, 0.3, 0.5, 0.7, 0.9.
    pub min_ious: Vec<f64>,
    /// Least height and width of a crop, as parts of those of the image. Default: 0.3.
    pub min_size: f64,
}

impl Default for MinIouCrop {
    fn default() -> Self {
        Self {
            prob: 1.0,
            min_ious: vec![0.1, 0.3, 0.5, 0.7, 0.9],
            min_size: 0.3,
        }
    }
}

impl MinIouCrop {
    pub(super) fn validate(&self) -> Result<(), DataError> {
        probability("min_iou_crop.prob", self.prob)?;
        for limit in &self.min_ious {
            within("min_iou_crop.min_ious", *limit, [0.0, 1.0])?;
        }
        within("min_iou_crop.min_size", self.min_size, [0.01, 1.0])
    }

    /// Draws a crop; none: the image as it is.
    pub(super) fn draw(&self, scene: &Scene<'_>, random: &mut Stream) -> Option<Crop> {
        self.find(scene, || random.unit())
    }

    /// Draws from numbers in `[0, 1)`.
    pub(super) fn find(&self, scene: &Scene<'_>, mut unit: impl FnMut() -> f64) -> Option<Crop> {
        let all = [&scene.truth.boxes[..], &scene.truth.ignore[..]].concat();
        loop {
            let mode = (unit() * (self.min_ious.len() + 2) as f64) as usize;
            let limit = match mode.checked_sub(1) {
                None => return None,
                // As in the reference, a limit of 1 is a way to say the same.
                Some(at) if self.min_ious.get(at) == Some(&1.0) => return None,
                Some(at) => self.min_ious.get(at).copied().unwrap_or(0.0),
            };
            for _ in 0..TRIALS {
                let window = self.window(scene.size(), &mut unit);
                if let Some(window) = window.filter(|window| accepts(*window, &all, limit)) {
                    return Some(Crop(window));
                }
            }
        }
    }

    fn window(&self, size: [usize; 2], unit: &mut impl FnMut() -> f64) -> Option<[usize; 4]> {
        let [height, width] = size.map(|side| side as f64);
        let mut between = |low: f64, high: f64| low + (high - low) * unit();
        let new_width = between(self.min_size * width, width);
        let new_height = between(self.min_size * height, height);
        let ratio = new_height / new_width;
        if !RATIOS.contains(&ratio) {
            return None;
        }
        // The reference names one end of the range, and the other is 1 by default.
        let left = between(width - new_width, 1.0);
        let top = between(height - new_height, 1.0);
        let window = [left, top, left + new_width, top + new_height].map(|side| side as usize);
        let [x1, y1, x2, y2] = window;
        // Rounding must not lead beyond the image.
        let window = [x1, y1, x2.min(size[1]), y2.min(size[0])];
        (window[0] < window[2] && window[1] < window[3]).then_some(window)
    }
}

/// Whether a crop overlaps enough with all of these, and holds the centre of one.
fn accepts(window: [usize; 4], all: &[[f32; 4]], limit: f64) -> bool {
    let window = window.map(|side| side as f32);
    let overlaps = all.iter().map(|bbox| iou(window, *bbox));
    let enough = overlaps.fold(f32::INFINITY, f32::min);
    all.is_empty()
        || f64::from(enough) >= limit && all.iter().any(|bbox| holds_centre(window, *bbox))
}

fn holds_centre([left, top, right, bottom]: [f32; 4], [x1, y1, x2, y2]: [f32; 4]) -> bool {
    let [x, y] = [(x1 + x2) / 2.0, (y1 + y2) / 2.0];
    x > left && y > top && x < right && y < bottom
}

/// Intersection over union as mmdetection computes it, in f32.
fn iou(a: [f32; 4], b: [f32; 4]) -> f32 {
    let area = |[x1, y1, x2, y2]: [f32; 4]| (x2 - x1) * (y2 - y1);
    let side = |low: usize| (a[low + 2].min(b[low + 2]) - a[low].max(b[low])).max(0.0);
    let overlap = side(0) * side(1);
    overlap / (area(a) + area(b) - overlap).max(1e-6)
}

/// A part `[x1, y1, x2, y2]` of an image, in whole pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Crop([usize; 4]);

impl Crop {
    pub(super) fn apply(self, mut scene: Scene<'_>) -> Scene<'static> {
        let [x1, y1, x2, y2] = self.0;
        let window = self.0.map(|side| side as f32);
        let boxes = std::mem::take(&mut scene.truth.boxes);
        let labels = std::mem::take(&mut scene.truth.labels);
        let kept = boxes.into_iter().zip(labels);
        let kept = kept.filter(|(bbox, _)| holds_centre(window, *bbox));
        (scene.truth.boxes, scene.truth.labels) = kept.unzip();
        scene.crop([y1, x1], [y2 - y1, x2 - x1])
    }
}

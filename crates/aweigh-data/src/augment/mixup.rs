//! Two images blended.

use serde::{Deserialize, Serialize};

use super::config::{epochs, probability, rising};
use super::scene::{Scene, Visible};
use crate::DataError;
use crate::random::Stream;
use crate::resize::Resize;

/// The EXIF orientation of an image whose left and right are exchanged.
const MIRRORED: u8 = 2;

/// The mean of two images, with the boxes of both (YOLOX; mmdetection 3.x `MixUp`).
///
/// The second image has boxes, is drawn from the whole training set, resized by a random factor,
/// mirrored or not, and cut or padded with level 114 to the size of the first. Of boxes at its
/// borders the visible part is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mixup {
    /// Probability. Default: 1.
    pub prob: f64,
    /// On in this many epochs from the first on. Default: absent, in all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until_epoch: Option<u64>,
    /// The size of the second image, 1 being as large as fits into the first, is drawn between
    /// these. Default: 0.5, 1.5.
    pub scale: [f64; 2],
    /// Probability that the second image is mirrored. Default: 0.5.
    pub flip_prob: f64,
}

impl Default for Mixup {
    fn default() -> Self {
        Self {
            prob: 1.0,
            until_epoch: None,
            scale: [0.5, 1.5],
            flip_prob: 0.5,
        }
    }
}

impl Mixup {
    pub(super) fn validate(&self) -> Result<(), DataError> {
        probability("mixup.prob", self.prob)?;
        epochs("mixup.until_epoch", self.until_epoch)?;
        rising("mixup.scale", self.scale, [0.1, 2.0])?;
        probability("mixup.flip_prob", self.flip_prob)
    }

    /// Blends a second image into the first.
    pub(super) fn apply(
        &self,
        first: Scene<'_>,
        second: Scene<'_>,
        resize: Resize,
        random: &mut Stream,
    ) -> Scene<'static> {
        let size = first.size();
        let factor = random.range(self.scale[0], self.scale[1]);
        let mirrored = random.unit() < self.flip_prob;
        let (from, room) = (
            second.size(),
            size.map(|side| (side as f64 * factor) as usize),
        );
        let fit = |side: usize| size[side] as f64 / from[side] as f64;
        let scale = fit(0).min(fit(1)) * factor;
        let resized = from.map(|side| ((side as f64 * scale) as usize).max(1));
        let second = second.resize(resized, resize);
        let (second, left) = match mirrored {
            // The reference mirrors the image with what it is padded with on the right.
            true => (second.turn(MIRRORED), room[1].saturating_sub(resized[1])),
            false => (second, 0),
        };
        let offset = [0, 1].map(|side| match room[side].checked_sub(size[side]) {
            None | Some(0) => 0,
            Some(beyond) => random.below(beyond) as isize,
        });
        let mut other = Scene::grey(size);
        let at = [-offset[0], left as isize - offset[1]];
        other.paste(&second, at, Visible::Any);
        blend(first, other)
    }
}

/// The mean of two images of one size, cut to whole levels, and the boxes of both.
fn blend(first: Scene<'_>, mut second: Scene<'static>) -> Scene<'static> {
    let pixels = second.image.to_mut().pixels.iter_mut();
    for (level, other) in pixels.zip(&first.image.pixels) {
        *level = ((u16::from(*level) + u16::from(*other)) / 2) as u8;
    }
    let added = std::mem::replace(&mut second.truth, first.truth);
    second.truth.boxes.extend(added.boxes);
    second.truth.labels.extend(added.labels);
    second.truth.ignore.extend(added.ignore);
    second
}

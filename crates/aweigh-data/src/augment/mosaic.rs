//! Four images in one.

use serde::{Deserialize, Serialize};

use super::config::{epochs, probability, rising};
use super::scene::{Scene, Visible};
use crate::DataError;
use crate::random::Stream;
use crate::resize::{Part, Resize};

/// Least part of a box that must be visible (mmdetection's `RandomAffine`, `min_area_ratio`).
const VISIBLE: Visible = Visible::Above(0.2);

/// Four images around a random point, in an image of the size of training (YOLOv4, section 3.3;
/// mmdetection 3.x `Mosaic` and the scale of its `RandomAffine`).
///
/// The references paste four images of the size of training into a canvas of twice the height and
/// width, and cut the size of training out of its middle after zooming. This is what is made here,
/// at once: each image is resized a single time, and a batch costs as much as without mosaics. The
/// first image gives the size; the others are drawn from the whole training set. Levels beside the
/// images are 114. Boxes of which at most a fifth is visible are dropped.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mosaic {
    /// Probability. Default: 1.
    pub prob: f64,
    /// On in this many epochs from the first on. Default: absent, in all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until_epoch: Option<u64>,
    /// Where the images meet, drawn for each axis between these parts of the size of training, on
    /// the canvas of twice that size. Default: 0.5, 1.5.
    pub center: [f64; 2],
    /// The zoom is drawn between these. 1 shows the images at the size of training, so that a
    /// quarter of the canvas is seen; 0.5 shows all of it. Default: 0.5, 1.5.
    pub scale: [f64; 2],
}

impl Default for Mosaic {
    fn default() -> Self {
        Self {
            prob: 1.0,
            until_epoch: None,
            center: [0.5, 1.5],
            scale: [0.5, 1.5],
        }
    }
}

impl Mosaic {
    pub(super) fn validate(&self) -> Result<(), DataError> {
        probability("mosaic.prob", self.prob)?;
        epochs("mosaic.until_epoch", self.until_epoch)?;
        rising("mosaic.center", self.center, [0.0, 2.0])?;
        rising("mosaic.scale", self.scale, [0.1, 2.0])
    }

    /// Draws where images go in one of height and width `size`.
    pub(super) fn layout(&self, size: [usize; 2], random: &mut Stream) -> Layout {
        let [low, high] = self.center;
        let [x, y] = [(); 2].map(|()| random.range(low, high));
        let zoom = random.range(self.scale[0], self.scale[1]);
        let meet = |part: f64, side: usize| {
            let side = side as f64;
            (((part - 1.0) * zoom + 0.5) * side).round() as isize
        };
        Layout {
            size,
            meet: [meet(y, size[0]), meet(x, size[1])],
            zoom,
        }
    }
}

/// Where the images of a mosaic go.
pub(super) struct Layout {
    /// Height and width of the mosaic.
    size: [usize; 2],
    /// Row and column at which the images meet.
    meet: [isize; 2],
    zoom: f64,
}

impl Layout {
    /// Puts an image into a quarter of the mosaic: upper left, upper right, lower left, lower right.
    pub(super) fn paste(
        &self,
        mosaic: &mut Scene<'_>,
        scene: Scene<'_>,
        quarter: usize,
        resize: Resize,
    ) {
        let from = scene.size();
        let fit = |side: usize| self.size[side] as f64 / from[side] as f64;
        let scale = fit(0).min(fit(1)) * self.zoom;
        let size = from.map(|side| ((side as f64 * scale) as usize).max(1));
        let before = [quarter < 2, quarter.is_multiple_of(2)];
        let at = [0, 1].map(|side| match before[side] {
            true => self.meet[side] - size[side] as isize,
            false => self.meet[side],
        });
        // What is seen of the image.
        let from = [0, 1].map(|side| (-at[side]).clamp(0, size[side] as isize));
        let to = [0, 1].map(|side| (self.size[side] as isize - at[side]).min(size[side] as isize));
        if (0..2).all(|side| from[side] < to[side]) {
            let part = Part {
                whole: size,
                at: from.map(|side| side as usize),
                size: [0, 1].map(|side| (to[side] - from[side]) as usize),
            };
            let seen = scene.resize_part(part, resize, VISIBLE);
            let at = [0, 1].map(|side| at[side] + from[side]);
            mosaic.paste(&seen, at, Visible::Any);
        }
    }
}

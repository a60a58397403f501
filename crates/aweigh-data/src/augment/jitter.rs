//! Large-scale jitter.

use serde::{Deserialize, Serialize};

use super::config::{fail, probability, rising};
use super::scene::{Scene, Visible};
use crate::random::Stream;
use crate::resize::Part;
use crate::{DataError, TransformConfig};

/// Images of very different sizes in a network input of one size: resized by a random factor, then
/// cropped at a random place where they are larger, or padded where they are smaller (Ghiasi et al.
/// 2021, "Simple Copy-Paste", section 3; mmdetection's `lsj` recipes).
///
/// Takes the place of `data.transform.multi_scale`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LargeScaleJitter {
    /// Probability. Default: 1.
    pub prob: f64,
    /// The factor is drawn between these. 1 is as large as fits into the network input.
    /// Default: 0.1, 2.
    pub range: [f64; 2],
    /// Side of the network input, a square, in pixels. Default: absent, `long_edge` by `short_edge`,
    /// lying or standing as the image does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u32>,
}

impl Default for LargeScaleJitter {
    fn default() -> Self {
        Self {
            prob: 1.0,
            range: [0.1, 2.0],
            size: None,
        }
    }
}

impl LargeScaleJitter {
    pub(super) fn validate(&self) -> Result<(), DataError> {
        probability("large_scale_jitter.prob", self.prob)?;
        rising("large_scale_jitter.range", self.range, [0.01, 10.0])?;
        if self.size == Some(0) {
            let key = "large_scale_jitter.size";
            return fail(key, "0; expected at least 1 pixel".into());
        }
        Ok(())
    }

    /// Height and width of the network input of an image of this height and width.
    pub(super) fn target(&self, transform: &TransformConfig, image: [usize; 2]) -> [usize; 2] {
        let (short, long) = match self.size {
            Some(size) => (size, size),
            None => (transform.short_edge, transform.long_edge),
        };
        let lying = [short as usize, long as usize];
        if image[0] > image[1] {
            [lying[1], lying[0]]
        } else {
            lying
        }
    }

    /// Resizes and crops.
    pub(super) fn apply(
        &self,
        scene: Scene<'_>,
        transform: &TransformConfig,
        random: &mut Stream,
    ) -> Scene<'static> {
        let factor = random.range(self.range[0], self.range[1]);
        let target = self.target(transform, scene.size());
        let resized = fitted(scene.size(), target.map(|side| side as f64 * factor));
        let size = [0, 1].map(|side| resized[side].min(target[side]));
        let part = Part {
            whole: resized,
            at: [0, 1].map(|side| random.below(resized[side] - size[side] + 1)),
            size,
        };
        scene.resize_part(part, transform.resize, Visible::Any)
    }
}

/// The largest height and width of the ratio of `image` that fit into `room`, whose edges are cut
/// to whole pixels (mmcv 2.x `RandomResize`, `rescale_size`).
fn fitted(image: [usize; 2], room: [f64; 2]) -> [usize; 2] {
    let room = room.map(f64::floor);
    let scale = (room[0] / image[0] as f64).min(room[1] / image[1] as f64);
    image.map(|side| ((side as f64 * scale + 0.5) as usize).max(1))
}

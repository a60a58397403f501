//! Decoding of single predictions.

use crate::boxes::{ImageSize, clip_host};

/// Largest logarithm of a box's side over its prior's: `ln(1000 / 16)`.
pub const MAX_GROWTH: f32 = 4.135_166_6;

/// The box at a point with distances to its sides, `[x - l, y - t, x + r, y + b]`, clipped to a
/// `size` (mmdetection 3.x `structures/bbox/transforms.py`, `distance2bbox`).
pub fn decode_distance_host(
    [x, y]: [f32; 2],
    [left, top, right, bottom]: [f32; 4],
    size: Option<ImageSize>,
) -> [f32; 4] {
    let decoded = [x - left, y - top, x + right, y + bottom];
    size.map_or(decoded, |size| clip_host(decoded, size))
}

/// The codec of FSAF: distances from the centre of a prior box to the edges of a box in the order
/// top, bottom, left, right, divided by the prior's size and by a normaliser
/// (mmdetection 3.x `task_modules/coders/tblr_bbox_coder.py`).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TblrCodec {
    /// What distances in units of the prior's size are divided by.
    pub normalizer: f64,
}

impl Default for TblrCodec {
    fn default() -> Self {
        Self { normalizer: 4.0 }
    }
}

impl TblrCodec {
    /// The box `[cx - l w n, cy - t h n, cx + r w n, cy + b h n]` of a prior with centre `(cx, cy)`
    /// and size `(w, h)`, with the normaliser `n`, clipped to a `size`.
    pub fn decode_host(
        &self,
        prior: [f32; 4],
        [top, bottom, left, right]: [f32; 4],
        size: Option<ImageSize>,
    ) -> [f32; 4] {
        let normalizer = self.normalizer as f32;
        let width = (prior[2] - prior[0]) * normalizer;
        let height = (prior[3] - prior[1]) * normalizer;
        let x = 0.5 * (prior[0] + prior[2]);
        let y = 0.5 * (prior[1] + prior[3]);
        let distances = [left * width, top * height, right * width, bottom * height];
        decode_distance_host([x, y], distances, size)
    }
}

/// The box of a prior with shifts of its centre in units of the prior's size and logarithms of the
/// ratios of the sides, `(dx, dy, dw, dh)`, clipped to a `size` (R-CNN, Girshick et al. 2014,
/// appendix C; mmdetection 3.x `task_modules/coders/delta_xywh_bbox_coder.py`).
///
/// A box is at most 62.5 times larger or smaller than its prior along each side.
pub fn decode_delta_host(
    prior: [f32; 4],
    [dx, dy, dw, dh]: [f32; 4],
    size: Option<ImageSize>,
) -> [f32; 4] {
    let side = |low: f32, high: f32, shift: f32, growth: f32| {
        let length = high - low;
        let center = (low + high) * 0.5 + length * shift;
        let half = 0.5 * length * growth.clamp(-MAX_GROWTH, MAX_GROWTH).exp();
        (center - half, center + half)
    };
    let (x1, x2) = side(prior[0], prior[2], dx, dw);
    let (y1, y2) = side(prior[1], prior[3], dy, dh);
    let decoded = [x1, y1, x2, y2];
    size.map_or(decoded, |size| clip_host(decoded, size))
}

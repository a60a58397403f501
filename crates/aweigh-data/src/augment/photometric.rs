//! Random colours.

use multiversion::multiversion;
use serde::{Deserialize, Serialize};

use super::config::{probability, rising, within};
use crate::DataError;
use crate::random::Stream;

/// Pixels that are computed together: their planes stay in the cache.
const BLOCK: usize = 256;

/// Brightness, contrast, saturation and hue, each with a probability of one half, and an exchange of
/// channels (SSD; mmdetection 3.x `PhotoMetricDistortion`).
///
/// Contrast is changed before saturation and hue or after them, both equally likely. In between,
/// values are not cut, as in the reference; at the end they are rounded to 8 bits, where the
/// reference keeps fractions and values beyond 0 to 255. It works on the resized image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Photometric {
    /// Probability of drawing anything at all. Default: 1.
    pub prob: f64,
    /// Largest number of levels that are added or taken away. Default: 32.
    pub brightness: f64,
    /// The factor of all levels is drawn between these. Default: 0.5, 1.5.
    pub contrast: [f64; 2],
    /// The factor of the saturation is drawn between these. Default: 0.5, 1.5.
    pub saturation: [f64; 2],
    /// Largest turn of the hue, in degrees. Default: 18.
    pub hue: f64,
    /// Probability that red, green and blue are exchanged at random. Default: 0.5.
    pub swap_prob: f64,
}

impl Default for Photometric {
    fn default() -> Self {
        Self {
            prob: 1.0,
            brightness: 32.0,
            contrast: [0.5, 1.5],
            saturation: [0.5, 1.5],
            hue: 18.0,
            swap_prob: 0.5,
        }
    }
}

impl Photometric {
    pub(super) fn validate(&self) -> Result<(), DataError> {
        probability("photometric.prob", self.prob)?;
        within("photometric.brightness", self.brightness, [0.0, 255.0])?;
        rising("photometric.contrast", self.contrast, [0.0, 10.0])?;
        rising("photometric.saturation", self.saturation, [0.0, 10.0])?;
        within("photometric.hue", self.hue, [0.0, 180.0])?;
        probability("photometric.swap_prob", self.swap_prob)
    }

    /// Draws every value, wanted or not, so that they do not depend on each other.
    pub(super) fn draw(&self, random: &mut Stream) -> Distortion {
        let half = |random: &mut Stream| random.unit() < 0.5;
        let contrast_first = half(random);
        let [brightens, contrasts, saturates, turns] = [(); 4].map(|()| half(random));
        let swaps = random.unit() < self.swap_prob;
        let between = |random: &mut Stream, [low, high]: [f64; 2]| random.range(low, high) as f32;
        let added = between(random, [-self.brightness, self.brightness]);
        let contrast = between(random, self.contrast);
        let saturation = between(random, self.saturation);
        let hue = between(random, [-self.hue, self.hue]);
        let mut channels = [0, 1, 2];
        random.shuffle(&mut channels);
        let contrast = if contrasts { contrast } else { 1.0 };
        Distortion {
            brightness: if brightens { added } else { 0.0 },
            before: if contrast_first { contrast } else { 1.0 },
            saturation: saturates.then_some(saturation),
            hue: turns.then_some(hue),
            after: if contrast_first { 1.0 } else { contrast },
            channels: if swaps { channels } else { [0, 1, 2] },
        }
    }
}

/// What happens to the colours of an image, in this order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Distortion {
    /// Added to every level.
    pub(super) brightness: f32,
    /// The factor of every level.
    pub(super) before: f32,
    /// The factor of the saturation.
    pub(super) saturation: Option<f32>,
    /// Added to the hue, in degrees.
    pub(super) hue: Option<f32>,
    /// The factor of every level afterwards.
    pub(super) after: f32,
    /// Which channel becomes which.
    pub(super) channels: [usize; 3],
}

impl Distortion {
    /// Changes interleaved RGB.
    pub(super) fn apply(&self, pixels: &mut [u8]) {
        let levels = self.levels();
        // What is below 0 does not come back from the reference's HSV as it went there.
        let same = self.saturation.is_none() && self.hue.is_none() && self.brightness >= 0.0;
        if same {
            let levels = levels.map(|value| self.rounded(value));
            for pixel in pixels.chunks_exact_mut(3) {
                let old = [pixel[0], pixel[1], pixel[2]].map(|level| levels[usize::from(level)]);
                pixel.copy_from_slice(&self.channels.map(|channel| old[channel]));
            }
            return;
        }
        let mut planes = [[0.0; BLOCK]; 3];
        for block in pixels.chunks_mut(3 * BLOCK) {
            for (at, pixel) in block.chunks_exact(3).enumerate() {
                for (plane, level) in planes.iter_mut().zip(pixel) {
                    plane[at] = levels[usize::from(*level)];
                }
            }
            recolour(&mut planes, self.saturation, self.hue.unwrap_or(0.0));
            let [first, second, third] = self.channels.map(|channel| &planes[channel]);
            for (at, pixel) in block.chunks_exact_mut(3).enumerate() {
                let values = [first[at], second[at], third[at]];
                pixel.copy_from_slice(&values.map(|value| self.rounded(value)));
            }
        }
    }

    /// The value of each of the 256 levels ahead of saturation and hue.
    fn levels(&self) -> [f32; 256] {
        std::array::from_fn(|level| (level as f32 + self.brightness) * self.before)
    }

    fn rounded(&self, value: f32) -> u8 {
        // Conversion cuts to 0..=255.
        (value * self.after + 0.5) as u8
    }
}

/// Changes saturation and hue of planes of red, green and blue, by OpenCV's formulas for floats
/// (`color_hsv.simd.hpp`): saturation in 0..=1, hue in degrees.
///
/// Back to red, green and blue it is `v - v s max(0, min(k, 4 - k, 1))`, `k = (n + hue / 60) mod 6`
/// with n = 5, 3, 1, which says what the table of the six sectors does without branches.
#[multiversion(targets = "simd")]
fn recolour(planes: &mut [[f32; BLOCK]; 3], saturation: Option<f32>, turn: f32) {
    let factor = saturation.unwrap_or(1.0);
    // Only what is made larger is cut in the reference.
    let most = if factor > 1.0 { 1.0 } else { f32::INFINITY };
    let [red, green, blue] = planes;
    for ((red, green), blue) in red.iter_mut().zip(green).zip(blue) {
        let (r, g, b) = (*red, *green, *blue);
        let value = r.max(g).max(b);
        let span = value - r.min(g).min(b);
        let sixth = 60.0 / (span + f32::EPSILON);
        let hue = if value == r {
            (g - b) * sixth
        } else if value == g {
            (b - r) * sixth + 120.0
        } else {
            (r - g) * sixth + 240.0
        };
        let hue = if hue < 0.0 { hue + 360.0 } else { hue } + turn;
        let hue = if hue > 360.0 { hue - 360.0 } else { hue };
        let hue = if hue < 0.0 { hue + 360.0 } else { hue };
        let colour = (span / (value.abs() + f32::EPSILON) * factor).min(most);
        let channel = |n: f32| {
            let k = n + hue / 60.0;
            let k = if k >= 6.0 { k - 6.0 } else { k };
            value - value * colour * k.min(4.0 - k).clamp(0.0, 1.0)
        };
        (*red, *green, *blue) = (channel(5.0), channel(3.0), channel(1.0));
    }
}

//! The geometry of the transforms: sizes, scales and boxes.

use aweigh_geometry::{HostTruth, ImageFrame};
use serde::{Deserialize, Serialize};

use crate::DataError;
use crate::random::Stream;
use crate::resize::Resize;

/// Order of the channels of the network input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChannelOrder {
    /// Red, green, blue: torchvision's weights.
    #[default]
    Rgb,
    /// Blue, green, red: weights in Caffe's style.
    Bgr,
}

impl ChannelOrder {
    /// Which of red, green and blue a channel of the network input is.
    pub(crate) fn rgb(self, channel: usize) -> usize {
        match self {
            Self::Rgb => channel,
            Self::Bgr => 2 - channel,
        }
    }
}

/// Lengths of the shorter side to train with, one drawn for each image in each epoch.
///
/// As a key, `multi_scale = { choice = [640, 800] }` or `multi_scale = { range = [480, 960] }`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MultiScale {
    /// One of these, all equally likely (mmdetection 3.x `RandomChoiceResize`).
    Choice(Vec<u32>),
    /// A whole number from the first to the last, both included (mmdetection 3.x `RandomResize`).
    Range([u32; 2]),
}

impl MultiScale {
    fn draw(&self, random: &mut Stream) -> u32 {
        match self {
            Self::Choice(edges) => edges[random.below(edges.len())],
            Self::Range([low, high]) => low + random.below((high - low + 1) as usize) as u32,
        }
    }

    /// The lengths that the others lie between.
    fn ends(&self) -> Option<[u32; 2]> {
        match self {
            Self::Choice(edges) => Some([*edges.iter().min()?, *edges.iter().max()?]),
            Self::Range(ends) => Some(*ends),
        }
    }
}

/// What is drawn for one image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Augmentation {
    /// Largest length of the shorter side after resizing, in pixels.
    pub(crate) short_edge: u32,
    /// Whether left and right are exchanged.
    pub(crate) flipped: bool,
}

/// An image as evaluation sees it, but for its pixels; sizes are `[height, width]` in pixels.
#[derive(Clone, Debug, PartialEq)]
pub struct PlainTruth {
    /// Size after resizing, without padding.
    pub resized: [usize; 2],
    /// `resized` rounded up to multiples of `size_divisor`.
    pub padded: [usize; 2],
    /// Boxes, labels and ignore regions in pixels of the network input.
    pub truth: HostTruth,
}

/// From a decoded image to the network input.
///
/// In this order: keep-ratio resize, horizontal flip, `(x - mean) / std`, zeros at the
/// right and at the bottom. The defaults are COCO's customary values for torchvision's weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TransformConfig {
    /// Largest length of the shorter side after resizing, in pixels. Default: 800.
    pub short_edge: u32,
    /// Largest length of the longer side after resizing, in pixels. Default: 1333.
    pub long_edge: u32,
    /// Lengths that take the place of `short_edge` in training; evaluation keeps to `short_edge`.
    /// Default: absent, `short_edge` in training too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub multi_scale: Option<MultiScale>,
    /// How images are resized, in training, evaluation and use alike: weights want the one that they
    /// were trained with. `area` pays where images become much smaller. Default: `bilinear`.
    pub resize: Resize,
    /// Probability of a horizontal flip in training. Default: 0.5. Evaluation never flips.
    pub flip_prob: f64,
    /// Mean of each channel of 0..255 values, in `channel_order`.
    /// Default: 123.675, 116.28, 103.53.
    pub mean: [f32; 3],
    /// Standard deviation of each channel, in `channel_order`. Default: 58.395, 57.12, 57.375.
    pub std: [f32; 3],
    /// Order of the channels. Default: `rgb`.
    pub channel_order: ChannelOrder,
    /// Height and width of a batch are multiples of this, in pixels. Default: 32.
    pub size_divisor: u32,
    /// Height and width of a batch are also multiples of this, in pixels, so that few distinct
    /// shapes occur; a multiple of `size_divisor`. 0 switches it off. Default: 0.
    pub bucket: u32,
}

impl Default for TransformConfig {
    fn default() -> Self {
        Self {
            short_edge: 800,
            long_edge: 1333,
            multi_scale: None,
            resize: Resize::Bilinear,
            flip_prob: 0.5,
            mean: [123.675, 116.28, 103.53],
            std: [58.395, 57.12, 57.375],
            channel_order: ChannelOrder::Rgb,
            size_divisor: 32,
            bucket: 0,
        }
    }
}

impl TransformConfig {
    /// Checks every value.
    ///
    /// # Errors
    /// If a value is out of range, naming its key.
    pub fn validate(&self) -> Result<(), DataError> {
        let fail = |key, reason: String| Err(DataError::Config { key, reason });
        if self.short_edge == 0 {
            return fail("short_edge", "0; expected at least 1 pixel".into());
        }
        if self.long_edge < self.short_edge {
            let reason = format!(
                "{} is less than short_edge = {}",
                self.long_edge, self.short_edge
            );
            return fail("long_edge", reason);
        }
        self.validate_scales()?;
        if !(0.0..=1.0).contains(&self.flip_prob) {
            let reason = format!("{}; expected a probability in 0..=1", self.flip_prob);
            return fail("flip_prob", reason);
        }
        if !self.mean.iter().all(|mean| mean.is_finite()) {
            return fail("mean", format!("{:?}; expected finite numbers", self.mean));
        }
        if !self.std.iter().all(|std| std.is_finite() && *std > 0.0) {
            return fail("std", format!("{:?}; expected positive numbers", self.std));
        }
        if self.size_divisor == 0 {
            return fail("size_divisor", "0; expected at least 1".into());
        }
        if !self.bucket.is_multiple_of(self.size_divisor) {
            let reason = format!(
                "{} is not a multiple of size_divisor = {}",
                self.bucket, self.size_divisor
            );
            return fail("bucket", reason);
        }
        Ok(())
    }

    fn validate_scales(&self) -> Result<(), DataError> {
        let Some(scales) = &self.multi_scale else {
            return Ok(());
        };
        let usable = |[low, high]: &[u32; 2]| 0 < *low && low <= high && *high <= self.long_edge;
        if scales.ends().is_some_and(|ends| usable(&ends)) {
            return Ok(());
        }
        let key = "multi_scale";
        let reason = match scales {
            MultiScale::Choice(edges) => format!(
                "{edges:?}; expected one length or more, from 1 pixel to long_edge = {}",
                self.long_edge
            ),
            MultiScale::Range(ends) => format!(
                "{ends:?}; expected two rising lengths, from 1 pixel to long_edge = {}",
                self.long_edge
            ),
        };
        Err(DataError::Config { key, reason })
    }

    /// The next draws of `random`. The flip comes first and the length only where there is a choice,
    /// so that `multi_scale` changes no other draw.
    pub(crate) fn draw(&self, random: &mut Stream) -> Augmentation {
        let flipped = random.unit() < self.flip_prob;
        let short_edge = match &self.multi_scale {
            Some(scales) => scales.draw(random),
            None => self.short_edge,
        };
        Augmentation {
            short_edge,
            flipped,
        }
    }

    /// Height and width after resizing: `int(side * scale + 0.5)` with
    /// `scale = min(long_edge / max(h, w), short_edge / min(h, w))` in f64, at least 1 pixel
    /// (mmcv 2.x `rescale_size`).
    pub(crate) fn resized(&self, short_edge: u32, [height, width]: [usize; 2]) -> [usize; 2] {
        let long = f64::from(self.long_edge) / height.max(width) as f64;
        let short = f64::from(short_edge) / height.min(width) as f64;
        let scale = long.min(short);
        [height, width].map(|side| ((side as f64 * scale + 0.5) as usize).max(1))
    }

    /// What evaluation makes of the ground truth of an image of `[height, width]` pixels.
    pub fn plain_truth(&self, truth: &HostTruth, original: [usize; 2]) -> PlainTruth {
        let resized = self.resized(self.short_edge, original);
        let frame = ImageFrame::new(original, resized);
        PlainTruth {
            resized,
            padded: self.padded_alone(resized),
            truth: truth.map_boxes(|bbox| frame.clip(frame.to_input(bbox))),
        }
    }

    /// Height and width that an image of its own, without a batch, is padded to.
    pub(crate) fn padded_alone(&self, size: [usize; 2]) -> [usize; 2] {
        size.map(|side| side.next_multiple_of(self.size_divisor as usize))
    }

    /// Height and width of the network input of a picture with the ratio of `short_edge` to
    /// `long_edge`, lying.
    pub fn usual_input(&self) -> [usize; 2] {
        self.padded_alone([self.short_edge as usize, self.long_edge as usize])
    }

    /// Height and width of a batch whose largest image has this height and this width.
    pub fn padded(&self, size: [usize; 2]) -> [usize; 2] {
        let step = self.size_divisor.max(self.bucket) as usize;
        size.map(|side| side.next_multiple_of(step))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::random::Topic;

    fn config(short_edge: u32, long_edge: u32) -> TransformConfig {
        TransformConfig {
            short_edge,
            long_edge,
            ..TransformConfig::default()
        }
    }

    #[test]
    fn resized_keeps_the_ratio_and_rounds_half_up() {
        let check = |edges: (u32, u32), size, expected| {
            assert_eq!(config(edges.0, edges.1).resized(edges.0, size), expected);
        };
        check((800, 1333), [480, 640], [800, 1067]);
        check((800, 1333), [640, 480], [1067, 800]);
        // The long edge limits: 1333 / 640 = 2.0828, 333 * 2.0828 = 693.6.
        check((800, 1333), [333, 640], [694, 1333]);
        check((192, 256), [480, 640], [192, 256]);
        check((224, 256), [224, 256], [224, 256]);
        check((8, 16), [1, 1000], [1, 16]);
    }

    #[test]
    fn padded_rounds_up_to_divisor_and_bucket() {
        let check = |size_divisor, bucket, size, expected| {
            let config = TransformConfig {
                size_divisor,
                bucket,
                ..TransformConfig::default()
            };
            assert_eq!(config.padded(size), expected);
        };
        check(32, 0, [800, 1067], [800, 1088]);
        check(32, 128, [800, 1067], [896, 1152]);
        check(1, 0, [7, 9], [7, 9]);
    }

    #[test]
    fn plain_truth_is_that_of_evaluation() {
        let truth = HostTruth {
            boxes: vec![[10.0, 20.0, 30.0, 900.0]],
            labels: vec![1],
            ignore: vec![[0.0, 0.0, 5.0, 10.0]],
        };
        let config = TransformConfig {
            multi_scale: Some(MultiScale::Choice(vec![40])),
            flip_prob: 1.0,
            ..config(100, 200)
        };
        let plain = config.plain_truth(&truth, [300, 200]);
        assert_eq!((plain.resized, plain.padded), ([150, 100], [160, 128]));
        assert_eq!(plain.truth.boxes, [[5.0, 10.0, 15.0, 150.0]]);
        assert_eq!(plain.truth.ignore, [[0.0, 0.0, 2.5, 5.0]]);
        assert_eq!(plain.truth.labels, [1]);
    }

    #[test]
    fn impossible_values_name_their_key() {
        let check = |change: fn(&mut TransformConfig), expected: &str| {
            let mut config = TransformConfig::default();
            change(&mut config);
            let message = config.validate().expect_err(expected).to_string();
            assert_eq!(message, expected);
        };
        assert!(TransformConfig::default().validate().is_ok());
        check(
            |c| c.short_edge = 0,
            "`short_edge`: 0; expected at least 1 pixel",
        );
        check(
            |c| c.long_edge = 700,
            "`long_edge`: 700 is less than short_edge = 800",
        );
        check(
            |c| c.multi_scale = Some(MultiScale::Choice(vec![])),
            "`multi_scale`: []; expected one length or more, from 1 pixel to long_edge = 1333",
        );
        check(
            |c| c.multi_scale = Some(MultiScale::Choice(vec![640, 0])),
            "`multi_scale`: [640, 0]; expected one length or more, from 1 pixel to long_edge = 1333",
        );
        check(
            |c| c.multi_scale = Some(MultiScale::Range([800, 640])),
            "`multi_scale`: [800, 640]; expected two rising lengths, from 1 pixel to long_edge = 1333",
        );
        check(
            |c| c.multi_scale = Some(MultiScale::Range([640, 1400])),
            "`multi_scale`: [640, 1400]; expected two rising lengths, from 1 pixel to long_edge = 1333",
        );
        check(
            |c| c.flip_prob = 1.5,
            "`flip_prob`: 1.5; expected a probability in 0..=1",
        );
        check(
            |c| c.mean[1] = f32::NAN,
            "`mean`: [123.675, NaN, 103.53]; expected finite numbers",
        );
        check(
            |c| c.std[2] = 0.0,
            "`std`: [58.395, 57.12, 0.0]; expected positive numbers",
        );
        check(
            |c| c.size_divisor = 0,
            "`size_divisor`: 0; expected at least 1",
        );
        check(
            |c| c.bucket = 48,
            "`bucket`: 48 is not a multiple of size_divisor = 32",
        );
    }

    /// The lengths that 600 images get, each with how many of them.
    fn drawn(multi_scale: Option<MultiScale>) -> BTreeMap<u32, usize> {
        let config = TransformConfig {
            multi_scale,
            ..TransformConfig::default()
        };
        let mut counts = BTreeMap::new();
        for index in 0..600 {
            let mut random = Stream::new(3, Topic::Augment, 1, index);
            let drawn = config.draw(&mut random);
            *counts.entry(drawn.short_edge).or_default() += 1;
            // The flip does not depend on the lengths.
            let mut random = Stream::new(3, Topic::Augment, 1, index);
            let flipped = TransformConfig::default().draw(&mut random).flipped;
            assert_eq!(drawn.flipped, flipped, "image {index}");
        }
        counts
    }

    #[test]
    fn lengths_are_drawn_from_the_choice_or_the_range() {
        assert_eq!(drawn(None), BTreeMap::from([(800, 600)]));
        let choice = drawn(Some(MultiScale::Choice(vec![640, 672, 800])));
        assert_eq!(choice.keys().copied().collect::<Vec<_>>(), [640, 672, 800]);
        let range = drawn(Some(MultiScale::Range([798, 801])));
        assert!(range.keys().copied().eq(798..=801), "{range:?}");
        let one = drawn(Some(MultiScale::Range([700, 700])));
        assert_eq!(one, BTreeMap::from([(700, 600)]));
        // 200 or 150 expected, standard deviation at most 12: five deviations.
        let spread = choice.into_values().map(|n| n.abs_diff(200));
        let spread = spread.chain(range.into_values().map(|n| n.abs_diff(150)));
        assert!(spread.max().is_some_and(|most| most < 60));
    }

    #[test]
    fn scales_are_read_by_kind() {
        let parse = |text: &str| serde_json::from_str::<TransformConfig>(text);
        let scales = |text: &str| parse(text).expect(text).multi_scale;
        let choice = scales(r#"{"multi_scale": {"choice": [640, 800]}}"#);
        assert_eq!(choice, Some(MultiScale::Choice(vec![640, 800])));
        let range = scales(r#"{"multi_scale": {"range": [480, 960]}}"#);
        assert_eq!(range, Some(MultiScale::Range([480, 960])));
        assert!(parse(r#"{"multi_scale": {"values": [640]}}"#).is_err());
        assert!(parse(r#"{"multi_scale": {"range": [640, 700, 800]}}"#).is_err());
    }

    #[test]
    fn unknown_keys_are_errors() {
        let parsed = serde_json::from_str::<TransformConfig>(r#"{"short_egde": 600}"#);
        let message = parsed.expect_err("unknown key").to_string();
        assert!(message.contains("unknown field `short_egde`"), "{message}");
        let parsed = serde_json::from_str::<TransformConfig>(r#"{"channel_order": "bgr"}"#);
        assert_eq!(
            parsed.expect("known").channel_order,
            ChannelOrder::Bgr,
            "lower-case values"
        );
    }
}

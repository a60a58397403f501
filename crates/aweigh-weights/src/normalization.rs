//! What a network expects its pixels to be.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Tensor;

/// Order of the channels of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChannelOrder {
    /// Red, green, blue: torchvision's.
    Rgb,
    /// Blue, green, red: Caffe's and Detectron's.
    Bgr,
}

/// Which convolution of a bottleneck block has the stride, which weights do not show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Style {
    /// The 3x3 convolution.
    Pytorch,
    /// The first 1x1 convolution.
    Caffe,
}

/// Mean and standard deviation by which pixels in 0..255 are normalised, and what goes with them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Normalization {
    /// Subtracted from each channel, in the order of `order`.
    pub mean: [f32; 3],
    /// Divides what is left.
    pub std: [f32; 3],
    /// Order of the channels.
    pub order: ChannelOrder,
    /// Style of the bottleneck blocks, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub style: Option<Style>,
    /// Where this is from: the file itself, or what is usual for files of this kind.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub source: String,
}

impl Normalization {
    /// What torchvision trains all its networks with.
    pub fn torchvision(source: &str) -> Self {
        Self {
            mean: [123.675, 116.28, 103.53],
            std: [58.395, 57.12, 57.375],
            order: ChannelOrder::Rgb,
            style: Some(Style::Pytorch),
            source: source.to_owned(),
        }
    }

    /// What Detectron2 uses for the networks of Microsoft Research Asia (`MSRA/R-50.pkl`).
    pub fn detectron2(source: &str) -> Self {
        Self {
            mean: [103.53, 116.28, 123.675],
            std: [1.0; 3],
            order: ChannelOrder::Bgr,
            style: Some(Style::Caffe),
            source: source.to_owned(),
        }
    }

    /// What Caffe2's Detectron uses.
    pub fn detectron(source: &str) -> Self {
        Self {
            mean: [102.9801, 115.9465, 122.7717],
            ..Self::detectron2(source)
        }
    }

    /// From tensors of mean and deviation, `[3]` or `[3, 1, 1]`. The order of the channels shows in
    /// the mean of natural pictures, where red is brightest; there is no answer where it does not.
    pub(crate) fn from_tensors(mean: &Tensor, std: &Tensor, source: &str) -> Option<Self> {
        let three = |tensor: &Tensor| <[f32; 3]>::try_from(tensor.floats()?).ok();
        let (mean, std) = (three(mean)?, three(std)?);
        let order = if mean[0] > mean[2] {
            ChannelOrder::Rgb
        } else if mean[0] < mean[2] {
            ChannelOrder::Bgr
        } else {
            return None;
        };
        // Only the networks of Caffe's descent are fed with deviations of 1.
        let caffe = order == ChannelOrder::Bgr && std == [1.0; 3];
        Some(Self {
            mean,
            std,
            order,
            style: caffe.then_some(Style::Caffe),
            source: source.to_owned(),
        })
    }
}

/// Whether a backbone's batch norms are a scale and a shift alone: Detectron publishes them so, and
/// conversions set a mean of 0 and a variance of 1. Fresh norms, which scale by 1, do not count.
pub(crate) fn is_folded(backbone: &BTreeMap<String, Tensor>) -> bool {
    // Some conversions subtract batch norm's epsilon of 1e-5 from the variance.
    const NEARLY: f32 = 1e-4;
    let all = |name: &str, value: f32| {
        let values = backbone.get(name).and_then(Tensor::floats);
        values.is_some_and(|values| values.iter().all(|v| (v - value).abs() <= NEARLY))
    };
    all("bn1.running_mean", 0.0) && all("bn1.running_var", 1.0) && !all("bn1.weight", 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_channels_shows_in_the_mean() {
        let tensor = |values: [f32; 3]| Tensor::new(vec![3, 1, 1], values.to_vec());
        let order = |mean, std| Normalization::from_tensors(&tensor(mean), &tensor(std), "file");
        let caffe = order([103.53, 116.28, 123.675], [1.0; 3]).expect("an order");
        assert_eq!(
            (caffe.order, caffe.style),
            (ChannelOrder::Bgr, Some(Style::Caffe))
        );
        let rgb = order([123.675, 116.28, 103.53], [58.4, 57.1, 57.4]).expect("an order");
        assert_eq!((rgb.order, rgb.style), (ChannelOrder::Rgb, None));
        assert_eq!(order([127.5; 3], [127.5; 3]), None);
    }

    #[test]
    fn folded_norms_are_told_from_fresh_and_trained_ones() {
        let check = |mean, variance, weight, expected| {
            let entry = |name: &str, value| (format!("bn1.{name}"), Tensor::filled(vec![2], value));
            let entries = [
                entry("running_mean", mean),
                entry("running_var", variance),
                entry("weight", weight),
            ];
            assert_eq!(is_folded(&entries.into()), expected);
        };
        check(0.0, 1.0, 2.5, true);
        check(0.0, 0.99999, 2.5, true);
        check(0.0, 1.0, 1.0, false);
        check(0.3, 0.7, 2.5, false);
    }
}

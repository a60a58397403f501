//! What a network expects its pixels to be, in weights and in a configuration.

use std::fmt;
use std::path::Path;

use aweigh_backbone::{BackboneConfig, Style as BlockStyle};
use aweigh_data::{ChannelOrder, TransformConfig};
use aweigh_weights::{ChannelOrder as WeightsOrder, Normalization, Style};

use crate::TrainError;
use crate::config::Experiment;

/// Largest difference of two means or deviations that are the same number, written otherwise.
const SAME: f32 = 0.01;

/// The normalisation of a configuration.
pub fn normalization_of(experiment: &Experiment) -> Normalization {
    let transform = &experiment.data.transform;
    Normalization {
        mean: transform.mean,
        std: transform.std,
        order: match transform.channel_order {
            ChannelOrder::Rgb => WeightsOrder::Rgb,
            ChannelOrder::Bgr => WeightsOrder::Bgr,
        },
        style: style_of(&experiment.detector.backbone),
        source: String::new(),
    }
}

/// The style of a backbone's blocks; none where there is nothing to choose.
pub(crate) fn style_of(backbone: &BackboneConfig) -> Option<Style> {
    let BackboneConfig::ResNet(resnet) = backbone else {
        return None;
    };
    let bottleneck = usize::from(resnet.depth) >= 50;
    bottleneck.then_some(match resnet.style {
        BlockStyle::Pytorch => Style::Pytorch,
        BlockStyle::Caffe => Style::Caffe,
    })
}

/// Puts a normalisation into the transforms of a configuration.
pub(crate) fn apply(normalization: &Normalization, transform: &mut TransformConfig) {
    transform.mean = normalization.mean;
    transform.std = normalization.std;
    transform.channel_order = match normalization.order {
        WeightsOrder::Rgb => ChannelOrder::Rgb,
        WeightsOrder::Bgr => ChannelOrder::Bgr,
    };
}

/// Checks that a configuration normalises pixels as weights expect.
///
/// # Errors
///
/// When it does not; the message says which belongs to the weights.
pub(crate) fn check(
    weights: &Path,
    expected: &Normalization,
    experiment: &Experiment,
) -> Result<(), TrainError> {
    let configured = normalization_of(experiment);
    let near = |a: [f32; 3], b: [f32; 3]| a.iter().zip(b).all(|(a, b)| (a - b).abs() <= SAME);
    let styles = [expected.style, configured.style];
    let same = [
        (
            "`data.transform.channel_order`",
            expected.order == configured.order,
        ),
        (
            "`data.transform.mean`",
            near(expected.mean, configured.mean),
        ),
        ("`data.transform.std`", near(expected.std, configured.std)),
        (
            "`detector.backbone.style`",
            styles.contains(&None) || styles[0] == styles[1],
        ),
    ];
    let keys: Vec<&str> = same
        .iter()
        .filter(|(_, same)| !same)
        .map(|(key, _)| *key)
        .collect();
    if keys.is_empty() {
        return Ok(());
    }
    Err(TrainError::Normalization {
        weights: weights.into(),
        expected: Described(expected).to_string(),
        configured: Described(&configured).to_string(),
        keys,
    })
}

/// A normalisation as the keys of a configuration.
pub(crate) struct Described<'a>(pub(crate) &'a Normalization);

impl fmt::Display for Described<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Normalization { mean, std, .. } = self.0;
        let order = match self.0.order {
            WeightsOrder::Rgb => "rgb",
            WeightsOrder::Bgr => "bgr",
        };
        write!(
            f,
            "channel_order = \"{order}\", mean = {mean:?}, std = {std:?}"
        )?;
        match self.0.style {
            Some(Style::Pytorch) => f.write_str(", style = \"pytorch\""),
            Some(Style::Caffe) => f.write_str(", style = \"caffe\""),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn experiment(more: &str) -> Experiment {
        let text = format!(
            "[data]\ntrain = {{ annotations = \"a\", images = \"b\" }}\n[detector.fcos]\n{more}"
        );
        Experiment::parse("x.toml", &text, &[]).unwrap()
    }

    #[test]
    fn a_difference_says_what_belongs_to_the_weights() {
        let own = normalization_of(&experiment(""));
        let check = |more: &str, parts: &[&str]| {
            let checked = check(Path::new("w.pth"), &own, &experiment(more));
            let message = checked.err().map(|error| error.to_string());
            assert_eq!(message.is_some(), !parts.is_empty(), "{more}: {message:?}");
            for part in parts {
                assert!(message.as_ref().unwrap().contains(part), "{message:?}");
            }
        };
        check("", &[]);
        check("[data.transform]\nmean = [123.68, 116.28, 103.53]\n", &[]);
        check(
            "[data.transform]\nchannel_order = \"bgr\"\n",
            &[
                "w.pth",
                "channel_order = \"rgb\"",
                "channel_order = \"bgr\"",
            ],
        );
        check(
            "[data.transform]\nstd = [1.0, 1.0, 1.0]\n",
            &[
                "std = [58.395, 57.12, 57.375]",
                "std = [1.0, 1.0, 1.0]",
                ": set `data.transform.std` as the weights have it",
            ],
        );
        let caffe = "[detector.backbone]\nstyle = \"caffe\"\n";
        check(caffe, &["style = \"pytorch\"", "style = \"caffe\""]);
        // Blocks of two 3x3 convolutions have their stride in the first, whatever the style.
        check("[detector.backbone]\ndepth = 18\nstyle = \"caffe\"\n", &[]);
    }
}

//! Weights of another network than that of the configuration, in words.

use aweigh_backbone::BackboneConfig;
use aweigh_backbone::weights::WeightsError;
use aweigh_detectors::DetectorConfig;
use aweigh_weights::{Architecture, BackboneKind, Import, Method, NormKind, Part};

use crate::TrainError;

/// An image that every network takes, in pixels.
const IMAGE: [usize; 2] = [64, 64];

/// What the tensors of a file show, to explain why they do not fit.
#[derive(Debug)]
pub(crate) struct Shown {
    architecture: Option<Architecture>,
}

impl Shown {
    /// What those of `import` show that are to be loaded.
    pub(crate) fn of(import: &Import, wanted: Part) -> Self {
        let mut architecture = import.architecture.clone();
        if let (Some(shown), Part::Backbone) = (&mut architecture, wanted) {
            shown.head = None;
        }
        Self { architecture }
    }

    /// Names the two networks in the place of a list of tensors, where they are different ones.
    pub(crate) fn explain(&self, error: WeightsError, config: &DetectorConfig) -> TrainError {
        let WeightsError::Mismatch { path, .. } = &error else {
            return error.into();
        };
        match self.networks(config) {
            Some([found, configured]) => TrainError::OtherNetwork {
                weights: path.clone(),
                found,
                configured,
            },
            None => error.into(),
        }
    }

    /// The names of both networks, if they differ.
    fn networks(&self, config: &DetectorConfig) -> Option<[String; 2]> {
        let Architecture { backbone, head, .. } = self.architecture.as_ref()?;
        // Other numbers of blocks are those of a network without its last stages, too.
        if matches!(backbone, BackboneKind::ResNet { depth: None, .. }) {
            return None;
        }
        let backbones = [backbone.to_string(), kind(&config.backbone).to_string()];
        let networks = match head {
            None => backbones,
            Some(head) => {
                let methods = [head.method.to_string(), method(config)?.to_string()];
                [0, 1].map(|i| format!("{} on {}", methods[i], backbones[i]))
            }
        };
        (networks[0] != networks[1]).then_some(networks)
    }
}

/// What tensors of a configured backbone would show.
fn kind(config: &BackboneConfig) -> BackboneKind {
    match config {
        BackboneConfig::ResNet(resnet) => BackboneKind::ResNet {
            depth: Some(resnet.depth.into()),
            blocks: [0; 4],
            base_channels: resnet.base_channels,
            groups: resnet.groups,
            base_width: resnet.base_width,
            norm: NormKind::Batch,
            deformable: Vec::new(),
        },
        BackboneConfig::MobileNetV2(_) => {
            let layers = config.layers(IMAGE);
            let stem = layers.first().map(|stem| stem.output[0]);
            let channels = stem.into_iter().collect();
            BackboneKind::MobileNetV2 { channels }
        }
    }
}

fn method(config: &DetectorConfig) -> Option<Method> {
    match config.method_name()? {
        "fcos" => Some(Method::Fcos),
        "fovea" => Some(Method::Fovea),
        "reppoints" => Some(Method::RepPoints),
        "fsaf" => Some(Method::Fsaf),
        "retina" => {
            let joint = config.retina.as_ref().is_some_and(|r| r.fsaf.is_some());
            Some(if joint {
                Method::RetinaFsaf
            } else {
                Method::Retina
            })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use aweigh_backbone::weights::Differences;
    use aweigh_weights::HeadShape;

    use super::*;
    use crate::config::Experiment;

    const DATA: &str = "[data]\ntrain = { annotations = \"a\", images = \"b\" }\n";

    fn config(detector: &str) -> DetectorConfig {
        let experiment = Experiment::parse("x.toml", &format!("{DATA}{detector}"), &[]);
        experiment.expect("a configuration").detector
    }

    /// What weights of the configuration would show.
    fn shown(config: &DetectorConfig, part: Part) -> Shown {
        let head = HeadShape {
            method: method(config).expect("a method"),
            num_classes: 3,
            anchors: 1,
            in_channels: 8,
            feat_channels: 8,
            stacked_convs: [1, 1],
            norm: NormKind::Group,
            deformable: false,
        };
        Shown {
            architecture: Some(Architecture {
                backbone: kind(&config.backbone),
                neck: None,
                head: (part == Part::Detector).then_some(head),
            }),
        }
    }

    #[test]
    fn two_networks_are_named() {
        let check = |file: &str, part, configured: &str, expected: Option<&str>| {
            let error = WeightsError::Mismatch {
                path: Path::new("w.pth").into(),
                differences: Box::new(Differences::default()),
            };
            let error = shown(&config(file), part).explain(error, &config(configured));
            let expected = expected.unwrap_or("the weights do not fit the model");
            assert!(error.to_string().contains(expected), "{error}");
        };
        let mobile = "[detector.fcos]\n[detector.backbone]\ntype = \"mobilenet_v2\"\n";
        let fovea = "[detector.fovea]\n";
        let resnext = "[detector.fcos]\n[detector.backbone]\ngroups = 32\nbase_width = 4\n";
        let (backbone, detector) = (Part::Backbone, Part::Detector);
        let words = "w.pth: the file is ResNet-50, the configuration has MobileNetV2";
        check("[detector.fcos]\n", backbone, mobile, Some(words));
        let words = "is ResNeXt-50 (32x4d), the configuration has ResNet-50";
        check(resnext, backbone, fovea, Some(words));
        let words = "is FoveaBox on ResNet-50, the configuration has FCOS on MobileNetV2";
        check(fovea, detector, mobile, Some(words));
        let joint = "[detector.retina]\nfsaf = {}\n";
        let words = "is RetinaNet on ResNet-50, the configuration has RetinaNet joint with FSAF on";
        check("[detector.retina]\n", detector, joint, Some(words));
        check(fovea, backbone, "[detector.fcos]\n", None);
        check(mobile, detector, mobile, None);
    }
}

//! What a file says beside its tensors: classes, configuration, normalisation.

use serde_json::Value;

use super::{Import, Layout, Part};
use crate::architecture::{BackboneKind, NormKind};
use crate::normalization::{Normalization, is_folded};
use crate::{ModelMetadata, Style};

/// Classes of torchvision's own detectors.
const COCO_OUTPUTS: usize = 91;

impl Import {
    /// Fills in everything but the tensors.
    pub(super) fn describe(&mut self, metadata: Option<ModelMetadata>, python: Option<&Value>) {
        if let Some(meta) = python.and_then(|python| python.get("meta")) {
            self.classes = classes(meta);
            self.mmdet_config = config(meta);
        }
        self.notes = self.differences();
        if let Some(metadata) = metadata {
            let names = metadata.classes.iter().map(|class| class.name.clone());
            self.classes = (!metadata.classes.is_empty()).then(|| names.collect());
            self.normalization = metadata.normalization.clone().or(self.normalization.take());
            self.metadata = Some(metadata);
        }
        if self.normalization.is_none() {
            self.usual_normalization = self.usual();
        }
    }

    /// What is usual for files of this layout.
    fn usual(&self) -> Option<Normalization> {
        let folded = match self.part {
            Part::Backbone => is_folded(&self.tensors),
            Part::Detector => false,
        };
        match self.layout {
            Layout::Torchvision | Layout::TorchvisionFcos | Layout::TorchvisionRetina
                if !folded =>
            {
                Some(Normalization::torchvision(
                    "what torchvision's weights expect; the file does not say",
                ))
            }
            Layout::Torchvision | Layout::Mmdet if folded => Some(self.of_detectron2(
                "what Detectron2's weights expect, as the norms look like a conversion of \
                     these; the file does not say",
            )),
            Layout::AdelaiDet | Layout::Detectron2 => {
                Some(self.of_detectron2("what Detectron2's weights expect; the file does not say"))
            }
            Layout::Caffe2 => {
                let source = "what Caffe2's Detectron expects; the file does not say";
                Some(Normalization::detectron(source))
            }
            // The configuration of a checkpoint says it.
            _ => None,
        }
    }

    /// Detectron2 trains its ResNeXt itself, in the way of PyTorch; its ResNets are Caffe's.
    fn of_detectron2(&self, source: &str) -> Normalization {
        let usual = Normalization::detectron2(source);
        let backbone = self.architecture.as_ref().map(|a| &a.backbone);
        match backbone {
            Some(BackboneKind::ResNet { groups: 2.., .. }) => Normalization {
                std: [57.375, 57.12, 58.395],
                style: Some(Style::Pytorch),
                ..usual
            },
            _ => usual,
        }
    }

    /// What no tensor shows of the network and of its outputs.
    fn differences(&self) -> Vec<String> {
        let architecture = self.architecture.as_ref();
        let head = architecture.and_then(|architecture| architecture.head.as_ref());
        let mut notes = match (self.layout, head.map(|head| head.num_classes)) {
            (Layout::TorchvisionFcos | Layout::TorchvisionRetina, Some(COCO_OUTPUTS)) => {
                vec![
                    "class i is COCO's category i; 0 and the ten ids without a category are unused",
                ]
            }
            (Layout::TorchvisionFcos | Layout::TorchvisionRetina, Some(_)) => {
                vec!["torchvision counts labels from 0, which most data sets keep for no object"]
            }
            _ => Vec::new(),
        };
        let norm = architecture.map(|architecture| &architecture.backbone);
        if let Some(BackboneKind::ResNet {
            norm: NormKind::None,
            ..
        }) = norm
        {
            notes.push("the backbone has no norms: they may be folded into its convolutions");
        }
        notes.into_iter().map(str::to_owned).collect()
    }
}

/// Names of classes: `CLASSES` in version 2, `dataset_meta.classes` in version 3.
fn classes(meta: &Value) -> Option<Vec<String>> {
    let dataset = meta.get("dataset_meta");
    let candidates = [
        dataset.and_then(|d| d.get("classes")),
        dataset.and_then(|d| d.get("CLASSES")),
        meta.get("CLASSES"),
    ];
    let names = candidates
        .into_iter()
        .flatten()
        .find_map(|names| match names {
            // One name of a single class that was not put into a tuple.
            Value::String(name) => Some(vec![name.clone()]),
            Value::Array(names) => names
                .iter()
                .map(|n| n.as_str().map(str::to_owned))
                .collect(),
            _ => None,
        });
    names.filter(|names| !names.is_empty())
}

/// Text of a configuration: `cfg` in version 3, `config` in version 2.
fn config(meta: &Value) -> Option<String> {
    let mut texts = ["cfg", "config"]
        .iter()
        .filter_map(|key| meta.get(key)?.as_str());
    texts.find(|text| text.contains('=')).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn classes_of_every_version_are_read() {
        let check = |meta: Value, expected: Option<&[&str]>| {
            let expected = expected.map(|names| names.iter().map(|n| (*n).to_owned()).collect());
            assert_eq!(classes(&meta), expected, "{meta}");
        };
        check(
            json!({"CLASSES": ["person", "car"]}),
            Some(&["person", "car"]),
        );
        check(
            json!({"dataset_meta": {"classes": ["cat"]}}),
            Some(&["cat"]),
        );
        check(
            json!({"dataset_meta": {"CLASSES": ["cat"], "PALETTE": null}}),
            Some(&["cat"]),
        );
        check(json!({"CLASSES": "cell"}), Some(&["cell"]));
        check(json!({"CLASSES": null}), None);
        check(json!({"CLASSES": [1]}), None);
    }

    #[test]
    fn the_configuration_is_text() {
        let check = |meta: Value, expected: Option<&str>| {
            assert_eq!(config(&meta).as_deref(), expected, "{meta}");
        };
        check(json!({"cfg": "model = dict()"}), Some("model = dict()"));
        check(json!({"config": "a = 1"}), Some("a = 1"));
        check(json!({"cfg": {"python": "Config"}}), None);
        check(json!({"epoch": 12}), None);
    }
}

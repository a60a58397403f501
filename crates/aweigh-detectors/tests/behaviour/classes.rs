//! Weights of a detector for another number of classes.

use std::collections::BTreeMap;
use std::path::Path;

use aweigh_backbone::weights::StateDict;
use aweigh_detectors::fcos::FcosConfig;
use aweigh_detectors::fovea::FoveaConfig;
use aweigh_detectors::fsaf::{FsafBranch, FsafConfig};
use aweigh_detectors::reppoints::RepPointsConfig;
use aweigh_detectors::retina::{Anchors, RetinaConfig};
use aweigh_detectors::{Detector, DetectorConfig};
use aweigh_testkit::device;
use burn::store::{ModuleSnapshot, bridge};
use burn::tensor::TensorData;

use super::{fcos, fovea, fsaf, reppoints, retina, title};

type Tensors = BTreeMap<String, TensorData>;

fn detector(config: &DetectorConfig, classes: usize) -> Detector {
    let config = DetectorConfig {
        num_classes: Some(classes),
        ..config.clone()
    };
    config.init(&device()).expect("a detector")
}

fn tensors(detector: &Detector) -> Tensors {
    let all = detector.collect(None, None, true).into_iter();
    all.map(|t| {
        let data = bridge::to_data(&t).expect("resident data");
        (t.name, data)
    })
    .collect()
}

fn state_dict(tensors: &Tensors) -> StateDict {
    StateDict::from_tensors(Path::new("coco.pth"), tensors.clone())
}

fn retina(scales_per_octave: usize, fsaf: Option<FsafBranch>) -> DetectorConfig {
    retina::tiny(RetinaConfig {
        anchors: Anchors {
            scales_per_octave,
            ..Anchors::default()
        },
        fsaf,
        ..RetinaConfig::default()
    })
}

#[test]
fn class_layers_start_anew_and_the_rest_is_loaded() {
    let check = |config: DetectorConfig, layers: &[&str]| {
        let title = title(&config);
        let (trained, fresh) = (detector(&config, 7), detector(&config, 3));
        let (trained, own) = (tensors(&trained), tensors(&fresh));
        let names: Vec<String> = fresh.class_layers().into_iter().map(|l| l.name).collect();
        assert_eq!(names, layers, "{title}");
        let mut weights = state_dict(&trained);
        let anew = |_| vec![None; 3];
        let adopted = weights.adopt_classes(&fresh, &fresh.class_layers(), anew);
        assert_eq!(adopted.map(|adopted| adopted.found), Some(7), "{title}");
        let loaded = tensors(&weights.load_into(fresh).expect("fits"));
        for (name, found) in &loaded {
            let of_classes = layers.iter().any(|l| name.starts_with(&format!("{l}.")));
            let expected = if of_classes { &own } else { &trained };
            assert_eq!(found, &expected[name], "{title}: {name}");
        }
    };
    check(fcos::tiny(FcosConfig::default()), &["bbox_head.conv_cls"]);
    check(fovea::tiny(FoveaConfig::default()), &["bbox_head.conv_cls"]);
    check(
        reppoints::tiny(RepPointsConfig::default()),
        &["bbox_head.reppoints_cls_out"],
    );
    check(fsaf::tiny(FsafConfig::default()), &["bbox_head.retina_cls"]);
    check(retina(3, None), &["bbox_head.retina_cls"]);
    check(
        retina(3, Some(FsafBranch::default())),
        &["bbox_head.retina_cls", "bbox_head.fsaf_cls"],
    );
}

#[test]
fn a_class_goes_on_from_its_row_of_every_anchor() {
    let rows = [Some(6), None, Some(0)];
    let check = |config: DetectorConfig, layer: &str, anchors: usize| {
        let (trained, fresh) = (detector(&config, 7), detector(&config, 3));
        let (trained, own) = (tensors(&trained), tensors(&fresh));
        let mut weights = state_dict(&trained);
        weights.adopt_classes(&fresh, &fresh.class_layers(), |_| rows.to_vec());
        let loaded = tensors(&weights.load_into(fresh).expect("fits"));
        let name = format!("{layer}.weight");
        let values = |tensors: &Tensors| -> Vec<f32> { tensors[&name].iter().collect() };
        let [trained, own, loaded] = [&trained, &own, &loaded].map(values);
        let size = own.len() / (3 * anchors);
        let row = |values: &[f32], row: usize| values[row * size..(row + 1) * size].to_vec();
        for anchor in 0..anchors {
            for (class, from) in rows.into_iter().enumerate() {
                let at = anchor * 3 + class;
                let expected = match from {
                    Some(from) => row(&trained, anchor * 7 + from),
                    None => row(&own, at),
                };
                assert_eq!(row(&loaded, at), expected, "{layer}, {anchor}, {class}");
            }
        }
    };
    check(fcos::tiny(FcosConfig::default()), "bbox_head.conv_cls", 1);
    let joint = || retina(3, Some(FsafBranch::default()));
    check(joint(), "bbox_head.retina_cls", 9);
    check(joint(), "bbox_head.fsaf_cls", 1);
}

/// A detector of three classes refuses these tensors.
fn refuse(trained: &Tensors, config: &DetectorConfig, parts: &[&str]) {
    let fresh = detector(config, 3);
    let mut weights = state_dict(trained);
    weights.adopt_classes(&fresh, &fresh.class_layers(), |_| vec![None; 3]);
    let error = weights.load_into(fresh).expect_err("does not fit");
    for part in parts {
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[test]
fn other_differences_are_refused() {
    let fcos = fcos::tiny(FcosConfig::default());
    let mut no_bias = tensors(&detector(&fcos, 7));
    no_bias.remove("bbox_head.conv_cls.bias");
    refuse(&no_bias, &fcos, &["1 missing in the file", "conv_cls.bias"]);

    let nine_anchors = retina(3, None);
    // 3 anchors: 7 times 3 outputs are no multiple of 9, and 9 times 3 are those of 3 classes.
    for classes in [7, 9] {
        let three_anchors = tensors(&detector(&retina(1, None), classes));
        refuse(&three_anchors, &nine_anchors, &["retina_reg.weight"]);
    }

    let joint = retina(3, Some(FsafBranch::default()));
    let mut mixed = tensors(&detector(&joint, 7));
    let of_three = tensors(&detector(&joint, 3)).into_iter();
    mixed.extend(of_three.filter(|(name, _)| name.contains("fsaf_cls")));
    refuse(&mixed, &joint, &["retina_cls.weight"]);
}

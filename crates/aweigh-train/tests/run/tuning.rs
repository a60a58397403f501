//! Training that starts from the weights of a detector for other classes.

use std::path::{Path, PathBuf};

use aweigh_testkit::device;
use aweigh_train::TrainError;
use aweigh_train::config::Experiment;
use aweigh_train::model::{Trained, fresh};
use aweigh_train::named_tensors;
use aweigh_train::run_folder::RunFolder;
use aweigh_train::trainer::Trainer;
use burn::tensor::TensorData;
use serde_json::{Value, json};

use super::support::{Place, train};

const JOINT: &str = "
[detector.retina]
feat_channels = 8
stacked_convs = 1
norm = { group_norm = { groups = 4 } }
fsaf = {}
";

/// A place whose annotations have two classes more than those of other places.
fn place_of_seven_classes() -> Place {
    let place = Place::new();
    for split in ["train", "val"] {
        let file = format!("annotations/instances_{split}.json");
        let path = place.data().join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        let mut annotations: Value = serde_json::from_str(&text).unwrap();
        let categories = annotations["categories"].as_array_mut().unwrap();
        categories.push(json!({"id": 98, "name": "heptagon"}));
        categories.push(json!({"id": 99, "name": "hexagon"}));
        std::fs::write(&path, annotations.to_string()).unwrap();
    }
    place
}

/// The latest checkpoint of one step on five classes.
fn trained(place: &Place) -> PathBuf {
    let ended = train(place.experiment("five", &["train.iterations=1"]));
    assert_eq!(ended.state.classes.len(), 5);
    place.run_dir("five").join("checkpoints/last")
}

fn weights(path: &Path) -> String {
    format!("train.weights={path:?}")
}

/// Starts a run on seven classes from weights for five of them, and compares every tensor.
fn check(five: Experiment, seven: Experiment, class_layers: &[&str]) {
    let old = train(five);
    let trainer = Trainer::new(seven, &device()).unwrap();
    let config = trainer.experiment();
    let own = fresh(&config.detector, config.seed, &device()).unwrap();
    let [old, own, found] = [&old.model, &own, trainer.model()].map(named_tensors);
    let of_classes = |name: &str| class_layers.iter().any(|layer| name.starts_with(layer));
    for (name, tensor) in &found {
        if of_classes(name) {
            let both = [&old[name], &own[name]];
            assert_eq!(outputs(tensor, 7), seven_of(both), "{name}");
        } else {
            assert_eq!(tensor, &old[name], "{name}");
        }
    }
    let renewed = found.keys().filter(|name| of_classes(name)).count();
    assert_eq!(renewed, 2 * class_layers.len());
}

/// The values of each output of a class layer for so many classes, by anchor, then by class.
fn outputs(tensor: &TensorData, classes: usize) -> Vec<Vec<Vec<f32>>> {
    let outputs = tensor.shape()[0];
    let values: Vec<f32> = tensor.iter().collect();
    let rows: Vec<Vec<f32>> = values
        .chunks(values.len() / outputs)
        .map(<[f32]>::to_vec)
        .collect();
    rows.chunks(classes).map(<[Vec<f32>]>::to_vec).collect()
}

/// Five classes of the first tensor, and the last two of the second.
fn seven_of([five, seven]: [&TensorData; 2]) -> Vec<Vec<Vec<f32>>> {
    let anchors = outputs(five, 5).into_iter().zip(outputs(seven, 7));
    anchors
        .map(|(five, seven)| [&five[..], &seven[5..]].concat())
        .collect()
}

#[test]
fn known_classes_go_on_and_others_start_as_in_a_run_without_weights() {
    let once = ["train.iterations=1"];
    let (place, other) = (Place::new(), place_of_seven_classes());
    let last = place.run_dir("five").join("checkpoints/last");
    check(
        place.experiment("five", &once),
        other.experiment("seven", &[&weights(&last)]),
        &["bbox_head.conv_cls."],
    );
    let (place, other) = (Place::new(), place_of_seven_classes());
    let last = place.run_dir("five").join("checkpoints/last");
    check(
        place.experiment_of(JOINT, "five", &once),
        other.experiment_of(JOINT, "seven", &[&weights(&last.join("model.safetensors"))]),
        &["bbox_head.retina_cls.", "bbox_head.fsaf_cls."],
    );
}

#[test]
fn a_resumed_run_asks_no_more_for_the_weights_that_it_started_from() {
    let (place, other) = (Place::new(), place_of_seven_classes());
    let last = trained(&place);
    train(other.experiment("seven", &[&weights(&last), "train.iterations=1"]));
    std::fs::remove_dir_all(&last).unwrap();
    let folder = RunFolder::open(&other.run_dir("seven")).unwrap();
    let resumed = Trainer::resume(folder.experiment().unwrap(), folder, &device());
    assert_eq!(resumed.unwrap().state().iteration, 1);
}

fn refuse(found: Result<Trained, TrainError>) {
    let message = found.unwrap_err().to_string();
    for part in ["of another shape", "bbox_head.conv_cls.bias"] {
        assert!(message.contains(part), "`{part}` is not in: {message}");
    }
}

#[test]
fn inference_refuses_weights_for_other_classes() {
    let (place, other) = (Place::new(), place_of_seven_classes());
    let last = trained(&place);
    let alone = place.data().join("alone.safetensors");
    std::fs::copy(last.join("model.safetensors"), &alone).unwrap();
    let experiment = other.experiment("seven", &[]);
    refuse(Trained::from_weights(&experiment, &alone, &device()));
}

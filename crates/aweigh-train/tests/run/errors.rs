//! What a user meets when a file is missing, broken or of another run.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use aweigh_testkit::device;
use aweigh_train::TrainError;
use aweigh_train::config::Experiment;
use aweigh_train::model::{Trained, Which};
use aweigh_train::progress::Silent;
use aweigh_train::run_folder::RunFolder;
use aweigh_train::trainer::Trainer;

use super::support::{Place, train};

fn refuse(error: TrainError, parts: &[&str]) {
    let message = error.to_string();
    for part in parts {
        assert!(message.contains(part), "`{part}` is not in: {message}");
    }
}

fn run(experiment: Experiment) -> Result<(), TrainError> {
    let mut trainer = Trainer::new(experiment, &device())?;
    trainer
        .run(&mut Silent, &AtomicBool::new(false))
        .map(|_| ())
}

fn resume(place: &Place, run: &str) -> Result<Trainer, TrainError> {
    let folder = RunFolder::open(&place.run_dir(run))?;
    Trainer::resume(folder.experiment()?, folder, &device())
}

#[test]
fn a_missing_dataset_is_named() {
    let place = Place::new();
    let changes = ["data.train.annotations=nowhere/train.json"];
    refuse(
        run(place.experiment("a", &changes)).unwrap_err(),
        &["nowhere/train.json"],
    );
    let changes = ["data.train.images=nowhere/images"];
    refuse(
        run(place.experiment("b", &changes)).unwrap_err(),
        &["nowhere/images"],
    );
}

#[test]
fn a_wrong_number_of_classes_names_both() {
    let place = Place::new();
    let error = run(place.experiment("a", &["detector.num_classes=80"])).unwrap_err();
    refuse(
        error,
        &[
            "detector.num_classes is 80",
            "instances_train.json has 5 categories",
        ],
    );
}

#[test]
fn other_categories_for_validation_are_refused() {
    let place = Place::new();
    let path = place.data().join("annotations/instances_val.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let mut val: serde_json::Value = serde_json::from_str(&text).unwrap();
    let categories = val["categories"].as_array_mut().unwrap();
    categories.push(serde_json::json!({"id": 99, "name": "hexagon"}));
    std::fs::write(&path, val.to_string()).unwrap();
    let error = run(place.experiment("a", &[])).unwrap_err();
    refuse(
        error,
        &["instances_val.json has the categories", "99 hexagon"],
    );
}

#[test]
fn wrong_weights_are_named_with_the_differences() {
    let place = Place::new();
    let wrong = |path: &Path| run(place.experiment("a", &[&format!("train.weights={path:?}")]));
    refuse(
        wrong(&place.data().join("none.pth")).unwrap_err(),
        &["none.pth"],
    );
    let place = Place::new();
    train(place.experiment("small", &["train.iterations=1"]));
    let model = place
        .run_dir("small")
        .join("checkpoints/last/model.safetensors");
    let weights = format!("train.weights={model:?}");
    let changes = [weights.as_str(), "detector.fcos.feat_channels=12"];
    let error = run(place.experiment("wide", &changes)).unwrap_err();
    refuse(error, &["model.safetensors", "bbox_head.conv_cls.weight"]);
}

#[test]
fn a_loss_that_is_not_finite_stops_the_run_and_names_the_parts() {
    let place = Place::new();
    let changes = ["train.lr=1e30", "train.clip_norm=1e30", "train.log_every=5"];
    let error = run(place.experiment("a", &changes)).unwrap_err();
    refuse(
        error,
        &["the loss is not finite after iteration", "loss_cls is "],
    );
}

#[test]
fn broken_checkpoints_are_named() {
    let place = Place::new();
    refuse(resume(&place, "a").err().unwrap(), &["is not a run folder"]);
    train(place.experiment("a", &["train.iterations=1"]));
    let last = place.run_dir("a").join("checkpoints/last");
    let check = |file: &str, content: &[u8], parts: &[&str]| {
        let path = last.join(file);
        let good = std::fs::read(&path).unwrap();
        std::fs::write(&path, content).unwrap();
        refuse(resume(&place, "a").err().unwrap(), parts);
        std::fs::write(&path, good).unwrap();
    };
    let model = std::fs::read(last.join("model.safetensors")).unwrap();
    check(
        "model.safetensors",
        &model[..model.len() / 2],
        &["last/model.safetensors"],
    );
    check(
        "optimizer.safetensors",
        b"x",
        &["optimizer.safetensors is damaged"],
    );
    // The model is a valid file, but not the state of an optimiser.
    check(
        "optimizer.safetensors",
        &model,
        &["belongs to no parameter of the model"],
    );
    check(
        "state.json",
        b"{}",
        &["state.json is damaged", "missing field"],
    );
    std::fs::remove_dir_all(&last).unwrap();
    std::fs::remove_dir_all(place.run_dir("a").join("checkpoints/best")).unwrap();
    refuse(
        resume(&place, "a").err().unwrap(),
        &["no checkpoint in", "checkpoints/last"],
    );
    let folder = RunFolder::open(&place.run_dir("a")).unwrap();
    let experiment = folder.experiment().unwrap();
    let error = Trained::from_run(&folder, Which::Best, &experiment, &device())
        .err()
        .unwrap();
    refuse(error, &["no checkpoint in"]);
}

#[test]
fn a_second_run_needs_a_folder_of_its_own() {
    let place = Place::new();
    train(place.experiment("a", &["train.iterations=1"]));
    refuse(
        run(place.experiment("a", &[])).unwrap_err(),
        &["holds a run already", "--resume"],
    );
}

#[test]
fn an_unreadable_image_is_named_or_skipped() {
    let place = Place::new();
    let images = place.data().join("train");
    let broken = std::fs::read_dir(&images)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    std::fs::write(&broken, b"not a picture").unwrap();
    let name = broken.file_name().unwrap().to_str().unwrap();
    refuse(
        run(place.experiment("a", &["train.epochs=1"])).unwrap_err(),
        &[name],
    );
    let changes = ["train.epochs=1", "data.on_bad_image=skip"];
    run(place.experiment("b", &changes)).unwrap();
}

//! What a user meets when a file is missing, broken or of another run.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use aweigh_data::SixteenBit;
use aweigh_data::synth::Split;
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
    let trainer = Trainer::new(experiment, &device())?;
    let ended = trainer.run(&mut Silent, &AtomicBool::new(false));
    ended.outcome.map(|_| ())
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
fn pictures_are_looked_at_before_anything_is_written() {
    let place = Place::new();
    let check = |split: Split| {
        let images = std::fs::read_dir(split.images(&place.data())).unwrap();
        let image = images.map(|entry| entry.unwrap().path()).min().unwrap();
        let whole = std::fs::read(&image).unwrap();
        std::fs::write(&image, "<html>404</html>").unwrap();
        let name = image.display().to_string();
        let parts = [
            &name,
            "it is HTML text",
            "the first of 1 such pictures of",
            "`data.on_bad_image = \"skip\"`",
        ];
        refuse(run(place.experiment("a", &[])).unwrap_err(), &parts);
        assert!(!place.run_dir("a").exists());
        std::fs::write(&image, whole).unwrap();
    };
    check(Split::Train);
    check(Split::Val);
}

#[test]
fn the_range_of_16_bits_is_measured_and_written_into_the_configuration() {
    let place = Place::new();
    let measured = ["data.sixteen_bit=range", "train.iterations=1"];
    let written = |run: &str| {
        let trainer = Trainer::new(place.experiment(run, &measured), &device()).unwrap();
        assert_eq!(
            &trainer.folder().experiment().unwrap(),
            trainer.experiment()
        );
        trainer.experiment().data.sixteen_bit
    };
    assert_eq!(written("none"), SixteenBit::Full);
    let images = std::fs::read_dir(Split::Train.images(&place.data())).unwrap();
    let image = images.map(|entry| entry.unwrap().path()).min().unwrap();
    let sample = |x, y| image::Luma([1000 + 10 * x as u16 + y as u16]);
    let wide = image::ImageBuffer::from_fn(96, 64, sample);
    wide.save(&image).unwrap();
    assert_eq!(written("some"), SixteenBit::Range([1000, 2013]));
    let flat = image::ImageBuffer::from_pixel(96, 64, image::Luma([7_u16]));
    flat.save(&image).unwrap();
    let error = Trainer::new(place.experiment("flat", &measured), &device()).unwrap_err();
    refuse(
        error,
        &["`data.sixteen_bit`: \"range\" needs", "hold nothing but 7"],
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
fn an_annotation_of_an_unknown_image_is_the_same_mistake_in_both_sets() {
    let place = Place::new();
    for split in ["train", "val"] {
        let name = format!("instances_{split}.json");
        let path = place.data().join("annotations").join(&name);
        let text = std::fs::read_to_string(&path).unwrap();
        let mut file: serde_json::Value = serde_json::from_str(&text).unwrap();
        file["annotations"][0]["image_id"] = 4711.into();
        std::fs::write(&path, file.to_string()).unwrap();
        refuse(
            run(place.experiment("a", &[])).unwrap_err(),
            &[&name, "image_id 4711"],
        );
        std::fs::write(&path, text).unwrap();
    }
}

#[test]
fn both_sets_may_have_one_annotation_file() {
    let place = Place::new();
    let file = place.data().join("annotations/instances_train.json");
    // The same file by another path.
    let again = place
        .data()
        .join("annotations/../annotations/instances_train.json");
    let images = place.data().join("train");
    let changes = [
        format!("data.train.annotations={file:?}"),
        format!("data.val.annotations={again:?}"),
        format!("data.val.images={images:?}"),
        "train.iterations=1".to_owned(),
    ];
    let changes: Vec<&str> = changes.iter().map(String::as_str).collect();
    let ended = train(place.experiment("a", &changes));
    let data = ended.state.data.unwrap();
    let val = data.val.unwrap();
    assert_eq!((val.sha256, val.images), (data.train.sha256, 10));
    assert_eq!(val.path, again.display().to_string());
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

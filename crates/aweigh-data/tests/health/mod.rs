//! The full look at datasets.

use std::path::Path;

use aweigh_data::health::{Health, examine};
use aweigh_data::{DatasetConfig, Finding, Severity};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Pictures of 24 x 20 pixels with a pattern for each number, and `train.json` and `val.json`.
fn folder(train: &[(&str, u8)], val: &[(&str, u8)]) -> TempDir {
    let folder = tempfile::tempdir().expect("temporary folder");
    for (name, pattern) in train.iter().chain(val) {
        let pixel = |x: u32, y: u32| {
            let wave = f64::from((x + 3 * u32::from(*pattern)) * (y + 2)) * 0.02;
            image::Luma([(120.0 + 90.0 * (wave * f64::from(*pattern)).sin()) as u8])
        };
        let picture = image::GrayImage::from_fn(24, 20, pixel);
        picture.save(folder.path().join(name)).expect("writes");
    }
    for (set, pictures) in [("train.json", train), ("val.json", val)] {
        let images: Vec<Value> = pictures
            .iter()
            .zip(1..)
            .map(|((name, _), id)| json!({"id": id, "file_name": name, "width": 24, "height": 20}))
            .collect();
        let boxes: Vec<Value> = (1..=pictures.len())
            .map(|id| json!({"id": id, "image_id": id, "category_id": 1, "bbox": [2, 3, 9, 8]}))
            .collect();
        write(folder.path(), set, &images, &boxes, "ring");
    }
    folder
}

fn write(folder: &Path, set: &str, images: &[Value], boxes: &[Value], class: &str) {
    let file = json!({"images": images, "annotations": boxes,
        "categories": [{"id": 1, "name": class}]});
    std::fs::write(folder.join(set), file.to_string()).expect("writes");
}

fn examined(folder: &TempDir) -> Health {
    let set = |name: &str| {
        let file = folder.path().join(format!("{name}.json"));
        (name.to_owned(), DatasetConfig::new(file, folder.path()))
    };
    examine(&[set("train"), set("val")], 2).expect("reads")
}

/// Severities and texts, with the folder replaced by `DIR`.
fn told(folder: &TempDir) -> Vec<(Severity, String)> {
    let path = folder.path().display().to_string();
    let row = |finding: &Finding| (finding.severity, finding.to_string().replace(&path, "DIR"));
    examined(folder).findings.iter().map(row).collect()
}

/// Some finding begins so.
fn has(found: &[(Severity, String)], severity: Severity, part: &str) {
    let has = found
        .iter()
        .any(|(s, text)| *s == severity && text.contains(part));
    assert!(has, "`{part}` ({severity:?}) is not in: {found:#?}");
}

#[test]
fn a_good_dataset_has_numbers_and_few_words() {
    let folder = folder(&[("a.png", 1), ("b.png", 2)], &[("c.png", 7)]);
    let health = examined(&folder);
    let train = &health.sets[0];
    assert_eq!((train.images, train.boxes, train.pictures), (2, 2, 2));
    assert_eq!((train.classes[0].boxes, train.classes[0].images), (2, 2));
    let found = told(&folder);
    let worst = found.iter().map(|(severity, _)| *severity).max();
    assert_eq!(worst, Some(Severity::Note), "{found:?}");
    has(
        &found,
        Severity::Note,
        "DIR/train.json: 1 class has fewer than 10 boxes: `ring` 2",
    );
}

#[test]
fn pictures_that_sets_share_are_found_by_path_and_by_content() {
    let folder = folder(&[("a.png", 1), ("b.png", 2)], &[("a.png", 1), ("c.png", 2)]);
    let found = told(&folder);
    has(
        &found,
        Severity::Warning,
        "val.json: 1 of 2 images are trained on as well",
    );
    let copy = "val.json: 1 of 2 pictures are in DIR/train.json too, under other names (first: \
                DIR/c.png and DIR/b.png)";
    has(&found, Severity::Warning, copy);
}

#[test]
fn pictures_that_look_alike_are_noted() {
    let folder = folder(&[("a.png", 3)], &[("b.png", 5)]);
    let picture = image::open(folder.path().join("a.png")).expect("reads");
    picture
        .brighten(9)
        .save(folder.path().join("b.png"))
        .expect("writes");
    has(
        &told(&folder),
        Severity::Note,
        "1 of 1 pictures look like some in DIR/train.json",
    );
}

#[test]
fn pictures_that_stop_training_are_errors() {
    let folder = folder(&[("a.png", 1), ("b.png", 2), ("c.png", 3)], &[("d.png", 4)]);
    std::fs::remove_file(folder.path().join("a.png")).expect("removes");
    std::fs::write(folder.path().join("b.png"), "<html>").expect("writes");
    image::GrayImage::new(20, 24)
        .save(folder.path().join("c.png"))
        .expect("writes");
    let found = told(&folder);
    has(
        &found,
        Severity::Error,
        "train.json: 1 of 3 images are missing in DIR, first `a.png`",
    );
    has(
        &found,
        Severity::Error,
        "1 of 2 pictures cannot be used, the first because: cannot decode",
    );
    has(
        &found,
        Severity::Error,
        "1 of 2 pictures have another size than declared",
    );
}

#[test]
fn copies_within_a_set_and_other_classes_are_found() {
    let folder = folder(&[("a.png", 1), ("b.png", 1)], &[("c.png", 2)]);
    let images = [json!({"id": 1, "file_name": "c.png", "width": 24, "height": 20})];
    write(folder.path(), "val.json", &images, &[], "star");
    let found = told(&folder);
    has(
        &found,
        Severity::Warning,
        "train.json: 1 picture is there under another name too",
    );
    has(
        &found,
        Severity::Error,
        "val.json: DIR/train.json lacks its classes `star`",
    );
    has(
        &found,
        Severity::Note,
        "val.json: 1 of 1 images have no box",
    );
}

//! Folders as people have them, prepared for training.

use aweigh_data::formats::{Prepared, prepare};
use aweigh_data::{DataError, DatasetConfig, Existing, Purpose};
use tempfile::TempDir;

use super::{folder, object, xml};

fn prepared(folder: &TempDir) -> Result<Prepared, DataError> {
    let made = folder.path().join("made");
    prepare(&folder.path().join("data"), &made, Existing::Refuse)
}

/// Numbers of images to train on and to validate on.
fn counts(prepared: &Prepared) -> [usize; 2] {
    [&prepared.train, &prepared.val].map(|set| {
        let config = DatasetConfig {
            filter_empty: false,
            ..DatasetConfig::new(&set.annotations, &set.images)
        };
        let dataset = aweigh_data::CocoDataset::open(&config, Purpose::Evaluate).expect("opens");
        aweigh_data::check_files(&dataset).expect("every image is there");
        dataset.images().len()
    })
}

fn json(names: &[&str]) -> String {
    let images = names.iter().zip(1..).map(|(name, id)| {
        format!(r#"{{"id": {id}, "file_name": "{name}", "width": 40, "height": 30}}"#)
    });
    let boxes = (1..=names.len()).map(|id| {
        format!(r#"{{"id": {id}, "image_id": {id}, "category_id": 1, "bbox": [1, 1, 9, 9]}}"#)
    });
    let [images, boxes] = [images.collect::<Vec<_>>(), boxes.collect()].map(|list| list.join(","));
    format!(
        r#"{{"images": [{images}], "annotations": [{boxes}],
        "categories": [{{"id": 1, "name": "cell"}}]}}"#
    )
}

#[test]
fn sets_of_coco_are_taken_as_they_are() {
    let folder = folder(&[
        (
            "data/train/_annotations.coco.json",
            &json(&["a.png", "b.png"]),
        ),
        ("data/train/a.png", ""),
        ("data/train/b.png", ""),
        ("data/valid/_annotations.coco.json", &json(&["c.png"])),
        ("data/valid/c.png", ""),
    ]);
    let prepared = prepared(&folder).expect("is known");
    assert_eq!(counts(&prepared), [2, 1]);
    assert!(prepared.notes.is_empty() && !folder.path().join("made").exists());
}

#[test]
fn sets_may_share_the_names_of_their_images() {
    let json = json(&["1.png", "2.png"]);
    let folder = folder(&[
        ("data/annotations/instances_train.json", &json),
        ("data/annotations/instances_val.json", &json),
        ("data/train/1.png", ""),
        ("data/train/2.png", ""),
        ("data/val/1.png", ""),
        ("data/val/2.png", ""),
    ]);
    let prepared = prepared(&folder).expect("is known");
    assert_eq!(prepared.train.images, folder.path().join("data/train"));
    assert_eq!(prepared.val.images, folder.path().join("data/val"));
}

#[test]
fn a_set_to_validate_on_is_split_off() {
    let names = ["a.png", "b.png", "c.png", "d.png", "e.png"];
    let json = json(&names);
    let mut files = vec![("data/labels.json".to_owned(), json.as_str())];
    files.extend(
        names
            .iter()
            .map(|name| (format!("data/pictures/{name}"), "")),
    );
    let files: Vec<(&str, &str)> = files
        .iter()
        .map(|(name, text)| (name.as_str(), *text))
        .collect();
    let folder = folder(&files);
    let prepared = prepared(&folder).expect("is known");
    assert_eq!(counts(&prepared), [4, 1]);
    assert!(
        prepared.notes[0].starts_with("1 of 5 images split off"),
        "{:?}",
        prepared.notes
    );
}

#[test]
fn other_formats_are_converted_beside_the_dataset() {
    let file = |name: &str| xml(name, &object("dog", [1.0, 2.0, 10.0, 20.0], ""));
    let folder = folder(&[
        ("data/train/a.xml", &file("a.png")),
        ("data/train/a.png", ""),
        ("data/test/b.xml", &file("b.png")),
        ("data/test/b.png", ""),
    ]);
    let prepared = prepared(&folder).expect("is known");
    assert_eq!(counts(&prepared), [1, 1]);
    assert!(
        prepared.notes[0].starts_with("converted from voc into"),
        "{:?}",
        prepared.notes
    );
    assert!(
        folder
            .path()
            .join("made/coco/annotations/instances_test.json")
            .exists()
    );
}

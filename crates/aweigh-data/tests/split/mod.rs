//! Annotation files that are split.

use std::collections::BTreeSet;
use std::path::Path;

use aweigh_data::Existing;
use aweigh_data::split::{Balance, SplitOptions, split};
use serde_json::{Value, json};

fn options(val: f64) -> SplitOptions {
    SplitOptions {
        val,
        test: 0.0,
        seed: 0,
        group_by: None,
        balance: Balance::Random,
        existing: Existing::Refuse,
    }
}

/// Twenty images of five scenes, each with a box and keys that nobody knows.
fn records() -> (Vec<Value>, Vec<Value>) {
    let image = |id: usize| {
        json!({"id": id, "file_name": format!("s{}_{id}.png", id / 4), "width": 9, "height": 9,
               "licence": id, "when": "2020-01-01"})
    };
    let annotation = |id: usize| {
        json!({"id": id, "image_id": id, "category_id": 1 + id % 2, "bbox": [1, 1, 3.25, 3],
               "segmentation": [[1, 2, 3, 4, 5, 6]], "attributes": {"x": [null]}})
    };
    (
        (0..20).map(image).collect(),
        (0..20).map(annotation).collect(),
    )
}

fn write(path: &Path, (images, annotations): &(Vec<Value>, Vec<Value>)) {
    let file = json!({"info": {"year": 2020}, "images": images, "licenses": [1],
        "annotations": annotations,
        "categories": [{"id": 2, "name": "b", "keypoints": []}, {"id": 1, "name": "a"}]});
    std::fs::write(path, file.to_string()).expect("writes");
}

fn read(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).expect("reads")).expect("JSON")
}

/// The names of the images to validate on.
fn validated(records: &(Vec<Value>, Vec<Value>), options: &SplitOptions) -> BTreeSet<String> {
    let folder = tempfile::tempdir().expect("temporary folder");
    let file = folder.path().join("a.json");
    write(&file, records);
    let out = folder.path().join("out");
    let sets = split(&file, &out, options).expect("splits");
    let images = read(&sets[1].file)["images"].clone();
    let images = images.as_array().expect("a list").iter();
    images
        .map(|image| image["file_name"].as_str().expect("text").to_owned())
        .collect()
}

#[test]
fn sets_share_nothing_and_keep_every_key() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let file = folder.path().join("a.json");
    let records = records();
    write(&file, &records);
    let out = folder.path().join("out");
    let options = SplitOptions {
        test: 0.1,
        ..options(0.2)
    };
    let sets = split(&file, &out, &options).expect("splits");
    let counts: Vec<_> = sets.iter().map(|set| (set.name, set.images)).collect();
    assert_eq!(counts, [("train", 14), ("val", 4), ("test", 2)]);
    let mut all = (Vec::new(), Vec::new());
    for set in &sets {
        let mut value = read(&set.file);
        assert_eq!(value["info"]["year"], 2020);
        assert_eq!(value["categories"][0]["keypoints"], json!([]));
        let keys: Vec<&String> = value.as_object().expect("an object").keys().collect();
        assert_eq!(
            keys,
            ["info", "images", "licenses", "annotations", "categories"]
        );
        let boxes: usize = set.boxes.iter().map(|(_, count)| count).sum();
        assert_eq!(boxes, set.images);
        all.0
            .append(value["images"].as_array_mut().expect("a list"));
        all.1
            .append(value["annotations"].as_array_mut().expect("a list"));
    }
    let sorted = |mut list: Vec<Value>| {
        list.sort_by_key(|value| value["id"].as_u64());
        list
    };
    assert_eq!(sorted(all.0), records.0);
    assert_eq!(sorted(all.1), records.1);
}

#[test]
fn the_order_of_the_file_does_not_matter_but_the_seed_does() {
    let mut turned = records();
    turned.0.reverse();
    turned.1.reverse();
    let first = validated(&records(), &options(0.25));
    assert_eq!(first.len(), 5);
    assert_eq!(validated(&turned, &options(0.25)), first);
    let other = SplitOptions {
        seed: 1,
        ..options(0.25)
    };
    assert_ne!(validated(&records(), &other), first);
    let balanced = |records| {
        let options = SplitOptions {
            balance: Balance::Classes,
            ..options(0.25)
        };
        validated(records, &options)
    };
    assert_eq!(balanced(&turned), balanced(&records()));
}

#[test]
fn images_of_a_group_stay_together() {
    let options = SplitOptions {
        group_by: Some("^(s[0-9]+)_".parse().expect("a pattern")),
        ..options(0.4)
    };
    let names = validated(&records(), &options);
    assert_eq!(names.len(), 8);
    let scenes: BTreeSet<&str> = names.iter().map(|name| &name[..2]).collect();
    assert_eq!(scenes.len(), 2);
}

#[test]
fn what_cannot_be_split_says_why() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let file = folder.path().join("a.json");
    write(&file, &records());
    let check = |options: SplitOptions, part: &str| {
        let out = folder.path().join("out");
        let error = split(&file, &out, &options)
            .expect_err("is wrong")
            .to_string();
        assert!(error.contains(part), "`{part}` is not in: {error}");
        assert!(!out.exists());
    };
    check(options(0.0), "`val`: 0; expected a part between 0 and 1");
    check(
        options(0.01),
        "a.json: of its 20 images, none is left for `val`",
    );
    let both = SplitOptions {
        test: 0.5,
        ..options(0.5)
    };
    check(both, "nothing is left to train on");
    let error = split(&file, folder.path(), &options(0.5)).expect_err("exists");
    assert!(error.to_string().contains("exists already"), "{error}");
}

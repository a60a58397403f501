//! Annotation files: what is kept, what is dropped, what is an error.

use aweigh_data::{CocoDataset, DatasetConfig, DatasetStats, HostBatch, Purpose, TransformConfig};
use serde_json::{Value, json};

use crate::fixture::{Fixture, file};

/// Three images: 1 has annotations, 2 has none, 3 is small.
fn images() -> Value {
    json!([
        {"id": 1, "file_name": "1.png", "width": 100, "height": 80},
        {"id": 2, "file_name": "2.png", "width": 100, "height": 80},
        {"id": 3, "file_name": "3.png", "width": 100, "height": 20},
    ])
}

fn annotation(id: u64, bbox: [f64; 4]) -> Value {
    json!({"id": id, "image_id": 1, "category_id": 3, "bbox": bbox})
}

fn with(mut annotation: Value, key: &str, value: Value) -> Value {
    annotation[key] = value;
    annotation
}

#[test]
fn categories_are_labels_in_the_order_of_their_ids() {
    let label_7 = with(annotation(1, [0.0, 0.0, 5.0, 5.0]), "category_id", json!(7));
    let fixture = Fixture::new(&file(images(), json!([label_7])));
    let dataset = fixture.open(Purpose::Evaluate).expect("opens");
    let names: Vec<&str> = dataset
        .classes()
        .iter()
        .map(|class| class.name.as_str())
        .collect();
    assert_eq!(names, ["first", "a", "b"]);
    assert_eq!(dataset.images()[0].truth.labels, [2]);
    assert_eq!(dataset.category_id(2), 7);
    assert_eq!(dataset.image_path(1), fixture.image(2));
}

#[test]
fn boxes_ignore_regions_and_degenerate_annotations() {
    let good = [10.0, 20.0, 30.5, 40.0];
    let annotations = json!([
        annotation(1, good),
        with(annotation(2, good), "iscrowd", json!(1)),
        with(annotation(3, good), "ignore", json!(1)),
        with(annotation(4, good), "ignore", json!(true)),
        with(annotation(5, good), "ignore", json!(0)),
        annotation(6, [10.0, 20.0, 0.5, 40.0]),
        annotation(7, [10.0, 20.0, 30.0, 0.0]),
        annotation(8, [10.0, 20.0, -5.0, 5.0]),
        with(annotation(9, good), "area", json!(0)),
        annotation(10, [100.0, 0.0, 10.0, 10.0]),
        annotation(11, [0.0, -10.0, 10.0, 10.0]),
        annotation(12, [-5.0, 75.0, 10.0, 10.0]),
    ]);
    let fixture = Fixture::new(&file(images(), annotations));
    let dataset = fixture.open(Purpose::Evaluate).expect("opens");
    let truth = &dataset.images()[0].truth;
    let corners = [10.0, 20.0, 40.5, 60.0];
    // A box that only sticks out is kept as it is.
    assert_eq!(truth.boxes, [corners, corners, [-5.0, 75.0, 5.0, 85.0]]);
    assert_eq!(truth.ignore, [corners; 3]);
    let expected = DatasetStats {
        images: 3,
        boxes: 3,
        ignore_regions: 3,
        dropped_tiny: 3,
        dropped_area: 1,
        dropped_outside: 2,
        ..DatasetStats::default()
    };
    assert_eq!(dataset.stats(), &expected);
    assert_eq!(dataset.stats().dropped(), 6);
}

#[test]
fn filters_apply_to_training_only() {
    let small = json!({"id": 2, "image_id": 3, "category_id": 3, "bbox": [1, 1, 5, 5]});
    let annotations = json!([annotation(1, [0.0, 0.0, 5.0, 5.0]), small]);
    let mut fixture = Fixture::new(&file(images(), annotations));
    let mut check = |filter_empty, min_size, purpose, expected: &[i64]| {
        fixture.config.filter_empty = filter_empty;
        fixture.config.min_size = min_size;
        let dataset = fixture.open(purpose).expect("opens");
        let ids: Vec<i64> = dataset.images().iter().map(|image| image.id).collect();
        assert_eq!(ids, expected, "{filter_empty} {min_size} {purpose:?}");
        let stats = dataset.stats();
        assert_eq!(stats.filtered_empty + stats.filtered_small, 3 - ids.len());
    };
    check(true, 0, Purpose::Train, &[1, 3]);
    check(true, 32, Purpose::Train, &[1]);
    check(false, 32, Purpose::Train, &[1, 2]);
    check(false, 0, Purpose::Train, &[1, 2, 3]);
    check(true, 32, Purpose::Evaluate, &[1, 2, 3]);
}

#[test]
fn an_image_with_only_an_ignore_region_is_not_empty() {
    let crowd = with(annotation(1, [0.0, 0.0, 5.0, 5.0]), "iscrowd", json!(1));
    let fixture = Fixture::new(&file(images(), json!([crowd])));
    let dataset = fixture.open(Purpose::Train).expect("opens");
    assert_eq!(dataset.images().len(), 1);
    assert!(dataset.images()[0].truth.boxes.is_empty());
}

#[test]
fn configuration_is_strict_and_has_defaults() {
    let parse = serde_json::from_str::<DatasetConfig>;
    let config = parse(r#"{"annotations": "a.json", "images": "i"}"#).expect("parses");
    assert_eq!(config, DatasetConfig::new("a.json", "i"));
    assert!(config.filter_empty && config.min_size == 32);
    let error = parse(r#"{"annotations": "a.json", "images": "i", "min_sice": 3}"#);
    let message = error.expect_err("unknown key").to_string();
    assert!(message.contains("unknown field `min_sice`"), "{message}");
}

/// Opens for training and compares the message.
fn check_error(annotations: &str, expected: &str) {
    let fixture = Fixture::new(annotations);
    let error = fixture.open(Purpose::Train).expect_err(expected);
    assert_eq!(fixture.message(&error), expected);
}

#[test]
fn broken_json_names_line_and_column() {
    check_error(
        "{\n  \"images\": [\n    {\"id\": 1,}\n  ]\n}",
        "DIR/a.json:3:14: not a COCO annotation file: trailing comma",
    );
    check_error(
        "{\"images\": 3}",
        "DIR/a.json:1:13: not a COCO annotation file: invalid type: integer `3`, expected `images` \
         to be a list of records",
    );
}

#[test]
fn inconsistent_files_name_the_record() {
    let good = annotation(4, [0.0, 0.0, 5.0, 5.0]);
    let check = |annotation: Value, expected: &str| {
        let annotations = json!([good.clone(), annotation]);
        check_error(&file(images(), annotations), expected);
    };
    check(
        with(annotation(5, [0.0; 4]), "image_id", json!(9)),
        "DIR/a.json: annotation 5 has image_id 9, which is not in `images`",
    );
    check(
        with(annotation(5, [0.0; 4]), "category_id", json!(2)),
        "DIR/a.json: annotation 5 has category_id 2, which is not in `categories`",
    );
    check(
        good.clone(),
        "DIR/a.json: two records in `annotations` have the id 4; ids must be unique",
    );
    check(
        annotation(5, [0.0, 0.0, 1e300, 5.0]),
        "DIR/a.json: `annotations[1]` (id 5): `bbox` is [0, 0, 1e300, 5]; expected numbers that \
         are not too large for a coordinate",
    );
}

#[test]
fn inconsistent_images_and_categories() {
    let check_images = |image: Value, expected: &str| {
        check_error(&file(json!([image]), json!([])), expected);
    };
    check_images(
        json!({"id": 8, "file_name": "8.png", "width": 100}),
        "DIR/a.json: image 8: `width` and `height` must be given and positive",
    );
    check_images(
        json!({"id": 8, "width": 100, "height": 50}),
        "DIR/a.json: image 8: no `file_name`",
    );
    let twice = json!([images()[0], images()[0]]);
    check_error(
        &file(twice, json!([])),
        "DIR/a.json: two records in `images` have the id 1; ids must be unique",
    );
    let categories = json!([{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]);
    check_error(
        &json!({"images": images(), "categories": categories}).to_string(),
        "DIR/a.json: two records in `categories` have the id 1; ids must be unique",
    );
}

#[test]
fn nothing_left_to_train_on() {
    check_error(
        &json!({"images": images()}).to_string(),
        "DIR/a.json: no categories; `categories` must list at least one",
    );
    check_error(
        &file(json!([]), json!([])),
        "DIR/a.json: no images; `images` must list at least one",
    );
    check_error(
        &file(images(), json!([])),
        "DIR/a.json: no image left: 3 without boxes (`filter_empty`), 0 with a side below 0 px \
         (`min_size`); boxes left out: 0 less than 1 px wide or high, 0 with an `area` of zero or \
         less, 0 outside of their image",
    );
}

#[test]
fn missing_files() {
    let mut fixture = Fixture::new(&file(images(), json!([])));
    let images = fixture.config.images.clone();
    fixture.config.images = images.join("none");
    let error = fixture.open(Purpose::Evaluate).expect_err("no folder");
    assert_eq!(
        fixture.message(&error),
        "image folder DIR/none does not exist or is not a folder"
    );
    fixture.config.annotations = images.join("none.json");
    let error = fixture.open(Purpose::Evaluate).expect_err("no file");
    let message = fixture.message(&error);
    let start = "cannot read annotation file DIR/none.json: ";
    assert!(message.starts_with(start), "{message}");
    assert_eq!(message.matches("none.json").count(), 1, "{message}");
}

#[test]
fn an_image_is_found_by_the_end_of_its_path() {
    let image = |id, name: &str| json!({"id": id, "file_name": name, "width": 9, "height": 9});
    let images = json!([image(1, "a.png"), image(2, "sub/a.png"), image(3, "b.png")]);
    let fixture = Fixture::new(&file(images, json!([])));
    let folder = fixture.config.images.clone();
    let write = |name: &str| {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("makes");
        std::fs::write(&path, []).expect("writes");
        path
    };
    let check = |name: &str, id| {
        let path = write(name);
        let found = CocoDataset::open_image(&fixture.config.annotations, &path);
        let (dataset, index) = found.expect(name);
        assert_eq!(dataset.images()[index].id, id, "{name}");
        assert_eq!(dataset.image_path(index), path);
    };
    check("a.png", 1);
    check("sub/a.png", 2);
    check("elsewhere/a.png", 1);
    check("elsewhere/sub/a.png", 2);
    let refuse = |path: &std::path::Path, expected: &str| {
        let error = CocoDataset::open_image(&fixture.config.annotations, path);
        let message = fixture.message(&error.expect_err("no record"));
        assert!(message.starts_with(expected), "{message}");
    };
    refuse(
        &write("c.png"),
        "DIR/c.png is not in DIR/a.json: none of its 3 images has a `file_name` that this path \
         ends with (the first is `a.png`)",
    );
    refuse(&folder.join("no.png"), "cannot read image DIR/no.png: ");
}

/// A fixture whose images have these names, and the files of these names below its folder.
fn named(records: &[&str], files: &[&str]) -> Fixture {
    let fixture = Fixture::new("");
    let folder = &fixture.config.images;
    let record = |(id, name): (usize, &&str)| {
        let name = name.replace("DIR", &folder.display().to_string());
        json!({"id": id + 1, "file_name": name, "width": 9, "height": 9})
    };
    let images: Vec<Value> = records.iter().enumerate().map(record).collect();
    let text = file(json!(images), json!([]));
    std::fs::write(&fixture.config.annotations, text).expect("writes");
    for name in files {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("makes");
        std::fs::write(&path, []).expect("writes");
    }
    fixture
}

/// Opens the image `path` of a fixture: its id or the message.
fn open_image(fixture: &Fixture, path: &str) -> Result<i64, String> {
    let image = fixture.config.images.join(path);
    let found = CocoDataset::open_image(&fixture.config.annotations, &image);
    let (dataset, index) = found.map_err(|error| fixture.message(&error))?;
    let file = dataset.image_path(index).canonicalize();
    assert_eq!(file.expect("a file"), image.canonicalize().expect("a file"));
    Ok(dataset.images()[index].id)
}

#[test]
fn every_spelling_of_a_file_name_is_found() {
    let records = ["./a.png", "DIR/b.png", "sub/./c.png"];
    let fixture = named(&records, &["a.png", "b.png", "sub/c.png", "sub/d/e.png"]);
    let check = |path, id| assert_eq!(open_image(&fixture, path), Ok(id), "{path}");
    check("a.png", 1);
    check("./a.png", 1);
    check("sub/../a.png", 1);
    check("b.png", 2);
    check("sub/../b.png", 2);
    check("sub/c.png", 3);
    check("sub/d/../c.png", 3);
}

#[test]
fn what_is_no_single_image_is_refused() {
    let fixture = named(&["a.png", "./a.png", "b.png"], &["a.png", "sub/c.png"]);
    let check = |path, expected: &str| {
        assert_eq!(open_image(&fixture, path), Err(expected.to_owned()));
    };
    check(
        "a.png",
        "DIR/a.png is in DIR/a.json more than once: the images 1, 2 have its `file_name`, \
         expected one",
    );
    check("sub", "DIR/sub: expected an image, but this is a folder");
}

#[test]
fn a_known_folder_tells_images_of_one_name_apart() {
    let records = ["a.png", "./b.png", "DIR/c.png", "../d.png"];
    let files = [
        "val/a.png",
        "val/b.png",
        "c.png",
        "d.png",
        "train/a.png",
        "val/sub/a.png",
    ];
    let fixture = named(&records, &files);
    let folder = fixture.config.images.join("val");
    let config = DatasetConfig::new(&fixture.config.annotations, &folder);
    let mut dataset = CocoDataset::open(&config, Purpose::Evaluate).expect("opens");
    let mut check = |path: &str, expected: Result<i64, &str>| {
        let image = fixture.config.images.join(path);
        let found = dataset.find_in(&folder, &image);
        let id = found.map(|index| dataset.images()[index].id);
        let id = id.map_err(|error| fixture.message(&error));
        assert_eq!(id, expected.map_err(str::to_owned), "{path}");
    };
    check("val/a.png", Ok(1));
    check("train/../val/a.png", Ok(1));
    check("val/b.png", Ok(2));
    check("c.png", Ok(3));
    check("d.png", Ok(4));
    check(
        "train/a.png",
        Err(
            "DIR/train/a.png is not in DIR/val, the folder that the configuration has for \
             DIR/a.json",
        ),
    );
    check(
        "val/sub/a.png",
        Err(
            "DIR/val/sub/a.png is not in DIR/a.json: none of its 4 images has the `file_name` \
             `sub/a.png` (the first is `a.png`)",
        ),
    );
}

#[test]
#[cfg(unix)]
fn links_are_followed_only_where_their_own_name_is_not_found() {
    let files = ["store/1.png", "store/2.png"];
    let fixture = named(&["one/a.png", "two/a.png", "store/2.png"], &files);
    let folder = fixture.config.images.clone();
    let link = |to: &str, from: &str| {
        let from = folder.join(from);
        std::fs::create_dir_all(from.parent().expect("a folder")).expect("makes");
        std::os::unix::fs::symlink(folder.join(to), from).expect("links");
    };
    // Equal images of a deduplicated dataset are links to one file.
    link("store/1.png", "one/a.png");
    link("store/1.png", "two/a.png");
    link("store/2.png", "elsewhere.png");
    let mut dataset = fixture.open(Purpose::Evaluate).expect("opens");
    let mut check = |path: &str, id: i64| {
        assert_eq!(open_image(&fixture, path), Ok(id), "{path}");
        let index = dataset.find_in(&folder, &folder.join(path)).expect(path);
        assert_eq!(dataset.images()[index].id, id, "{path}");
    };
    check("one/a.png", 1);
    check("two/a.png", 2);
    check("elsewhere.png", 3);
}

#[test]
fn one_image_is_transformed_as_in_evaluation() {
    let fixture = Fixture::with_images();
    let (dataset, index) =
        CocoDataset::open_image(&fixture.config.annotations, &fixture.image(3)).expect("opens");
    let transform = TransformConfig {
        short_edge: 48,
        flip_prob: 1.0,
        ..TransformConfig::default()
    };
    let batch = HostBatch::from_dataset(&dataset, index, &transform).expect("loads");
    assert_eq!(batch.shape, [1, 3, 64, 64]);
    assert_eq!(batch.meta[0].image_id, 3);
    assert_eq!(batch.truth[0].boxes, [[6.0, 4.0, 16.0, 16.0]]);
}

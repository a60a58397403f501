//! Several annotation files as one dataset.

use aweigh_data::{
    CocoDataset, DataError, DatasetConfig, DatasetStats, Finding, HostBatch, Purpose,
    TransformConfig, check_files, look_into, shared_pictures,
};
use serde_json::{Value, json};

use crate::fixture::Fixture;

/// A file of one image, called by its name, with a box of each of these categories.
fn fixture(name: &str, categories: &[(i64, &str)]) -> Fixture {
    let boxes = categories.iter().enumerate().map(
        |(at, (id, _))| json!({"id": at, "image_id": 1, "category_id": id, "bbox": [at, 2, 5, 6]}),
    );
    let names = categories
        .iter()
        .map(|(id, name)| json!({"id": id, "name": name}));
    let file = json!({
        "images": [{"id": 1, "file_name": name, "width": 40, "height": 30}],
        "annotations": boxes.collect::<Vec<Value>>(),
        "categories": names.collect::<Vec<Value>>(),
    });
    let fixture = Fixture::new(&file.to_string());
    let picture = image::RgbImage::new(40, 30);
    picture
        .save(fixture.config.images.join(name))
        .expect("writes");
    fixture
}

fn open(fixtures: &[&Fixture]) -> Result<CocoDataset, DataError> {
    let configs: Vec<DatasetConfig> = fixtures.iter().map(|f| f.config.clone()).collect();
    CocoDataset::open_all(&configs, Purpose::Train)
}

fn texts(findings: &[Finding]) -> Vec<&str> {
    findings.iter().map(|finding| &*finding.text).collect()
}

#[test]
fn classes_are_matched_by_name() {
    let check = |files: &[&[(i64, &str)]], classes: &[(i64, &str)], labels: &[&[usize]]| {
        let names = ["a.png", "b.png", "c.png"];
        let fixtures: Vec<Fixture> = files
            .iter()
            .zip(names)
            .map(|(categories, name)| fixture(name, categories))
            .collect();
        let dataset = open(&fixtures.iter().collect::<Vec<_>>()).expect("opens");
        let found: Vec<(i64, &str)> = dataset
            .classes()
            .iter()
            .map(|class| (class.id, &*class.name))
            .collect();
        assert_eq!(found, classes);
        let found: Vec<&[usize]> = dataset
            .images()
            .iter()
            .map(|image| &*image.truth.labels)
            .collect();
        assert_eq!(found, labels);
    };
    let both = [(1, "cat"), (2, "dog")];
    check(&[&both, &both], &both, &[&[0, 1], &[0, 1]]);
    let exchanged = [(1, "dog"), (2, "cat")];
    // The boxes are in the order of the file, the labels in that of the first file.
    check(&[&both, &exchanged], &both, &[&[0, 1], &[1, 0]]);
    check(
        &[&[(3, "cat"), (1, "dog")], &[(9, "cat")]],
        &[(1, "dog"), (3, "cat")],
        &[&[1, 0], &[1]],
    );
    // Each file adds what is new in it; ids that are taken give way to free ones.
    check(
        &[
            &[(2, "cat")],
            &[(2, "dog"), (7, "cat")],
            &[(1, "bird"), (2, "dog")],
        ],
        &[(2, "cat"), (1, "dog"), (3, "bird")],
        &[&[0], &[1, 0], &[2, 1]],
    );
    check(&[&both], &both, &[&[0, 1]]);
}

#[test]
fn equal_names_in_one_file_cannot_be_matched() {
    let twice = fixture("a.png", &[(1, "cat"), (2, "cat")]);
    let once = fixture("b.png", &[(1, "cat")]);
    for fixtures in [[&twice, &once], [&once, &twice]] {
        let error = open(&fixtures).expect_err("ambiguous");
        assert_eq!(
            twice.message(&error),
            "DIR/a.json: two categories are called `cat`; annotation files are put together by \
             the names of their categories, which must be unique"
        );
    }
    assert!(open(&[&twice]).is_ok());
}

#[test]
fn a_class_that_a_file_lacks_is_told() {
    let first = fixture("a.png", &[(1, "cat"), (2, "dog")]);
    let second = fixture("b.png", &[(1, "cat"), (2, "bird"), (3, "fish")]);
    let dataset = open(&[&first, &second]).expect("opens");
    let expected = [
        "does not have 2 of the 4 classes of all annotation files together: `bird`, `fish`; \
         objects of these in its images count as background",
        "does not have 1 of the 4 classes of all annotation files together: `dog`; objects of \
         these in its images count as background",
    ];
    assert_eq!(texts(dataset.findings()), expected);
    assert_eq!(dataset.findings()[0].file, first.config.annotations);
    let same = fixture("c.png", &[(5, "dog"), (6, "cat")]);
    let dataset = open(&[&first, &same]).expect("opens");
    assert_eq!(texts(dataset.findings()), [""; 0]);
}

#[test]
fn images_keep_their_file_and_folder() {
    let first = fixture("a.png", &[(1, "cat")]);
    let second = fixture("a.png", &[(1, "cat"), (2, "dog")]);
    let dataset = open(&[&first, &second]).expect("opens");
    assert_eq!(dataset.image_path(0), first.config.images.join("a.png"));
    assert_eq!(dataset.image_path(1), second.config.images.join("a.png"));
    let expected = DatasetStats {
        images: 2,
        boxes: 3,
        ..DatasetStats::default()
    };
    assert_eq!(dataset.stats(), &expected);
    let parts = dataset.parts().iter();
    let parts: Vec<_> = parts
        .map(|part| (part.images.clone(), part.boxes, part.digest.len()))
        .collect();
    assert_eq!(parts, [(0..1, 1, 64), (1..2, 2, 64)]);
    let name = format!("{} and 1 other file", first.config.annotations.display());
    assert_eq!(dataset.name(), name);
    assert_eq!(look_into(&dataset, 2, || true).looked, 2);
    assert!(check_files(&dataset).is_ok());
    let val = second.open(Purpose::Evaluate).expect("opens");
    let shared = shared_pictures(&dataset, &val).expect("the second is shared");
    let expected = format!("1 of 1 images are trained on as well, by {name} (first: `a.png`)");
    assert!(shared.text.starts_with(&expected), "{}", shared.text);
}

#[test]
fn what_is_wrong_names_the_file() {
    let first = fixture("a.png", &[(1, "cat")]);
    let second = fixture("b.png", &[(1, "cat")]);
    let dataset = open(&[&first, &second]).expect("opens");
    let larger = image::RgbImage::new(50, 30);
    larger
        .save(second.config.images.join("b.png"))
        .expect("writes");
    let transform = TransformConfig::default();
    let error = HostBatch::from_dataset(&dataset, 1, &transform).expect_err("another size");
    assert_eq!(
        second.message(&error),
        "image DIR/b.png is 50x30 pixels (width x height), but DIR/a.json declares 40x30"
    );
    std::fs::remove_file(second.config.images.join("b.png")).expect("removes");
    let error = check_files(&dataset).expect_err("one is missing");
    let message = second.message(&error);
    assert!(
        message.starts_with("1 of the 1 images of DIR/a.json"),
        "{message}"
    );
    std::fs::remove_file(first.config.images.join("a.png")).expect("removes");
    let error = check_files(&dataset).expect_err("both are missing");
    let message = second.message(&error);
    assert_eq!(message.lines().count(), 2, "{message}");
    let last = message.lines().last().expect("two lines");
    assert!(
        last.starts_with("1 of the 1 images of DIR/a.json"),
        "{last}"
    );
    let empty =
        Fixture::new(&json!({"images": [], "annotations": [], "categories": []}).to_string());
    let error = open(&[&first, &empty]).expect_err("no images");
    assert!(empty.message(&error).starts_with("DIR/a.json: "), "{error}");
}

#[test]
fn pictures_of_two_files_are_told() {
    let first = fixture("a.png", &[(1, "cat")]);
    let mut second = fixture("a.png", &[(1, "cat")]);
    second.config.images = first.config.images.clone();
    let dataset = open(&[&first, &second]).expect("opens");
    let expected = format!(
        "1 image is in another annotation file as well (first: `a.png`, which is in {}): in each \
         of them, the objects of the other file count as background",
        first.config.annotations.display()
    );
    assert_eq!(texts(dataset.findings()), [expected]);
}

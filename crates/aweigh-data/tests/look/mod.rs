//! What is said of a dataset before anything is trained on it.

use aweigh_data::{
    CocoDataset, DatasetConfig, Finding, Purpose, Severity, check_files, shared_pictures,
};
use serde_json::{Value, json};

use crate::fixture::Fixture;

fn image(id: i64, name: &str) -> Value {
    json!({"id": id, "file_name": name, "width": 100, "height": 80})
}

fn annotation(id: i64, image: i64, bbox: [f64; 4]) -> Value {
    json!({"id": id, "image_id": image, "category_id": 1, "bbox": bbox})
}

fn categories() -> Value {
    json!([{"id": 1, "name": "ring"}])
}

fn fixture(images: Value, annotations: Value, categories: Value) -> Fixture {
    let file = json!({"images": images, "annotations": annotations, "categories": categories});
    Fixture::new(&file.to_string())
}

/// The findings about boxes in two images.
fn found(boxes: &[[f64; 4]], purpose: Purpose) -> Vec<String> {
    let boxes = boxes.iter().enumerate();
    let annotations: Vec<Value> = boxes
        .map(|(at, bbox)| annotation(at as i64 + 1, at as i64 % 2 + 1, *bbox))
        .collect();
    let images = json!([image(1, "a.png"), image(2, "b.png")]);
    let mut fixture = fixture(images, json!(annotations), categories());
    fixture.config.filter_empty = false;
    let dataset = fixture.open(purpose).expect("opens");
    texts(dataset.findings())
}

fn texts(findings: &[Finding]) -> Vec<String> {
    findings
        .iter()
        .map(|finding| finding.text.clone())
        .collect()
}

#[test]
fn ordinary_boxes_say_nothing() {
    let boxes = [
        [10.0, 20.0, 30.0, 40.0],
        [-3.0, 0.0, 50.0, 81.0],
        [60.0, 50.0, 40.0, 30.0],
    ];
    assert_eq!(found(&boxes, Purpose::Train), [""; 0]);
}

#[test]
fn boxes_left_out_are_counted_by_reason_in_training() {
    let boxes = [
        [10.0, 20.0, 0.5, 40.0],
        [10.0, 20.0, 30.0, 40.0],
        [100.0, 0.0, 5.0, 5.0],
        [1.0, 2.0, 0.0, 4.0],
    ];
    assert_eq!(
        found(&boxes, Purpose::Train),
        [
            "2 of 4 boxes are less than 1 px wide or high and are left out (first: annotation 1, \
             [10.0, 20.0, 0.5, 40.0])",
            "1 of 4 boxes lie outside of their image and are left out (first: annotation 3, \
             [100.0, 0.0, 5.0, 5.0])",
        ]
    );
    assert_eq!(found(&boxes, Purpose::Evaluate), [""; 0]);
}

#[test]
fn boxes_that_are_meant_otherwise_are_suspected() {
    let check = |boxes: &[[f64; 4]], expected: &str| {
        let found = found(boxes, Purpose::Evaluate);
        assert!(
            found.iter().any(|text| text.starts_with(expected)),
            "{found:?}"
        );
    };
    check(
        &[[0.1, 0.2, 0.3, 0.4], [0.5, 0.5, 0.5, 0.5]],
        "2 of 2 boxes lie within 0 to 1: they look normalised by the size of the image; expected \
         [x, y, width, height] in pixels (first: annotation 1, [0.1, 0.2, 0.3, 0.4])",
    );
    check(
        &[
            [45.0, 6.0, 77.0, 38.0],
            [44.0, 50.0, 60.0, 70.0],
            [3.0, 3.0, 30.0, 20.0],
        ],
        "2 of 3 boxes reach beyond their image, and all look like [x1, y1, x2, y2]; expected \
         [x, y, width, height]",
    );
    check(
        &[[90.0, 10.0, 40.0, 20.0], [10.0, 10.0, 20.0, 20.0]],
        "1 of 2 boxes lie more than half outside of their image (first: annotation 1",
    );
}

#[test]
fn only_crowds_leave_nothing_to_learn() {
    let mut crowd = annotation(1, 1, [10.0, 10.0, 20.0, 20.0]);
    crowd["iscrowd"] = json!(1);
    let fixture = fixture(json!([image(1, "a.png")]), json!([crowd]), categories());
    let dataset = fixture.open(Purpose::Train).expect("opens");
    let expected = "all 1 annotations are crowd or ignore regions (`iscrowd`, `ignore`): there is no \
                  box to learn";
    assert_eq!(texts(dataset.findings()), [expected]);
}

#[test]
fn what_is_there_twice_is_counted() {
    let bbox = [10.0, 10.0, 20.0, 20.0];
    let other = json!({"id": 4, "image_id": 1, "category_id": 2, "bbox": bbox});
    let annotations = json!([
        annotation(1, 1, bbox),
        annotation(2, 1, bbox),
        annotation(3, 2, bbox),
        other
    ]);
    let images = json!([image(1, "a.png"), image(2, "./a.png"), image(50, "b.png")]);
    let names = json!([{"id": 1, "name": "ring"}, {"id": 2, "name": "ring"}]);
    let fixture = fixture(images, annotations, names);
    let dataset = fixture.open(Purpose::Train).expect("opens");
    let expected = [
        "1 box is there twice, with the same class (first: [10.0, 10.0, 20.0, 20.0] of `ring` in \
         `a.png`)",
        "1 image has the file of another image (first: `./a.png` has the ids 1 and 2): in each of \
         them, the objects of the other count as background",
        "two categories are called `ring`, 1 and 2: they are learnt as two classes",
    ];
    assert_eq!(texts(dataset.findings()), expected);
}

#[test]
fn classes_without_boxes_are_named() {
    let check = |count: i64, expected: &str| {
        let names: Vec<Value> = (0..count)
            .map(|id| json!({"id": id, "name": format!("c{id}")}))
            .collect();
        let annotations = json!([annotation(1, 1, [10.0, 10.0, 20.0, 20.0])]);
        let fixture = fixture(json!([image(1, "a.png")]), annotations, json!(names));
        let dataset = fixture.open(Purpose::Train).expect("opens");
        let found = dataset.findings();
        assert_eq!(texts(found), [expected]);
        assert_eq!(found[0].severity, Severity::Note);
    };
    check(2, "class 0 `c0` has no boxes");
    check(4, "3 of 4 classes have no boxes: 0 `c0`, 2 `c2`, 3 `c3`");
    check(
        13,
        "12 of 13 classes have no boxes: 0 `c0`, 2 `c2`, 3 `c3`, 4 `c4`, 5 `c5`, 6 `c6`, 7 `c7`, \
         8 `c8`, 9 `c9`, 10 `c10`, ...",
    );
}

#[test]
fn missing_files_are_counted_with_the_likely_reason() {
    let names = [
        "a.png",
        "sub\\b.png",
        "x/C.png",
        "D.png",
        "E.png",
        "nowhere.png",
    ];
    let images: Vec<Value> = (0..).zip(names).map(|(id, name)| image(id, name)).collect();
    let fixture = fixture(json!(images), json!([]), categories());
    for name in ["a.png", "sub/b.png", "c.png", "d.png", "e.png"] {
        let path = fixture.config.images.join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("makes");
        std::fs::write(path, []).expect("writes");
    }
    let dataset = fixture.open(Purpose::Evaluate).expect("opens");
    let error = check_files(&dataset).expect_err("missing files");
    let expected = "5 of the 6 images of DIR/a.json are missing in DIR, first `sub\\b.png`: 2 are in \
                  another upper or lower case (`D.png` is `d.png` there); 1 is with slashes in \
                  place of backslashes (`sub\\b.png` is `sub/b.png` there); 1 is without the first \
                  folder of the name and in another upper or lower case (`x/C.png` is `c.png` \
                  there); 1 is nowhere below the folder of the images (`nowhere.png`)";
    assert_eq!(fixture.message(&error), expected);
    std::fs::write(fixture.config.images.join("D.png"), []).expect("writes");
    let error = check_files(&dataset).expect_err("missing files");
    assert!(fixture.message(&error).starts_with("4 of the 6 images"));
    assert!(check_files(&Fixture::with_images().open(Purpose::Train).expect("opens")).is_ok());
}

#[test]
fn pictures_of_both_splits_are_counted() {
    let train = Fixture::with_images();
    let opened = train.open(Purpose::Train).expect("opens");
    let images = json!([
        image(1, "no.png"),
        image(2, "sub/../3.png"),
        image(3, "4.png")
    ]);
    let val = fixture(images, json!([]), categories());
    let config = DatasetConfig::new(&val.config.annotations, &train.config.images);
    let val = CocoDataset::open(&config, Purpose::Evaluate).expect("opens");
    let finding = shared_pictures(&opened, &val).expect("some are shared");
    let text = &finding.text;
    assert!(
        text.starts_with("2 of 3 images are trained on as well, by "),
        "{text}"
    );
    assert!(text.contains("(first: `sub/../3.png`)"), "{text}");
    let other = Fixture::with_images()
        .open(Purpose::Evaluate)
        .expect("opens");
    assert_eq!(shared_pictures(&opened, &other), None);
}

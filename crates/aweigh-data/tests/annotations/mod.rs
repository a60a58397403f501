//! Annotation files as tools write them: what is read alike, left out, or called by its name.

use aweigh_data::annotations::{AnnotationFile, DetectionFile};
use aweigh_data::{CocoDataset, Purpose};

use crate::fixture::Fixture;

const BASE: &str = r#"{"images": [{"id": 1, "file_name": "a.png", "width": 128, "height": 96},
{"id": 2, "file_name": "b.png", "width": 128, "height": 96}],
"annotations": [{"id": 1, "image_id": 1, "category_id": 2, "bbox": [46, 50, 21, 22], "area": 441, "iscrowd": 0},
{"id": 2, "image_id": 2, "category_id": 1, "bbox": [64, 51, 17, 17], "area": 289, "iscrowd": 0}],
"categories": [{"id": 1, "name": "square"}, {"id": 2, "name": "disc"}]}"#;

/// The file with `from` replaced by `to` once.
fn edited(from: &str, to: &str) -> String {
    assert!(BASE.contains(from), "{from}");
    BASE.replacen(from, to, 1)
}

fn open(text: impl AsRef<[u8]>) -> Result<CocoDataset, String> {
    let fixture = Fixture::new("");
    std::fs::write(&fixture.config.annotations, text).expect("writes");
    let dataset = fixture.open(Purpose::Train);
    dataset.map_err(|error| fixture.message(&error))
}

/// The file means the same as the base.
fn same(text: impl AsRef<[u8]>) {
    let shown = String::from_utf8_lossy(text.as_ref()).into_owned();
    let dataset = open(text).unwrap_or_else(|error| panic!("{error}\n{shown}"));
    let base = open(BASE).expect("opens");
    assert_eq!(dataset.classes(), base.classes(), "{shown}");
    assert_eq!(dataset.images(), base.images(), "{shown}");
    assert_eq!(dataset.findings(), [], "{shown}");
}

#[test]
fn keys_that_a_box_detector_does_not_use_hold_anything() {
    for value in [
        "null",
        "\"\"",
        "3",
        "[]",
        "{}",
        "[{\"a\": [1.5, null]}]",
        "NaN",
        "true",
    ] {
        for key in ["info", "licenses", "type", "x"] {
            same(edited(
                "{\"images\"",
                &format!("{{\"{key}\": {value}, \"images\""),
            ));
        }
        for key in [
            "license",
            "date_captured",
            "coco_url",
            "neg_category_ids",
            "extra",
        ] {
            same(edited(
                "\"width\": 128",
                &format!("\"{key}\": {value}, \"width\": 128"),
            ));
        }
        for key in [
            "segmentation",
            "keypoints",
            "num_keypoints",
            "score",
            "attributes",
            "obb",
        ] {
            same(edited("\"area\"", &format!("\"{key}\": {value}, \"area\"")));
        }
        for key in ["supercategory", "skeleton", "keypoints", "isthing", "color"] {
            same(edited(
                "\"name\": \"disc\"",
                &format!("\"name\": \"disc\", \"{key}\": {value}"),
            ));
        }
    }
}

#[test]
fn plain_values_in_another_dress_are_taken() {
    same(format!("\u{feff}{BASE}"));
    same(edited("{\"id\": 2, \"file", "{\"id\": \"2\", \"file"));
    same(edited("{\"id\": 2, \"file", "{\"id\": 2.0, \"file"));
    same(edited("\"image_id\": 2", "\"image_id\": \"2\""));
    same(edited("\"category_id\": 2", "\"category_id\": 2.0"));
    same(edited("\"width\": 128", "\"width\": \"128\""));
    same(edited("[46, 50, 21, 22]", "[\"46\", \"50.0\", 21.0, 22]"));
    same(edited("\"area\": 441", "\"area\": \"441\""));
    same(edited("\"area\": 441", "\"area\": null"));
    same(edited("\"area\": 441, ", ""));
    same(edited("\"id\": 1, \"image_id\"", "\"image_id\""));
    same(edited(
        "\"id\": 1, \"image_id\"",
        "\"id\": \"6f9c-x\", \"image_id\"",
    ));
    for value in ["false", "\"0\"", "null", "0.0", "\"false\""] {
        same(edited("\"iscrowd\": 0", &format!("\"iscrowd\": {value}")));
    }
    let named = |name: &str, expected: &str| {
        let dataset = open(edited("\"disc\"", name)).expect("opens");
        assert_eq!(dataset.classes()[1].name, expected);
    };
    named("7", "7");
    named("2.5", "2.5");
    named("null", "cat_2");
    named("\"диск 图\"", "диск 图");
}

#[test]
fn ids_below_zero_are_ids() {
    let text = BASE.replace("\"image_id\": 2", "\"image_id\": -9");
    let dataset = open(text.replace("{\"id\": 2, \"file", "{\"id\": -9, \"file")).expect("opens");
    let ids: Vec<i64> = dataset.images().iter().map(|image| image.id).collect();
    assert_eq!(ids, [1, -9]);
    assert_eq!(dataset.images()[1].truth.boxes.len(), 1);
}

#[test]
fn crowds_in_every_dress() {
    for value in ["1", "1.0", "\"1\"", "true", "\"True\""] {
        for key in ["iscrowd", "ignore"] {
            let dataset = open(edited("\"iscrowd\": 0", &format!("\"{key}\": {value}")));
            let truth = dataset.expect("opens").images()[0].truth.clone();
            assert_eq!(
                (truth.boxes.len(), truth.ignore.len()),
                (0, 1),
                "{key} {value}"
            );
        }
    }
}

/// Annotation 1 is changed and is left out, and the finding says so.
fn left_out(from: &str, to: &str, expected: &str) {
    let dataset = open(edited(from, to)).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(dataset.stats().boxes, 1, "{to}");
    let texts: Vec<&str> = dataset.findings().iter().map(|f| f.text.as_str()).collect();
    let expected =
        format!("1 of 2 annotations have no usable box and are left out (first: {expected})");
    assert!(texts.contains(&expected.as_str()), "{texts:?}");
}

#[test]
fn annotations_without_a_usable_box_are_left_out_and_counted() {
    let bbox = "\"bbox\": [46, 50, 21, 22]";
    left_out(bbox, "\"bbox\": null", "annotation 1, whose `bbox` is null");
    left_out(bbox, "\"bbox\": []", "annotation 1, whose `bbox` is []");
    left_out(bbox, "\"bbox\": \"\"", "annotation 1, whose `bbox` is \"\"");
    left_out(bbox, "\"bbox\": NaN", "annotation 1, whose `bbox` is NaN");
    left_out(
        bbox,
        "\"bbox\": [46, NaN, 21, 22]",
        "annotation 1, whose `bbox` is [46, NaN, 21, 22]",
    );
    left_out(
        bbox,
        "\"bbox\": [null, null, null, null]",
        "annotation 1, whose `bbox` is [null, null, null, null]",
    );
    left_out(
        bbox,
        "\"bbox\": [46, \"nan\", 21, 22]",
        "annotation 1, whose `bbox` is [46, \"nan\", 21, 22]",
    );
    left_out(bbox, "\"x\": 0", "annotation 1, whose `bbox` is missing");
    left_out(
        "\"area\": 441",
        "\"area\": NaN",
        "annotation 1, whose `area` is NaN",
    );
    left_out(
        &format!("{{\"id\": 1, \"image_id\": 1, \"category_id\": 2, {bbox}"),
        "{\"image_id\": 1, \"category_id\": 2, \"segmentation\": []",
        "`annotations[0]`, whose `bbox` is missing",
    );
}

#[test]
fn the_box_of_a_segmentation_takes_the_place_of_a_missing_one() {
    let check = |segmentation: &str| {
        let text = format!("\"segmentation\": {segmentation}, \"bbox\": null");
        let dataset = open(edited("\"bbox\": [46, 50, 21, 22]", &text)).expect("opens");
        let bbox = dataset.images()[0].truth.boxes[0];
        let texts: Vec<&str> = dataset.findings().iter().map(|f| f.text.as_str()).collect();
        let expected = "1 of 2 annotations have no `bbox`: the box of their `segmentation` is used \
                      (first: annotation 1)";
        assert_eq!(texts, [expected]);
        bbox
    };
    assert_eq!(
        check("[[46, 50, 67, 50, 67, 72]]"),
        [46.0, 50.0, 67.0, 72.0]
    );
    // Row 1 of columns 1 and 2 of 4 x 5 pixels.
    assert_eq!(
        check(r#"{"size": [4, 5], "counts": [5, 1, 3, 1, 10]}"#),
        [1.0, 1.0, 3.0, 2.0]
    );
}

fn refused(text: impl AsRef<[u8]>, expected: &str) {
    let error = open(text).expect_err(expected);
    assert_eq!(error, format!("DIR/a.json: {expected}"));
}

#[test]
fn what_cannot_be_meant_otherwise_names_record_key_value_and_expectation() {
    let bbox = |value: &str, expected: &str| {
        refused(
            edited("[46, 50, 21, 22]", value),
            &format!(
                "`annotations[0]` (id 1): `bbox` is {expected}; expected [x, y, width, height] in pixels"
            ),
        );
    };
    bbox("[1, 2, 30, 40, 0]", "[1, 2, 30, 40, 0]");
    bbox("[1, 2, 30]", "[1, 2, 30]");
    bbox("[46, 50, Infinity, 21]", "[46, 50, Infinity, 21]");
    bbox("[46, 50, \"wide\", 21]", "[46, 50, \"wide\", 21]");
    bbox("{\"x\": 1}", "an object");
    let whole = "expected a whole number of at most 64 bits";
    refused(
        edited(
            "{\"id\": 1, \"file",
            "{\"id\": 81645724526782010095170042166076916001, \"file",
        ),
        &format!(
            "`images[0]` (id 81645724526782010000000000000000000000): `id` is 81645724526782010000000000000000000000; {whole}"
        ),
    );
    refused(
        edited("\"image_id\": 2", "\"image_id\": \"b.png\""),
        &format!("`annotations[1]` (id 2): `image_id` is \"b.png\"; {whole}"),
    );
    refused(
        edited("\"image_id\": 2, ", ""),
        &format!("`annotations[1]` (id 2): `image_id` is missing; {whole}"),
    );
    refused(
        edited("\"id\": 2, \"name\"", "\"id\": 2.5, \"name\""),
        &format!("`categories[1]` (id 2.5): `id` is 2.5; {whole}"),
    );
    refused(
        edited("\"width\": 128", "\"width\": -128"),
        "`images[0]` (id 1): `width` is -128; expected a whole number of pixels",
    );
    refused(
        edited("\"file_name\": \"a.png\"", "\"file_name\": [\"a.png\"]"),
        "`images[0]` (id 1): `file_name` is [\"a.png\"]; expected the name of a file",
    );
    refused(
        edited("\"iscrowd\": 0", "\"iscrowd\": \"crowd\""),
        "`annotations[0]` (id 1): `iscrowd` is \"crowd\"; expected 0 or 1",
    );
    refused(
        edited("\"area\": 441", "\"area\": Infinity"),
        "`annotations[0]` (id 1): `area` is Infinity; expected a number of square pixels",
    );
}

fn of_another_kind(text: impl AsRef<[u8]>, expected: &str) {
    let error = open(text).expect_err(expected);
    let start = format!("DIR/a.json: not a COCO annotation file: it is {expected}");
    assert!(error.starts_with(&start), "{error}");
}

#[test]
fn files_of_other_kinds_are_called_by_their_names() {
    of_another_kind("", "empty");
    of_another_kind(" \n\t", "empty");
    of_another_kind("\u{feff}", "empty");
    of_another_kind("{\"id\": 1}\n{\"id\": 2}\n", "JSON lines");
    of_another_kind("[]", "a list");
    of_another_kind(
        "[{\"image_id\": 1, \"category_id\": 1, \"bbox\": [1, 1, 2, 2], \"score\": 0.5}]",
        "a list of results",
    );
    of_another_kind(
        "[{\"image_id\": 1, \"caption\": \"a cat\"}]",
        "a list of captions",
    );
    of_another_kind(
        "{\"images\": [{\"id\": 1}], \"annotations\": [{\"image_id\": 1, \"id\": 4, \"caption\": \"a cat\"}]}",
        "a file of captions",
    );
    of_another_kind(
        "{\"annotations\": [{\"image_id\": 1, \"file_name\": \"a.png\", \"segments_info\": []}]}",
        "a panoptic annotation file",
    );
    of_another_kind(b"\x1f\x8b\x08\x00", "a gzip archive");
    of_another_kind(b"PK\x03\x04", "a ZIP archive");
    let utf16: Vec<u8> = "{}".encode_utf16().flat_map(u16::to_le_bytes).collect();
    of_another_kind(&utf16, "UTF-16 text");
    of_another_kind([b"\xff\xfe".as_slice(), &utf16].concat(), "UTF-16 text");
    of_another_kind("<annotation><folder/></annotation>", "XML");
    of_another_kind(
        "{\"_via_settings\": {}, \"_via_img_metadata\": {}}",
        "a project of VIA",
    );
    of_another_kind("{\"shapes\": [], \"imagePath\": \"a.png\"}", "Labelme's");
    of_another_kind("{\"a\": 1, \"b\": 2}", "an object with the keys `a`, `b`");
}

#[test]
fn the_file_is_remembered_by_its_digest() {
    let fixture = Fixture::new("");
    std::fs::write(&fixture.config.annotations, BASE).expect("writes");
    let file = AnnotationFile::read(&fixture.config.annotations).expect("reads");
    assert_eq!(file.digest().len(), 64);
    let dataset = CocoDataset::from_file(&file, &fixture.config, Purpose::Train).expect("opens");
    assert_eq!(dataset.digest(), file.digest());
    let other = open(edited("441", "442")).expect("opens");
    assert_ne!(other.digest(), dataset.digest());
}

fn detections(text: &str) -> Result<DetectionFile, String> {
    let fixture = Fixture::new(text);
    let file = DetectionFile::read(&fixture.config.annotations);
    file.map_err(|error| fixture.message(&error))
}

#[test]
fn detections_are_read_in_every_layout() {
    let list = "[{\"image_id\": 1, \"category_id\": 2, \"bbox\": [1, 2, 3, 4], \"score\": 0.5}]";
    let expected = detections(list).expect("reads").entries;
    let check =
        |text: &str| assert_eq!(detections(text).expect("reads").entries, expected, "{text}");
    check(
        "[{\"image_id\": 1.0, \"category_id\": \"2\", \"bbox\": [\"1\", 2.0, 3, 4], \"score\": \"0.5\", \"id\": null}]",
    );
    check(&format!("{{\"annotations\": {list}, \"info\": null}}"));
    check(
        "[{\"image_id\": 1, \"category_id\": 2, \"segmentation\": [[1, 2, 4, 2, 4, 6]], \"score\": 0.5}]",
    );
    assert_eq!(detections("[]").expect("reads").entries, []);
    let file = detections("{\"annotations\": [], \"images\": [{\"id\": 3, \"file_name\": \"a\"}]}");
    assert_eq!(file.expect("reads").images[0].file_name, "a");
    let fails = |text: &str, expected: &str| {
        let error = detections(text).expect_err(expected);
        assert!(error.contains(expected), "{error}");
    };
    fails(
        &list.replace("0.5", "NaN"),
        "entry 0: `score` is NaN; expected a finite number",
    );
    fails(
        &list.replace("4]", "4, 5]"),
        "entry 0: `bbox` is [1, 2, 3, 4, 5]; expected [x, y,",
    );
    fails(
        &list.replace(": 2,", ": null,"),
        "entry 0: `category_id` is null; expected a whole",
    );
    fails("{\"a\": 1}", "it is an object with the key `a`");
    fails(
        "7",
        "invalid type: integer `7`, expected a list of detections",
    );
}

//! `aweigh eval` on files, without a model.

use std::path::Path;

use tempfile::TempDir;

use crate::support::{aweigh, contains};

const ANNOTATIONS: &str = r#"{
    "images": [
        {"id": 1, "file_name": "a.png", "width": 100, "height": 80},
        {"id": 2, "file_name": "b.png", "width": 100, "height": 80}
    ],
    "categories": [{"id": 3, "name": "ring"}, {"id": 7, "name": "star"}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 3, "bbox": [10, 10, 40, 40], "area": 1600, "iscrowd": 0},
        {"id": 2, "image_id": 2, "category_id": 7, "bbox": [20, 10, 20, 20], "area": 400, "iscrowd": 0}
    ]
}"#;

fn folder(results: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("temporary folder");
    std::fs::write(folder.path().join("truth.json"), ANNOTATIONS).expect("writes");
    std::fs::write(folder.path().join("found.json"), results).expect("writes");
    folder
}

const FILES: [&str; 5] = [
    "eval",
    "--annotations",
    "truth.json",
    "--results",
    "found.json",
];

#[test]
fn figures_are_printed_in_pycocotools_layout() {
    let folder = folder(
        r#"[{"image_id": 1, "category_id": 3, "bbox": [10, 10, 40, 40], "score": 0.9},
            {"image_id": 2, "category_id": 7, "bbox": [60, 50, 20, 20], "score": 0.8}]"#,
    );
    // The first line begins with a space, which a continued string would lose.
    let expected = "
 Average Precision  (AP) @[ IoU=0.50:0.95 | area=   all | maxDets=100 ] = 0.500
 Average Precision  (AP) @[ IoU=0.50      | area=   all | maxDets=100 ] = 0.500
 Average Precision  (AP) @[ IoU=0.75      | area=   all | maxDets=100 ] = 0.500
 Average Precision  (AP) @[ IoU=0.50:0.95 | area= small | maxDets=100 ] = 0.000
 Average Precision  (AP) @[ IoU=0.50:0.95 | area=medium | maxDets=100 ] = 1.000
 Average Precision  (AP) @[ IoU=0.50:0.95 | area= large | maxDets=100 ] = -1.000
 Average Recall     (AR) @[ IoU=0.50:0.95 | area=   all | maxDets=  1 ] = 0.500
 Average Recall     (AR) @[ IoU=0.50:0.95 | area=   all | maxDets= 10 ] = 0.500
 Average Recall     (AR) @[ IoU=0.50:0.95 | area=   all | maxDets=100 ] = 0.500
 Average Recall     (AR) @[ IoU=0.50:0.95 | area= small | maxDets=100 ] = 0.000
 Average Recall     (AR) @[ IoU=0.50:0.95 | area=medium | maxDets=100 ] = 1.000
 Average Recall     (AR) @[ IoU=0.50:0.95 | area= large | maxDets=100 ] = -1.000

class     AP   AP50   AP75    APs    APm  APl     AR
ring   1.000  1.000  1.000    n/a  1.000  n/a  1.000
star   0.000  0.000  0.000  0.000    n/a  n/a  0.000
";
    assert_eq!(aweigh(folder.path(), &FILES).ok(), expected[1..]);
    let saved = [FILES.as_slice(), &["--out", "scores"]].concat();
    aweigh(folder.path(), &saved).ok();
    let metrics = std::fs::read_to_string(folder.path().join("scores/metrics.json"));
    contains(&metrics.expect("written"), &["\"AR100\":0.5", "\"ring\""]);
}

fn refuse(results: &str, parts: &[&str]) {
    contains(&aweigh(folder(results).path(), &FILES).failed(1), parts);
}

#[test]
fn broken_results_name_the_file_and_the_place() {
    refuse("[{\"image_id\": 1,", &["error: found.json:1:16: ", "EOF"]);
    refuse("{}", &["error: found.json", "it is an object without keys"]);
    refuse("", &["error: found.json", "it is empty"]);
    refuse(
        r#"[{"image_id": 9, "category_id": 3, "bbox": [1, 1, 4, 4], "score": 0.9}]"#,
        &[
            "error: found.json: entry 0: image_id 9 is unknown",
            "truth.json",
        ],
    );
    refuse(
        r#"[{"image_id": 1, "category_id": 4, "bbox": [1, 1, 4, 4], "score": 0.9}]"#,
        &["error: found.json: entry 0: category_id 4 is unknown"],
    );
    refuse(
        r#"[{"image_id": 1, "category_id": 3, "bbox": [1, 1, 4], "score": 0.9}]"#,
        &["error: found.json", "bbox"],
    );
}

#[test]
fn missing_files_are_named() {
    let check = |args: &[&str], part: &str| {
        let error = aweigh(Path::new("."), args).failed(1);
        contains(&error, &["error: cannot read", part]);
    };
    check(
        &["eval", "--annotations", "no.json", "--results", "no.json"],
        "no.json",
    );
    let truth = folder("[]");
    let path = truth.path().join("truth.json");
    let path = path.to_str().expect("a UTF-8 path");
    check(
        &["eval", "--annotations", path, "--results", "none.json"],
        "none.json",
    );
}

#[test]
fn what_predict_writes_and_ids_with_a_point_score_the_same() {
    let list = r#"[{"image_id": 1, "category_id": 3, "bbox": [10, 10, 40, 40], "score": 0.9}]"#;
    let expected = aweigh(folder(list).path(), &FILES).ok();
    let same = |results: &str| assert_eq!(aweigh(folder(results).path(), &FILES).ok(), expected);
    same(&list.replace(": 1,", ": 1.0,").replace(": 3,", ": \"3\","));
    // Ids of its own, as `aweigh predict` gives them.
    let own = list.replace(": 1,", ": 2,").replace(": 3,", ": 0,");
    same(&format!(
        r#"{{"images": [{{"id": 1, "file_name": "in/b.png"}}, {{"id": 2, "file_name": "in/a.png"}}],
            "categories": [{{"id": 0, "name": "ring"}}], "annotations": {own}}}"#
    ));
}

#[test]
fn more_detections_count_where_images_have_more_objects() {
    let at = |index: usize| format!("[{}, {}, 8, 8]", 10 * (index % 20), 10 * (index / 20));
    let truth = (0..150).map(|i| {
        format!(
            r#"{{"id": {i}, "image_id": 1, "category_id": 3, "bbox": {}}}"#,
            at(i)
        )
    });
    let found = (0..150).map(|i| {
        format!(
            r#"{{"image_id": 1, "category_id": 3, "bbox": {}, "score": 0.9}}"#,
            at(i)
        )
    });
    let folder = folder(&format!("[{}]", found.collect::<Vec<_>>().join(",")));
    let truth = truth.collect::<Vec<_>>().join(",");
    let text = format!(
        r#"{{"images": [{{"id": 1}}], "categories": [{{"id": 3, "name": "ring"}}],
            "annotations": [{truth}]}}"#
    );
    std::fs::write(folder.path().join("truth.json"), text).expect("writes");
    let customary = aweigh(folder.path(), &FILES);
    contains(
        &customary.stderr,
        &[
            "warning: truth.json: 1 images have more objects",
            "image 1 with 150 of `ring`",
        ],
    );
    contains(&customary.ok(), &["maxDets=100 ] = 0.6"]);
    let more = [FILES.as_slice(), &["--max-dets", "150"]].concat();
    let all = aweigh(folder.path(), &more);
    assert_eq!(all.stderr, "");
    contains(&all.ok(), &["area=   all | maxDets=150 ] = 1.000"]);
    let none = [FILES.as_slice(), &["--max-dets", "0"]].concat();
    contains(&aweigh(folder.path(), &none).failed(2), &["at least 1"]);
}

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
    let wanted = "
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
    assert_eq!(aweigh(folder.path(), &FILES).ok(), wanted[1..]);
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
    refuse(
        "[{\"image_id\": 1,",
        &["error: found.json", "line 1 column 16"],
    );
    refuse("{}", &["error: found.json", "expected", "line 1"]);
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

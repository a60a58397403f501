//! Data as people have it: what training says of it before the first step.

use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{aweigh, contains, project};

const TRAIN: [&str; 3] = ["train", "--config", "tiny.toml"];
const TRAIN_FILE: &str = "shapes/annotations/instances_train.json";
const VAL_FILE: &str = "shapes/annotations/instances_val.json";

fn read(folder: &Path, file: &str) -> Value {
    let text = std::fs::read_to_string(folder.join(file)).expect("readable");
    serde_json::from_str(&text).expect("JSON")
}

/// A project with a file of annotations changed.
fn edited(file: &str, edit: impl Fn(&mut Value)) -> TempDir {
    let folder = project();
    let mut value = read(folder.path(), file);
    edit(&mut value);
    std::fs::write(folder.path().join(file), value.to_string()).expect("writes");
    folder
}

/// Training goes well and says all of `parts`, in `log.txt` too.
fn says(folder: &TempDir, parts: &[&str]) {
    let done = aweigh(folder.path(), &TRAIN);
    contains(&done.stderr, parts);
    done.ok();
    let log = std::fs::read_to_string(folder.path().join("runs/tiny/log.txt")).expect("log.txt");
    for part in parts {
        let part = part.trim_start_matches("warning: ");
        assert!(log.contains(part), "`{part}` is not in:\n{log}");
    }
}

/// Training fails before the first step, says all of `parts`, and leaves no run.
fn refuses(folder: &TempDir, parts: &[&str]) {
    contains(&aweigh(folder.path(), &TRAIN).failed(1), parts);
    assert!(!folder.path().join("runs").exists());
}

#[test]
fn missing_files_of_both_sets_are_counted_before_the_first_step() {
    let folder = edited(TRAIN_FILE, |file| {
        file["images"][0]["file_name"] = json!("sub\\000001.png");
        file["images"][1]["file_name"] = json!("none.png");
    });
    let val = folder.path().join("shapes/val");
    std::fs::rename(val.join("000002.png"), val.join("000002.PNG")).expect("renames");
    refuses(
        &folder,
        &[
            "error: 2 of the 8 images of shapes/annotations/instances_train.json are missing in \
             shapes/train, first `sub\\000001.png`: ",
            "1 is with slashes in place of backslashes and without the first folder of the name \
             (`sub\\000001.png` is `000001.png` there)",
            "1 is nowhere below the folder of the images (`none.png`)",
            "\n1 of the 4 images of shapes/annotations/instances_val.json are missing in \
             shapes/val, first `000002.png`: 1 is in another upper or lower case (`000002.png` is \
             `000002.PNG` there)",
        ],
    );
    let skip = [TRAIN.as_slice(), &["--set", "data.on_bad_image=skip"]].concat();
    let done = aweigh(folder.path(), &skip);
    contains(
        &done.stderr,
        &["warning: 2 of the 8 images", "warning: 1 of the 4 images"],
    );
    done.ok();
    contains(
        &aweigh(
            folder.path(),
            &[
                "eval",
                "--run",
                "runs/tiny",
                "--set",
                "data.on_bad_image=error",
            ],
        )
        .failed(1),
        &["error: 1 of the 4 images"],
    );
}

#[test]
fn categories_in_another_order_are_matched_by_name() {
    let original = project();
    let score = |folder: &TempDir| {
        let done = aweigh(folder.path(), &["eval", "--run", "run"]);
        (done.stderr.clone(), done.ok())
    };
    let train = [TRAIN.as_slice(), &["--run-dir", "run"]].concat();
    aweigh(original.path(), &train).ok();
    let (_, expected) = score(&original);
    // The same names under the ids in reverse.
    let mut val = read(original.path(), VAL_FILE);
    let other = |id: &Value| json!(6 - id.as_i64().expect("an id"));
    for category in val["categories"].as_array_mut().expect("a list") {
        category["id"] = other(&category["id"]);
    }
    for annotation in val["annotations"].as_array_mut().expect("a list") {
        annotation["category_id"] = other(&annotation["category_id"]);
    }
    std::fs::write(original.path().join(VAL_FILE), val.to_string()).expect("writes");
    let (stderr, scores) = score(&original);
    contains(&stderr, &["warning: ", "matched by name"]);
    let rows = |text: &str| {
        let mut rows: Vec<String> = text.lines().map(str::to_owned).collect();
        rows.sort();
        rows
    };
    assert_eq!(rows(&scores), rows(&expected));
    // Other names are other classes.
    val["categories"][0]["name"] = json!("hexagon");
    std::fs::write(original.path().join(VAL_FILE), val.to_string()).expect("writes");
    let refused = aweigh(original.path(), &["eval", "--run", "run"]).failed(1);
    contains(
        &refused,
        &["instances_val.json has the categories", "hexagon"],
    );
}

#[test]
fn what_looks_wrong_is_said_before_the_first_step() {
    let folder = edited(TRAIN_FILE, |file| {
        let annotations = file["annotations"].as_array_mut().expect("a list");
        annotations[0]["bbox"] = json!(null);
        let mut twice = annotations[1].clone();
        twice["id"] = json!(9000);
        annotations.push(twice);
        let categories = file["categories"].as_array_mut().expect("a list");
        categories.insert(0, json!({"id": 0, "name": "root"}));
    });
    // Validation must know the class as well.
    let mut val = read(folder.path(), VAL_FILE);
    let categories = val["categories"].as_array_mut().expect("a list");
    categories.push(json!({"id": 0, "name": "root"}));
    std::fs::write(folder.path().join(VAL_FILE), val.to_string()).expect("writes");
    let file = format!("{TRAIN_FILE}: ");
    says(
        &folder,
        &[
            &format!("warning: {file}1 of "),
            "annotations have no usable box and are left out (first: annotation 1, whose `bbox` is \
             null)",
            &format!("warning: {file}1 box is there twice, with the same class (first: ["),
            "class 0 `root` has no boxes",
        ],
    );
}

#[test]
fn a_dataset_of_no_use_says_why() {
    let area = edited(TRAIN_FILE, |file| {
        for annotation in file["annotations"].as_array_mut().expect("a list") {
            annotation["area"] = json!(0);
        }
    });
    refuses(
        &area,
        &[
            "have an `area` of zero or less and are left out",
            "error: ",
            "no image left: 8 without",
        ],
    );
    let normalised = edited(TRAIN_FILE, |file| {
        for annotation in file["annotations"].as_array_mut().expect("a list") {
            annotation["bbox"] = json!([0.1, 0.2, 0.3, 0.4]);
        }
    });
    refuses(
        &normalised,
        &["look normalised by the size of the image", "error: "],
    );
}

#[test]
fn pictures_in_both_sets_are_counted() {
    let folder = project();
    let shared = [
        "--set",
        "data.val={ annotations = \"shapes/annotations/instances_train.json\", images = \"shapes/train\" }",
    ];
    let done = aweigh(folder.path(), &[TRAIN.as_slice(), &shared].concat());
    contains(
        &done.stderr,
        &["warning: ", "8 of 8 images are trained on as well, by "],
    );
    done.ok();
}

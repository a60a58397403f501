//! What training says about weights for other classes, and about boxes that nothing learns.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::{Run, aweigh, contains, project};

/// Changes the annotations of both parts of the dataset.
fn edit(folder: &Path, change: impl Fn(&mut Value)) {
    for split in ["train", "val"] {
        let file = folder.join(format!("shapes/annotations/instances_{split}.json"));
        let text = std::fs::read_to_string(&file).expect("reads");
        let mut annotations: Value = serde_json::from_str(&text).expect("JSON");
        change(&mut annotations);
        std::fs::write(&file, annotations.to_string()).expect("writes");
    }
}

/// One step of training, from weights if there are any.
fn train(folder: &Path, run: &str, weights: Option<&str>) -> Run {
    let weights = weights.map(|weights| format!("train.weights={weights}"));
    let mut args = vec!["train", "--config", "tiny.toml", "--run-dir", run];
    args.extend(["--set", "train.iterations=1"]);
    args.extend(weights.iter().flat_map(|weights| ["--set", weights]));
    let done = aweigh(folder, &args);
    assert_eq!(done.code, 0, "{done:?}");
    done
}

#[test]
fn classes_that_start_anew_are_told() {
    let folder = project();
    let folder = folder.path();
    train(folder, "five", None);
    let last = "five/checkpoints/last";
    let same = train(folder, "same", Some(last)).stderr;
    assert!(!same.contains("class layer"), "{same}");

    let first = |annotations: &mut Value| annotations["categories"][0]["name"] = "hoop".into();
    edit(folder, first);
    let file = "five/checkpoints/last/model.safetensors";
    let renamed = train(folder, "renamed", Some(file)).stderr;
    let told = "the class layer bbox_head.conv_cls goes on for 4 of 5 classes; not in";
    contains(&renamed, &[told, &format!("{file}: hoop")]);

    let more = json!({"id": 99, "name": "hexagon"});
    edit(folder, |annotations| {
        let categories = annotations["categories"].as_array_mut();
        categories.expect("a list").push(more.clone());
    });
    let six = train(folder, "six", Some(last)).stderr;
    let told = "the class layer bbox_head.conv_cls goes on for 4 of 6 classes; not in \
                five/checkpoints/last: hoop, hexagon";
    contains(&six, &["weights from five/checkpoints/last", told]);

    edit(folder, |annotations| {
        let categories = annotations["categories"].as_array_mut();
        for category in categories.expect("a list") {
            category["name"] = format!("other {}", category["id"]).into();
        }
    });
    let others = train(folder, "others", Some(last)).stderr;
    let told = "the class layer bbox_head.conv_cls starts anew: five/checkpoints/last has 5 \
                classes, this data set 6";
    contains(&others, &[told]);
}

#[test]
fn boxes_that_no_point_learns_are_told_once() {
    let folder = project();
    let folder = folder.path();
    edit(folder, |file| {
        let images = file["images"].as_array().expect("a list");
        let tiny = images.iter().zip(1..).map(|(image, id)| {
            json!({"id": id, "image_id": image["id"], "category_id": file["categories"][0]["id"],
                "bbox": [8, 8, 2, 2], "area": 4, "iscrowd": 0})
        });
        let tiny: Vec<Value> = tiny.collect();
        file["annotations"] = tiny.into();
    });
    let told = "warning: most boxes train nothing: 8 of 8 boxes are learnt by no point";
    let stderr = train(folder, "run", None).stderr;
    assert_eq!(stderr.matches(told).count(), 1, "{stderr}");
    let log = std::fs::read_to_string(folder.join("run/log.txt")).expect("log.txt");
    contains(
        &log,
        &["8 of 8 boxes", "data.transform.short_edge (now 64)"],
    );
    let longer = ["train", "--resume", "run", "--set", "train.iterations=2"];
    let resumed = aweigh(folder, &longer);
    assert!(!resumed.stderr.contains("train nothing"), "{resumed:?}");
    resumed.ok();
}

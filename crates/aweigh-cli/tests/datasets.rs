//! Datasets of people: converted, split, checked, counted, shown, and trained on.

use std::path::Path;

use tempfile::TempDir;

use crate::support::{aweigh, contains, json, project};

const TRAIN_FILE: &str = "shapes/annotations/instances_train.json";
const FILES: [&str; 4] = ["--annotations", TRAIN_FILE, "--images", "shapes/train"];

/// Runs a command of `data` in a project.
fn data(folder: &TempDir, command: &str, arguments: &[&str]) -> crate::support::Run {
    aweigh(folder.path(), &[&["data", command], arguments].concat())
}

#[test]
fn labels_go_to_other_formats_and_back() {
    let folder = project();
    let counts = |out: &str| {
        out.lines()
            .next()
            .expect("a line")
            .split_once(": ")
            .map(|(_, n)| n.to_owned())
    };
    let to_coco = data(
        &folder,
        "convert",
        &["shapes", "--to", "coco", "--out", "same"],
    )
    .ok();
    contains(
        &to_coco,
        &[
            "same: 12 images",
            "train = { annotations = \"same/annotations/instances_train.json\", images = \"shapes/train\" }",
        ],
    );
    for format in ["voc", "yolo"] {
        let out = format!("as_{format}");
        data(
            &folder,
            "convert",
            &["shapes", "--to", format, "--copy", "--out", &out],
        )
        .ok();
        let back = format!("from_{format}");
        let converted = data(&folder, "convert", &[&out, "--to", "coco", "--out", &back]).ok();
        contains(&converted, &[" 12 images", "5 classes"]);
    }
    // Pascal VOC keeps ignore regions, as `difficult`.
    let voc = data(
        &folder,
        "convert",
        &["as_voc", "--to", "coco", "--out", "again"],
    )
    .ok();
    assert_eq!(counts(&voc), counts(&to_coco));
}

#[test]
fn converting_never_overwrites_and_says_what_to_do() {
    let folder = project();
    let convert = |more: &[&str]| {
        let arguments = [&["shapes", "--to", "yolo", "--out", "out"], more].concat();
        data(&folder, "convert", &arguments)
    };
    convert(&[]).ok();
    contains(
        &convert(&[]).failed(1),
        &[
            "error: out exists already",
            "keep it as out.old with --force",
        ],
    );
    convert(&["--force"]).ok();
    assert!(folder.path().join("out.old/data.yaml").is_file());
    let nothing = data(
        &folder,
        "convert",
        &["nowhere", "--to", "coco", "--out", "x"],
    )
    .failed(1);
    contains(&nothing, &["nowhere: cannot be read"]);
    let format = data(&folder, "convert", &["shapes", "--to", "voq", "--out", "x"]).failed(2);
    contains(&format, &["voq", "possible values: coco, voc, yolo"]);
}

#[test]
fn splits_are_counted_and_refuse_what_is_there() {
    let folder = project();
    let split = |more: &[&str]| {
        data(
            &folder,
            "split",
            &[&["--annotations", TRAIN_FILE, "--out", "splits"], more].concat(),
        )
    };
    let table = split(&["--val", "0.25"]).ok();
    contains(
        &table,
        &["train", "val", "images", "splits/instances_val.json"],
    );
    let val = json(&folder.path().join("splits/instances_val.json"));
    assert_eq!(val["images"].as_array().map(Vec::len), Some(2));
    contains(&split(&[]).failed(1), &["splits exists already"]);
    split(&["--force", "--stratify"]).ok();
    assert!(folder.path().join("splits.old").is_dir());
    contains(
        &split(&["--force", "--group-by", "("]).failed(1),
        &["--group-by"],
    );
}

#[test]
fn checks_tell_scripts_by_their_exit_code() {
    let folder = project();
    let clean = data(&folder, "check", &FILES);
    contains(&clean.ok(), &["train", "0 errors, 0 warnings"]);
    // The same pictures on both sides.
    let both = [
        FILES.as_slice(),
        &["--val-annotations", TRAIN_FILE, "--json"],
    ]
    .concat();
    let found = data(&folder, "check", &both);
    assert_eq!(found.code, 1, "{found:?}");
    let report: serde_json::Value = serde_json::from_str(&found.stdout).expect("JSON");
    assert_eq!(report["sets"][1]["images"], 8);
    let first = &report["findings"][0];
    assert_eq!(first["severity"], "warning");
    std::fs::remove_file(folder.path().join("shapes/train/000001.png")).expect("removes");
    let missing = data(&folder, "check", &["--config", "tiny.toml"]);
    assert_eq!(missing.code, 1);
    contains(
        &missing.stdout,
        &["error: shapes/annotations/instances_train.json: 1 of 8 images are missing"],
    );
    contains(
        &data(
            &folder,
            "check",
            &["--annotations", "none.json", "--images", "."],
        )
        .failed(2),
        &["none.json"],
    );
    contains(
        &data(&folder, "check", &[]).failed(2),
        &["name a dataset: --config, or"],
    );
}

#[test]
fn statistics_tell_levels_and_draw_a_figure() {
    let folder = project();
    let text = data(
        &folder,
        "stats",
        &["--config", "tiny.toml", "--out", "sizes.png"],
    )
    .ok();
    contains(
        &text,
        &["8 images", "size of boxes", "circle", "P3", "P4", "P5"],
    );
    assert!(image::open(folder.path().join("sizes.png")).is_ok());
    let text = data(&folder, "stats", &[FILES.as_slice(), &["--json"]].concat()).ok();
    let report: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(report["dataset"]["images"], 8);
    assert!(report["pyramid"].is_null());
    let again = data(
        &folder,
        "stats",
        &["--config", "tiny.toml", "--out", "sizes.png"],
    );
    contains(&again.failed(1), &["sizes.png exists already"]);
}

#[test]
fn sheets_show_the_images_of_an_epoch() {
    let folder = project();
    let show = |out: &str, more: &[&str]| {
        let arguments = [
            &["--config", "tiny.toml", "--images", "3", "--out", out],
            more,
        ]
        .concat();
        data(&folder, "show", &arguments).ok();
        std::fs::read(folder.path().join(out)).expect("a picture")
    };
    let first = show("a.png", &[]);
    assert_eq!(show("b.png", &[]), first);
    assert_ne!(show("c.png", &["--epoch", "1"]), first);
    show("d.png", &["--split", "val"]);
}

/// A project whose dataset is in another format.
fn other_format(format: &str) -> TempDir {
    let folder = project();
    data(
        &folder,
        "convert",
        &["shapes", "--to", format, "--copy", "--out", "mine"],
    )
    .ok();
    folder
}

/// The proposal of `init` passes a short training.
fn trains(folder: &Path, arguments: &[&str]) -> String {
    aweigh(
        folder,
        &[&["init", "--out", "mine.toml"], arguments].concat(),
    )
    .ok();
    let short = [
        "--set",
        "train.epochs=1",
        "--set",
        "train.eval_every_epochs=0",
    ];
    let train = [&["train", "--config", "mine.toml"], short.as_slice()].concat();
    aweigh(folder, &train).ok();
    std::fs::read_to_string(folder.join("mine.toml")).expect("a configuration")
}

#[test]
fn proposals_for_any_layout_and_method_train() {
    let folder = other_format("voc");
    let text = trains(folder.path(), &["--data", "mine", "--method", "fovea"]);
    contains(
        &text,
        &[
            "# Its data: converted from voc into mine_data/coco.",
            "[detector.fovea]",
        ],
    );
    let again = aweigh(
        folder.path(),
        &["init", "--data", "mine", "--out", "mine.toml"],
    );
    contains(&again.failed(1), &["mine.toml exists already"]);
    let weights = [
        "init",
        "--data",
        "mine",
        "--out",
        "b.toml",
        "--weights",
        "no.safetensors",
    ];
    contains(
        &aweigh(folder.path(), &weights).failed(1),
        &["no.safetensors"],
    );
    assert!(!folder.path().join("b_data").exists());
    for method in ["fcos", "fsaf", "reppoints", "retina"] {
        let folder = project();
        let text = trains(folder.path(), &["--data", "shapes", "--method", method]);
        contains(&text, &[&format!("[detector.{method}]"), "short_edge = 64"]);
    }
}

#[test]
fn a_folder_is_enough_to_train() {
    let folder = other_format("yolo");
    let short = ["--set", "train.epochs=1", "--minutes", "0.05"];
    let train = [&["train", "--data", "mine"], short.as_slice()].concat();
    let done = aweigh(folder.path(), &train);
    contains(
        &done.stderr,
        &["converted from yolo into runs/mine/data/coco"],
    );
    done.ok();
    let proposal = folder.path().join("runs/mine/proposal.toml");
    let text = std::fs::read_to_string(proposal).expect("a proposal");
    contains(&text, &["0.05 min at ", "ms a step"]);
    contains(&aweigh(folder.path(), &train).failed(1), &["runs/mine"]);
    let wishes = ["train", "--config", "tiny.toml", "--minutes", "1"];
    contains(
        &aweigh(folder.path(), &wishes).failed(2),
        &["give --data FOLDER"],
    );
    let nothing = aweigh(folder.path(), &["train", "--data", "empty"]).failed(1);
    contains(&nothing, &["empty: cannot be read"]);
}

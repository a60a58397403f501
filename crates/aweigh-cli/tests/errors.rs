//! Every message that a user can meet: it names the file, the place and what was expected.

mod explain;

use std::path::Path;

use tempfile::TempDir;

use crate::support::{TINY, aweigh, command, contains, project, run};

const TRAIN: [&str; 3] = ["train", "--config", "tiny.toml"];

/// Training with more arguments.
fn train<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [TRAIN.as_slice(), more].concat()
}

/// A folder with nothing but `tiny.toml` and `configs/known.toml`.
fn no_data() -> TempDir {
    let folder = tempfile::tempdir().expect("temporary folder");
    write(folder.path(), "tiny.toml", TINY);
    write(folder.path(), "configs/known.toml", TINY);
    folder
}

fn write(folder: &Path, file: &str, text: &str) {
    let path = folder.join(file);
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("makes");
    std::fs::write(path, text).expect("writes");
}

/// The program fails on `args` and says all of `parts`.
fn refuse(folder: &Path, args: &[&str], parts: &[&str]) {
    contains(&aweigh(folder, args).failed(1), parts);
}

/// Training with `text` as the configuration fails and says all of `parts`.
fn refuse_config(text: &str, parts: &[&str]) {
    let folder = no_data();
    write(folder.path(), "tiny.toml", text);
    refuse(folder.path(), &TRAIN, parts);
}

/// Training with `--set argument` fails and says all of `parts`.
fn refuse_set(argument: &str, parts: &[&str]) {
    refuse(no_data().path(), &train(&["--set", argument]), parts);
}

#[test]
fn a_model_of_unknown_classes_names_the_way_out() {
    refuse(
        no_data().path(),
        &["inspect", "--config", "tiny.toml"],
        &[
            "cannot read annotation file shapes/annotations/instances_train.json",
            "the classes are counted in `data.train` unless `detector.num_classes` is given",
        ],
    );
}

#[test]
fn a_missing_configuration_lists_the_known_ones() {
    let folder = no_data();
    let args = ["train", "--config", "unknown.toml"];
    refuse(
        folder.path(),
        &args,
        &["error: configuration unknown.toml not found", "known.toml"],
    );
    refuse(
        folder.path(),
        &["inspect", "--config", "no/x.toml"],
        &["no/x.toml not found"],
    );
}

#[test]
fn a_wrong_configuration_names_line_column_and_valid_keys() {
    let replaced = |from: &str, to: &str| TINY.replace(from, to);
    refuse_config(
        &replaced("lr = 0.001", "lrr = 0.001"),
        &[
            "error: tiny.toml:24:1: unknown key `train.lrr`",
            "`lr`",
            "`batch_size`",
            "lrr = 0.001\n",
        ],
    );
    refuse_config(
        &replaced("batch_size = 2", "batch_size = \"two\""),
        &["tiny.toml:23:14: `train.batch_size`: invalid type: string \"two\""],
    );
    refuse_config(
        &replaced("depth = 18", "depth = 20"),
        &["tiny.toml:9:9: `detector.backbone.depth`", "18, 34, 50"],
    );
    refuse_config(
        &replaced("[detector.fcos]", "[detector.fcso]"),
        &["detector.fcso", "`fcos`"],
    );
    refuse_config(
        &replaced("num_outs = 3", "num_outs = 4"),
        &["regress_ranges", "3 ranges for 4"],
    );
    refuse_config(&replaced("lr = 0.001", "lr ="), &["tiny.toml:24:5: "]);
}

#[test]
fn a_wrong_override_names_the_argument() {
    refuse_set(
        "train.lrr=1",
        &["error: --set train.lrr=1: unknown key `train.lrr`", "`lr`"],
    );
    refuse_set(
        "train.lr=fast",
        &["error: --set train.lr=fast: `train.lr`: invalid type"],
    );
    refuse_set("train.lr", &["error: --set train.lr: expected key=value"]);
    refuse_set(
        "train.lr=-1",
        &["error: --set train.lr=-1: `train.lr`: expected a positive number"],
    );
    refuse_set(
        "device.backend=gpu",
        &["error: --set device.backend=gpu", "`wgpu`"],
    );
}

#[test]
fn an_absent_device_is_an_error_before_any_work() {
    let folder = no_data();
    let rocm = [
        "this build has no rocm backend",
        "--features rocm",
        "it has cpu 0 (",
    ];
    refuse(folder.path(), &train(&["--backend", "rocm"]), &rocm);
    refuse(
        folder.path(),
        &train(&["--set", "device.backend=rocm"]),
        &rocm,
    );
    let environment = command(folder.path(), &TRAIN)
        .env("AWEIGH_BACKEND", "rocm")
        .output();
    contains(&run(environment.expect("starts")).failed(1), &rocm);
    // What the command line says goes before the environment.
    let both = command(
        folder.path(),
        &train(&["--backend", "cpu", "--device", "7"]),
    )
    .env("AWEIGH_BACKEND", "rocm")
    .output();
    let absent = ["there is no cpu device 7 on this machine", "it has cpu 0 ("];
    contains(&run(both.expect("starts")).failed(1), &absent);
    assert!(!folder.path().join("runs").exists());
}

#[test]
fn several_processes_are_refused_where_they_cannot_work_together() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let launched = |args: &[&str]| {
        let mut command = command(folder.path(), args);
        command.envs([("OMPI_COMM_WORLD_RANK", "1"), ("OMPI_COMM_WORLD_SIZE", "2")]);
        run(command.output().expect("the program starts")).failed(1)
    };
    contains(
        &launched(&["eval", "--run", "nothing"]),
        &[
            "a launcher started 2 processes",
            "`aweigh train` alone works in several",
        ],
    );
    // With MPI, it would wait for the others.
    if cfg!(not(feature = "mpi")) {
        contains(
            &launched(&["train", "--config", "nothing.toml"]),
            &["this is process 1 of 2", "build with `--features mpi`"],
        );
    }
}

#[test]
fn a_missing_dataset_is_named() {
    let folder = no_data();
    let file = "shapes/annotations/instances_train.json";
    refuse(
        folder.path(),
        &TRAIN,
        &[
            "error: cannot read annotation file",
            file,
            "; `data.train.annotations` names it, relative to the folder that aweigh is started in",
        ],
    );
    let folder = project();
    std::fs::rename(
        folder.path().join("shapes/train"),
        folder.path().join("elsewhere"),
    )
    .unwrap();
    refuse(
        folder.path(),
        &TRAIN,
        &[
            "error: image folder shapes/train does not exist",
            "; `data.train.images` names it, relative to",
        ],
    );
}

/// A project whose training annotations are changed by replacing `from` by `to` once.
fn edited(from: &str, to: &str) -> TempDir {
    let folder = project();
    let file = folder
        .path()
        .join("shapes/annotations/instances_train.json");
    let text = std::fs::read_to_string(&file).expect("readable");
    assert!(text.contains(from), "`{from}` is not in {text}");
    std::fs::write(file, text.replacen(from, to, 1)).expect("writes");
    folder
}

#[test]
fn wrong_annotations_name_the_record() {
    let file = "error: shapes/annotations/instances_train.json";
    let check = |from: &str, to: &str, parts: &[&str]| {
        let folder = edited(from, to);
        refuse(folder.path(), &TRAIN, &[&[file], parts].concat());
    };
    check(
        "\"image_id\":1,",
        "\"image_id\":99,",
        &["annotation 1 has image_id 99", "`images`"],
    );
    check(
        "\"category_id\":",
        "\"category_id\":9",
        &["annotation 1 has category_id 9", "`categories`"],
    );
    check(
        "\"images\":",
        "\"images\";",
        &[":1:", "not a COCO annotation file"],
    );
    let folder = edited("\"height\":64", "\"height\":63");
    refuse(
        folder.path(),
        &TRAIN,
        &["64x64 pixels", "instances_train.json declares 64x63"],
    );
}

#[test]
fn a_corrupt_image_is_named_or_skipped() {
    let folder = project();
    let images = std::fs::read_dir(folder.path().join("shapes/train")).expect("readable");
    let images: Vec<_> = images
        .map(|entry| entry.expect("readable").path())
        .collect();
    for image in &images[1..] {
        let bytes = std::fs::read(image).expect("readable");
        std::fs::write(image, &bytes[..bytes.len() / 2]).expect("writes");
    }
    refuse(
        folder.path(),
        &TRAIN,
        &["error: cannot decode image shapes/train/"],
    );
    let skip = ["--run-dir", "skipped", "--set", "data.on_bad_image=skip"];
    let done = aweigh(folder.path(), &train(&skip));
    contains(
        &done.stderr,
        &["warning: ", "cannot decode image shapes/train/"],
    );
    done.ok();
    std::fs::write(&images[0], "no picture").expect("writes");
    let none = "error: epoch 0 has no usable image in shapes/annotations/instances_train.json";
    let nothing = ["--run-dir", "nothing", "--set", "data.on_bad_image=skip"];
    refuse(folder.path(), &train(&nothing), &[none]);
    let bench = ["bench", "--config", "tiny.toml", "--mode", "data"];
    let bench = [bench.as_slice(), &["--set", "data.on_bad_image=skip"]].concat();
    refuse(folder.path(), &bench, &[none]);
}

#[test]
fn wrong_weights_are_named() {
    let folder = project();
    let eval = |weights: &'static str| ["eval", "--config", "tiny.toml", "--weights", weights];
    write(folder.path(), "a.safetensors", "not weights");
    write(folder.path(), "a.txt", "not weights");
    refuse(
        folder.path(),
        &eval("none.safetensors"),
        &["error: none.safetensors: cannot read"],
    );
    refuse(
        folder.path(),
        &eval("a.safetensors"),
        &["error: a.safetensors: ", "not weights"],
    );
    refuse(
        folder.path(),
        &eval("a.txt"),
        &["error: a.txt: ", "safetensors"],
    );
    refuse(
        folder.path(),
        &eval("shapes"),
        &["error: no checkpoint in shapes", "or that of a run"],
    );
    let backbone = ["--set", "train.backbone_weights=a.safetensors"];
    let train = [TRAIN.as_slice(), &backbone].concat();
    refuse(folder.path(), &train, &["error: a.safetensors: "]);
}

#[test]
fn missing_weights_are_told_before_the_data_is_read() {
    let folder = no_data();
    let check = |change: &str, parts: &[&str]| {
        refuse(folder.path(), &train(&["--set", change]), parts);
    };
    check(
        "model.weights.backbone=weights/resnet18.safetensors",
        &[
            "error: weights/resnet18.safetensors: there are no such weights",
            "`model.weights.backbone` names",
            "`scripts/fetch_weights.sh resnet18` fetches",
        ],
    );
    check(
        "train.weights=best.safetensors",
        &[
            "error: best.safetensors: there are no such weights, which `train.weights` names",
            "relative to the folder that aweigh is started in",
        ],
    );
}

#[test]
fn a_folder_without_a_run_is_named() {
    let folder = project();
    let no_run = ["error: shapes is not a run folder"];
    refuse(folder.path(), &["train", "--resume", "shapes"], &no_run);
    refuse(folder.path(), &["eval", "--run", "shapes"], &no_run);
    refuse(
        folder.path(),
        &["predict", "--run", "shapes", "shapes/val"],
        &no_run,
    );
    refuse(
        folder.path(),
        &train(&["--resume"]),
        &["runs/tiny is not a run"],
    );
    let usage = aweigh(folder.path(), &train(&["--resume", "shapes"]));
    contains(&usage.failed(2), &["a run has its own configuration"]);
}

#[test]
fn wrong_inputs_of_predict_are_named() {
    let folder = project();
    let check = |input: &str, part: &str| {
        refuse(
            folder.path(),
            &["predict", "--run", "x", input],
            &["error: ", part],
        );
    };
    check("none.png", "none.png: no such file or folder");
    check(
        "*.jpg",
        "*.jpg: no picture (jpg, jpeg, png, bmp, webp, tif, tiff) matches",
    );
    check("shapes/annotations", "shapes/annotations: no picture");
    let over = ["predict", "--run", "x", "shapes/val", "--out", "shapes/val"];
    refuse(
        folder.path(),
        &over,
        &["error: shapes/val/", "would be overwritten"],
    );
}

#[test]
fn a_dataset_is_not_overwritten() {
    let folder = project();
    let synth = ["data", "synth", "--out", "shapes"];
    refuse(folder.path(), &synth, &["error: shapes exists already"]);
    refuse(
        folder.path(),
        &["data", "synth", "--out", "new", "--train", "0"],
        &["`train`: 0"],
    );
}

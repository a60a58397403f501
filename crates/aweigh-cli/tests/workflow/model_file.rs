//! The run `my run` as one file, handed on and taken in again.

use std::path::Path;

use aweigh_weights::{
    FileLayout, ModelFile, ModelMetadata, Overwrite, Part, Precision, WeightsFile, write_model,
};

use crate::support::{aweigh, contains, json};

/// Exports, predicts and scores from the file alone, starts training from it, and writes nothing
/// over anything.
pub(super) fn run(folder: &Path) {
    let export = ["export", "--run", "my run", "--out", "model.safetensors"];
    aweigh(folder, &export).ok();
    refused(
        folder,
        &export,
        "model.safetensors: is there already; --force",
    );
    aweigh(folder, &[export.as_slice(), &["--force"]].concat()).ok();
    alone(folder);
    half_precision(folder);
    round_trips(folder);
    onnx(folder);
    of_run(folder);
    backbone_alone(folder);
    start_from(folder);
}

fn refused(folder: &Path, args: &[&str], message: &str) {
    contains(&aweigh(folder, args).failed(1), &["error: ", message]);
}

/// Detections of the pictures for validation.
fn detections(folder: &Path, model: &[&str], out: &str) -> serde_json::Value {
    let args = ["predict", "shapes/val", "--score", "0", "--out", out];
    aweigh(folder, &[args.as_slice(), model].concat()).ok();
    json(&folder.join(out).join("detections.json"))
}

/// In a folder that has nothing but the file and the pictures.
fn alone(folder: &Path) {
    let other = tempfile::tempdir().expect("temporary folder");
    let other = other.path();
    std::fs::copy(
        folder.join("model.safetensors"),
        other.join("m.safetensors"),
    )
    .expect("copies");
    let shapes = folder.join("shapes");
    let of_shapes = |name: &str| shapes.join(name).display().to_string();
    let (val, annotations) = (
        of_shapes("val"),
        of_shapes("annotations/instances_val.json"),
    );
    let model = ["--model", "m.safetensors"];
    let split = ["--annotations", &annotations, "--images", &val];
    let scores = aweigh(other, &[&["eval"], model.as_slice(), &split].concat()).ok();
    let expected = aweigh(folder, &["eval", "--run", "my run"]).ok();
    assert_eq!(scores, expected);
    let args = ["predict", &val, "--score", "0"];
    aweigh(other, &[args.as_slice(), &model].concat()).ok();
    let found = json(&other.join("predictions/detections.json"));
    let expected = detections(folder, &["--run", "my run"], "of run");
    assert_eq!(found["annotations"], expected["annotations"]);
    assert_eq!(found["categories"], expected["categories"]);
    let without = [["eval"].as_slice(), &model, &split[..2]].concat();
    refused(other, &without, "--annotations need --images");
}

fn half_precision(folder: &Path) {
    let export = ["export", "--run", "my run", "--precision", "f16", "--out"];
    aweigh(folder, &[export.as_slice(), &["half.safetensors"]].concat()).ok();
    let size = |name: &str| std::fs::metadata(folder.join(name)).expect("a file").len();
    let (half, whole) = (size("half.safetensors"), size("model.safetensors"));
    assert!(half < whole * 3 / 5, "{half} of {whole} bytes");
    detections(folder, &["--model", "half.safetensors"], "of half");
}

/// The file is the same after another export, an import, and a way through mmdetection's names.
fn round_trips(folder: &Path) {
    let bytes = |name: &str| std::fs::read(folder.join(name)).expect("a file");
    let again = ["export", "--model", "model.safetensors", "--out"];
    aweigh(folder, &[again.as_slice(), &["again.safetensors"]].concat()).ok();
    assert!(bytes("again.safetensors") == bytes("model.safetensors"));
    let mmdet = [again.as_slice(), &["mm.safetensors", "--layout", "mmdet"]].concat();
    aweigh(folder, &mmdet).ok();
    let back = [
        "export",
        "--model",
        "mm.safetensors",
        "--out",
        "back.safetensors",
    ];
    aweigh(folder, &back).ok();
    assert!(bytes("back.safetensors") == bytes("model.safetensors"));
    let import = ["import", "model.safetensors", "--out", "in.safetensors"];
    let report = aweigh(folder, &import).ok();
    let parts = [
        "FCOS of 5 classes",
        "loaded      backbone: ",
        "classes     5: ",
    ];
    contains(&report, &parts);
    let of_import = [
        "export",
        "--model",
        "in.safetensors",
        "--out",
        "out.safetensors",
    ];
    aweigh(folder, &of_import).ok();
    for file in ["in.safetensors", "out.safetensors"] {
        assert!(bytes(file) == bytes("model.safetensors"), "{file}");
    }
    let torchvision = ["--layout", "torchvision", "--force"];
    let args = [export_to("tv.safetensors").as_slice(), &torchvision].concat();
    refused(folder, &args, "torchvision");
}

/// The structure of models is tested where they are written; here, that the options arrive.
fn onnx(folder: &Path) {
    let size = |name: &str, more: &[&str]| {
        aweigh(folder, &[export_to(name).as_slice(), more].concat()).ok();
        std::fs::metadata(folder.join(name)).expect("a file").len()
    };
    let plain = size("plain.onnx", &[]);
    assert!(size("nms.onnx", &["--size", "64x96", "--with-nms"]) > plain);
    assert!(size("raw", &["--format", "onnx", "--dynamic", "--with-raw"]) > 0);
    refused(
        folder,
        &export_to("plain.onnx"),
        "plain.onnx: is there already",
    );
    refused(folder, &export_to("model.txt"), ".safetensors or .onnx");
    let refuse = |name: &str, option: &[&str], words: &str| {
        refused(
            folder,
            &[export_to(name).as_slice(), option].concat(),
            words,
        );
    };
    let of_onnx = "is an option of ONNX files alone";
    refuse("x.safetensors", &["--size", "64"], of_onnx);
    refuse("x.safetensors", &["--with-nms"], of_onnx);
    let precision = "--precision is an option of safetensors files alone";
    refuse("x.onnx", &["--precision", "f16"], precision);
    refuse("x.onnx", &["--layout", "mmdet"], "--layout is an option of");
    let usual = aweigh(folder, &export_to("usual.onnx")).stderr;
    contains(&usual, &["the input is 64x64, ", "group norms average"]);
}

/// The run itself as the source of an import, and training that goes on from it.
fn of_run(folder: &Path) {
    let import = ["import", "my run", "--out", "of-run.safetensors"];
    let report = aweigh(
        folder,
        &[&import[..], &["--write-config", "of-run.toml"]].concat(),
    )
    .ok();
    contains(
        &report,
        &[
            "classes     5: ",
            "next:\n  aweigh predict --model of-run.safetensors PICTURES\n",
            "  aweigh train --config of-run.toml",
        ],
    );
    let train = [
        "train",
        "--config",
        "of-run.toml",
        "--set",
        "train.iterations=1",
    ];
    let done = aweigh(folder, &train);
    contains(&done.stderr, &["weights from of-run.safetensors"]);
    contains(&done.ok(), &["runs/of-run"]);
    let again = ["train", "--resume", "runs/of-run"];
    contains(
        &aweigh(folder, &again).stderr,
        &[
            "all 1 iterations of this run are done; train on with",
            "aweigh train --resume runs/of-run --set train.iterations=N",
            "all 1 iterations are done (",
        ],
    );
    let other = ["import", "my run", "--out", "o.pth"];
    refused(
        folder,
        &other,
        "o.pth: expected a name that ends in .safetensors",
    );
    let set = ["--set", "seed=1", "--force"];
    let refusal = "--set changes the configuration of --config";
    refused(folder, &[&import[..], &set].concat(), refusal);
    let none = [
        "eval",
        "--run",
        "my run",
        "--annotations",
        "no.json",
        "--images",
        "shapes",
    ];
    refused(
        folder,
        &none,
        "--annotations no.json: there is no such file",
    );
}

fn export_to(file: &str) -> [&str; 5] {
    ["export", "--run", "my run", "--out", file]
}

/// The backbone of the run: there are no classes and no configuration to ask for.
fn backbone_alone(folder: &Path) {
    let model = WeightsFile::open(&folder.join("model.safetensors")).expect("weights");
    let tensors = model.tensors.into_iter();
    let own = tensors.filter_map(|(name, t)| Some((name.strip_prefix("backbone.")?.to_owned(), t)));
    let backbone = ModelFile {
        tensors: own.collect(),
        metadata: ModelMetadata::new(Part::Backbone, FileLayout::Aweigh),
        precision: Precision::default(),
    };
    let path = folder.join("backbone.safetensors");
    write_model(&path, &backbone, Overwrite::No).expect("writes");
    std::fs::write(folder.join("names.txt"), "one\n").expect("writes");
    let import = ["import", "backbone.safetensors", "--out", "b.safetensors"];
    let refuse = |more: [&str; 2], words: &str| {
        refused(folder, &[import.as_slice(), &more].concat(), words);
    };
    refuse(["--classes", "names.txt"], "has no classes for --classes");
    let config = "has no configuration for --write-config";
    refuse(["--write-config", "b.toml"], config);
    let next = "next:\n  aweigh train --config CONFIG --set model.weights.backbone=b.safetensors";
    contains(&aweigh(folder, &import).ok(), &[next]);
}

/// Training that starts from the file, and from files that are not those of the configuration.
fn start_from(folder: &Path) {
    let train = [
        "train",
        "--config",
        "tiny.toml",
        "--set",
        "train.iterations=1",
    ];
    let detector = "model.weights.detector=model.safetensors";
    let start = |run: &'static str, more: &[&str]| {
        let args = [&["--run-dir", run, "--set", detector], more].concat();
        aweigh(folder, &[train.as_slice(), &args].concat())
    };
    // A checkpoint's file has the same name, and more beside it.
    let weights = [
        "eval",
        "--config",
        "tiny.toml",
        "--weights",
        "model.safetensors",
    ];
    aweigh(folder, &weights).ok();
    let done = start("tuned", &[]);
    contains(&done.stderr, &["weights from model.safetensors"]);
    done.ok();
    let other = start("none", &["--set", "model.weights.sha256=00000000"]).failed(1);
    contains(
        &other,
        &["model.safetensors: its SHA-256 is ", "expects 00000000"],
    );
    let bgr = ["--set", "data.transform.channel_order=bgr"];
    let other = start("none", &bgr).failed(1);
    contains(
        &other,
        &[
            "model.safetensors belongs to channel_order = \"rgb\"",
            "the configuration has channel_order = \"bgr\"",
            ": set `data.transform.channel_order` as the weights have it",
        ],
    );
    assert!(!folder.join("none").exists());
}

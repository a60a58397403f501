//! A whole small project: train, evaluate, predict, interrupt, resume.

use std::path::Path;

use serde_json::Value;

use crate::support::{Run, TINY, aweigh, contains, project};

fn train(folder: &Path, more: &[&str]) -> Run {
    aweigh(
        folder,
        &[&["train", "--config", "tiny.toml"], more].concat(),
    )
}

fn json(file: &Path) -> Value {
    let text = std::fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    serde_json::from_str(&text).expect("JSON")
}

#[test]
fn a_project_from_training_to_pictures() {
    let folder = project();
    let folder = folder.path();
    let done = train(folder, &["--run-dir", "my run"]);
    contains(
        &done.stderr,
        &[
            "training: ",
            "5 classes",
            "iteration 6/6",
            "loss",
            "AP50",
            "eta",
        ],
    );
    let next = [
        "aweigh eval --run 'my run'",
        "aweigh predict --run 'my run' PICTURES",
    ];
    let stdout = done.ok();
    contains(
        &stdout,
        &["best AP 0.", "checkpoint my run/checkpoints/best"],
    );
    contains(&stdout, &next);
    for file in [
        "config.toml",
        "metrics.jsonl",
        "checkpoints/last",
        "checkpoints/best",
        "eval",
    ] {
        assert!(folder.join("my run").join(file).exists(), "{file}");
    }
    let log = std::fs::read_to_string(folder.join("my run/log.txt")).expect("log.txt");
    contains(
        &log,
        &[
            "8 images",
            "iteration 1/6",
            "iteration 6/6",
            "checkpoint written",
        ],
    );
    let occupied = train(folder, &["--run-dir", "my run"]).failed(1);
    contains(
        &occupied,
        &["error: my run holds a run already", "--resume"],
    );

    let scores = aweigh(folder, &["eval", "--run", "my run"]).ok();
    contains(
        &scores,
        &["Average Precision  (AP) @[ IoU=0.50:0.95", "circle", "AP50"],
    );
    let metrics = json(&folder.join("my run/eval/metrics-best.json"));
    assert!(metrics["stats"]["AP"].is_f64(), "{metrics}");
    let weights = [
        "eval",
        "--config",
        "tiny.toml",
        "--weights",
        "my run/checkpoints/best",
    ];
    assert_eq!(aweigh(folder, &weights).ok(), scores);
    let file = "my run/checkpoints/best/model.safetensors";
    let weights = ["eval", "--config", "tiny.toml", "--weights", file];
    assert_eq!(aweigh(folder, &weights).ok(), scores);
    let other = [
        weights.as_slice(),
        &["--set", "detector.fcos.feat_channels=8"],
    ]
    .concat();
    let mismatch = [
        "model.safetensors: the weights do not fit the model",
        "of another shape",
    ];
    contains(&aweigh(folder, &other).failed(1), &mismatch);

    predict(folder);
    predict_upright(folder);
    explain(folder);
}

/// Pictures, one of them broken, of the run `my run`.
fn predict(folder: &Path) {
    std::fs::write(folder.join("broken.png"), "no picture").expect("writes");
    let args = [
        "predict",
        "--run",
        "my run",
        "shapes/val",
        "--out",
        "drawn",
        "--score",
        "0",
    ];
    let stdout = aweigh(folder, &args).ok();
    assert_eq!(stdout.lines().count(), 4, "{stdout}");
    contains(&stdout, &["shapes/val/", ".png: "]);
    let file = json(&folder.join("drawn/detections.json"));
    let images = file["images"].as_array().expect("a list");
    assert_eq!((images.len(), images[0]["width"].as_u64()), (4, Some(64)));
    assert_eq!(file["categories"].as_array().map(Vec::len), Some(5));
    for image in images {
        let original = image["file_name"].as_str().expect("a name");
        let drawn = folder
            .join("drawn")
            .join(Path::new(original).file_name().expect("a name"));
        let drawn = std::fs::read(drawn).expect("drawn");
        assert!(drawn.starts_with(b"\x89PNG"), "{original}");
    }
    // One broken picture fails the command, not the other pictures.
    let args = [
        "predict",
        "--run",
        "my run",
        "broken.png",
        "shapes/val",
        "--out",
        "again",
    ];
    let failed = aweigh(folder, &args);
    assert!(folder.join("again/detections.json").is_file());
    contains(
        &failed.failed(1),
        &[
            "error: cannot decode image broken.png",
            "1 of 5 pictures failed",
        ],
    );
}

/// A picture of 64x32 pixels whose EXIF orientation turns it by 90 degrees, of the run `my run`.
fn predict_upright(folder: &Path) {
    // Bright on the left, which is the top of the upright picture.
    let level = |x, _| image::Luma([if x < 32 { 250_u8 } else { 5 }]);
    let mut jpeg = std::io::Cursor::new(Vec::new());
    image::ImageBuffer::from_fn(64, 32, level)
        .write_to(&mut jpeg, image::ImageFormat::Jpeg)
        .expect("encodes");
    let mut jpeg = jpeg.into_inner();
    let exif =
        b"\xFF\xE1\0\x22Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    jpeg.splice(2..2, exif.iter().copied());
    std::fs::write(folder.join("turned.jpg"), jpeg).expect("writes");
    let check = |exif: &str, out: &str, size: [u64; 2]| {
        let change = format!("data.exif={exif}");
        let model = ["predict", "--run", "my run", "--set", &change];
        let files = ["turned.jpg", "--out", out, "--score", "1"];
        aweigh(folder, &[model, files].concat()).ok();
        let drawn = image::open(folder.join(out).join("turned.jpg")).expect("drawn");
        let drawn = drawn.into_luma8();
        assert_eq!(drawn.dimensions(), (32, 64), "{exif}");
        assert!(drawn.get_pixel(30, 2).0[0] > 200, "{exif}");
        assert!(drawn.get_pixel(30, 61).0[0] < 50, "{exif}");
        let file = json(&folder.join(out).join("detections.json"));
        let image = &file["images"][0];
        let found = ["width", "height"].map(|side| image[side].as_u64());
        assert_eq!(found, size.map(Some), "{exif}");
    };
    check("apply", "upright", [32, 64]);
    check("ignore", "stored", [64, 32]);
    let error = ["predict", "--run", "my run", "--set", "data.exif=error"];
    let files = ["turned.jpg", "--out", "refused", "--score", "1"];
    contains(
        &aweigh(folder, &[error, files].concat()).failed(1),
        &["error: image turned.jpg has the EXIF orientation 6"],
    );
}

/// The points that the boxes of a validation image train: of the run `my run`, and of methods with
/// random weights.
fn explain(folder: &Path) {
    let val = "shapes/annotations/instances_val.json";
    let truth = json(&folder.join(val));
    let image = truth["images"][0]["file_name"].as_str().expect("a name");
    let boxes = truth["annotations"].as_array().expect("a list").iter();
    let boxes = boxes
        .filter(|a| a["image_id"] == truth["images"][0]["id"])
        .count();
    let image = format!("shapes/val/{image}");
    let stem = Path::new(&image)
        .file_stem()
        .expect("a name")
        .to_string_lossy();
    let check = |model: &[&str], out: &str, stages: &[&str], parts: &[&str]| {
        let args = ["explain", &image, "--annotations", val, "--out", out];
        let done = aweigh(folder, &[&args, model].concat());
        contains(&done.stderr, parts);
        let text = done.ok();
        for stage in stages {
            contains(&text, &[&format!(", {stage}: ")]);
            let file = folder.join(out).join(format!("{stem}_{stage}.png"));
            let picture =
                std::fs::read(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
            assert!(picture.starts_with(b"\x89PNG"), "{stage}");
        }
        let summary = json(&folder.join(out).join(format!("{stem}_explained.json")));
        assert_eq!(summary["boxes"].as_array().map(Vec::len), Some(boxes));
        let names = summary["stages"].as_array().expect("a list").iter();
        let names: Vec<&str> = names.filter_map(|stage| stage["name"].as_str()).collect();
        assert_eq!(names, stages);
        summary
    };
    let trained = check(
        &["--run", "my run"],
        "why",
        &["points"],
        &["model of my run"],
    );
    let level = |summary: &Value, name: &str| summary["stages"][0]["levels"][name].clone();
    assert_eq!(level(&trained, "P3")["all"], 64);
    let tiny = ["--config", "tiny.toml", "--level", "p4"];
    let random = check(&tiny, "random", &["points"], &["any weights give the same"]);
    assert_eq!(level(&random, "P3"), level(&trained, "P3"));
    // A file of nothing but weights goes with the classes of the image's annotations: those of the
    // configuration need not be there.
    let model = folder.join("my run/checkpoints/best/model.safetensors");
    std::fs::copy(model, folder.join("alone.safetensors")).expect("copies");
    let alone = ["--config", "tiny.toml", "--weights", "alone.safetensors"];
    let no_data = ["--set", "data.val.annotations=none.json"];
    let alone = [alone.as_slice(), &no_data].concat();
    let alone = check(&alone, "alone", &["points"], &[]);
    assert_eq!(level(&alone, "P3"), level(&trained, "P3"));
    let three_levels = "base_edge_list = [16, 32, 64]\n\
                        scale_ranges = [[1, 64], [32, 128], [64, 512]]";
    for (table, keys, stages) in [
        ("fovea", three_levels, ["points"].as_slice()),
        ("reppoints", "", &["init", "refine"]),
        ("fsaf", "", &["anchor-free"]),
        ("retina", "fsaf = {}", &["anchor-based", "anchor-free"]),
    ] {
        let config = TINY
            .split("[detector.fcos]")
            .next()
            .expect("the text before");
        let (_, train) = TINY.split_once("[train]").expect("a table");
        let config =
            format!("{config}[detector.{table}]\nfeat_channels = 16\n{keys}\n[train]{train}");
        let file = format!("{table}.toml");
        std::fs::write(folder.join(&file), config).expect("writes");
        let args = ["--config", &file, "--set"];
        let norm = format!("detector.{table}.norm={{ group_norm = {{ groups = 4 }} }}");
        let parts: &[&str] = match table {
            "fovea" => &["any weights give the same"],
            _ => &["warning: random weights", "assigns by predictions"],
        };
        check(
            &[&args, [norm.as_str()].as_slice()].concat(),
            table,
            stages,
            parts,
        );
    }
}

/// The lines of `metrics.jsonl` without what depends on the clock.
#[cfg(unix)]
fn metrics(run: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap_or_default();
    let lines = text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    let mut lines: Vec<Value> = lines.collect();
    for line in &mut lines {
        let line = line.as_object_mut().expect("an object");
        line.retain(|key, _| !["images_per_s", "loading"].contains(&key.as_str()));
    }
    lines
}

#[test]
#[cfg(unix)]
fn ctrl_c_writes_a_checkpoint_from_which_the_run_continues_exactly() {
    use crate::support::{command, run};
    use std::process::{Command, Stdio};
    use std::time::Duration;

    let folder = project();
    let folder = folder.path();
    let longer = [
        "--set",
        "train.iterations=60",
        "--set",
        "train.eval_every_iterations=0",
    ];
    train(
        folder,
        &[longer.as_slice(), &["--run-dir", "whole"]].concat(),
    )
    .ok();

    let cut = [
        &["train", "--config", "tiny.toml", "--run-dir", "cut"],
        longer.as_slice(),
    ]
    .concat();
    let mut child = command(folder, &cut);
    let child = child
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    while metrics(&folder.join("cut")).is_empty() {
        std::thread::sleep(Duration::from_millis(10));
    }
    let id = child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-INT", &id])
            .status()
            .expect("kill")
            .success()
    );
    let stopped = run(child.wait_with_output().expect("ends")).failed(130);
    contains(
        &stopped,
        &["stopped after iteration", "aweigh train --resume cut"],
    );
    assert!(
        metrics(&folder.join("cut")).len() < 60,
        "it was too fast to be interrupted"
    );

    let resumed = aweigh(folder, &["train", "--resume", "cut"]);
    contains(&resumed.stderr, &["going on: ", "iteration 60/60"]);
    resumed.ok();
    assert_eq!(metrics(&folder.join("cut")), metrics(&folder.join("whole")));
}

#[test]
fn bench_prints_one_line_of_json() {
    let folder = project();
    let classes = "detector.num_classes=3";
    let bench = [
        "bench",
        "--config",
        "tiny.toml",
        "--set",
        classes,
        "--size",
        "70x90",
    ];
    for (mode, phase) in [("train", "assign"), ("infer", "head"), ("data", "load")] {
        let args = [
            bench.as_slice(),
            &["--mode", mode, "--repeats", "2", "--warmup", "1"],
        ]
        .concat();
        let stdout = aweigh(folder.path(), &args).ok();
        assert_eq!(stdout.lines().count(), 1, "{stdout}");
        let report: Value = serde_json::from_str(&stdout).expect("JSON");
        assert_eq!(report["mode"], mode);
        assert!(
            report["images_per_s"].as_f64().is_some_and(|n| n > 0.0),
            "{report}"
        );
        assert!(report["phases_ms"][phase]["median"].is_f64(), "{report}");
    }
}

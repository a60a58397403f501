//! A whole small project: train, evaluate, predict, interrupt, resume.

mod explain;
mod model_file;
mod predict;

use std::path::Path;

use serde_json::Value;

use crate::support::{Run, aweigh, contains, json, project};

fn train(folder: &Path, more: &[&str]) -> Run {
    aweigh(
        folder,
        &[&["train", "--config", "tiny.toml"], more].concat(),
    )
}

#[test]
fn a_project_from_training_to_pictures() {
    let folder = project();
    let folder = folder.path();
    train_once(folder);
    evaluate(folder);
    predict::pictures(folder);
    predict::upright(folder);
    explain::run(folder);
    explain::methods(folder);
    model_file::run(folder);
}

/// Trains `my run`, and not into it again.
fn train_once(folder: &Path) {
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
}

/// The scores of `my run`, of its best checkpoint and of that one's weights.
fn evaluate(folder: &Path) {
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

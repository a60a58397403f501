//! A run folder has one writer, and nothing in it is lost.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use crate::support::{aweigh, command, contains, project, run};

/// A run of six iterations in the folder `run` of a project.
fn trained() -> tempfile::TempDir {
    let folder = project();
    let args = ["train", "--config", "tiny.toml", "--run-dir", "run"];
    aweigh(folder.path(), &args).ok();
    folder
}

/// Every file below a folder with its bytes, and every folder.
fn listing(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("readable") {
        let path = entry.expect("readable").path();
        found.push((path.clone(), std::fs::read(&path).unwrap_or_default()));
        if path.is_dir() {
            found.extend(listing(&path));
        }
    }
    found.sort();
    found
}

#[test]
#[cfg(unix)]
fn a_second_process_is_refused_until_the_first_one_ends() {
    let folder = project();
    let folder = folder.path();
    let start = [
        "train",
        "--config",
        "tiny.toml",
        "--run-dir",
        "run",
        "--set",
        "train.iterations=100000",
        "--set",
        "train.eval_every_iterations=0",
    ];
    let mut first = command(folder, &start);
    let mut first = first.stderr(Stdio::null()).spawn().expect("starts");
    while !folder.join("run/checkpoints/last").exists() {
        std::thread::sleep(Duration::from_millis(10));
    }
    let config = std::fs::read(folder.join("run/config.toml")).expect("readable");
    let refused = format!("error: run is being written by process {}", first.id());
    let resume = ["train", "--resume", "run", "--set", "train.lr=0.5"];
    for args in [start.as_slice(), &resume] {
        contains(&aweigh(folder, args).failed(1), &[&refused]);
    }
    first.kill().expect("kills");
    first.wait().expect("ends");
    let now = std::fs::read(folder.join("run/config.toml")).expect("readable");
    assert!(now == config, "a refused process changed the configuration");
    let resume = ["train", "--resume", "run", "--set", "train.iterations=1"];
    aweigh(folder, &resume).ok();
}

#[test]
fn readers_find_moved_checkpoints_and_change_nothing() {
    let folder = trained();
    let folder = folder.path();
    let checkpoints = folder.join("run/checkpoints");
    for name in ["last", "best"] {
        let aside = checkpoints.join(format!(".{name}.previous"));
        std::fs::rename(checkpoints.join(name), aside).expect("renames");
    }
    let before = listing(&folder.join("run"));
    for checkpoint in ["last", "best"] {
        let model = ["--run", "run", "--checkpoint", checkpoint];
        let source = format!("model of run/checkpoints/.{checkpoint}.previous");
        let eval = [["eval", "--out", "scores"].as_slice(), &model].concat();
        let done = aweigh(folder, &eval);
        contains(&done.stderr, &[&source]);
        done.ok();
        let predict = ["predict", "shapes/val", "--out", "drawn"];
        aweigh(folder, &[predict.as_slice(), &model].concat()).ok();
    }
    assert!(
        listing(&folder.join("run")) == before,
        "a reader changed files"
    );
    let resumed = aweigh(folder, &["train", "--resume", "run"]);
    contains(
        &resumed.stderr,
        &["recovered checkpoint run/checkpoints/last"],
    );
    resumed.ok();
    assert!(checkpoints.join("last").is_dir() && checkpoints.join("best").is_dir());
}

#[test]
fn a_wrong_change_leaves_the_run_as_it_was() {
    let folder = trained();
    let folder = folder.path();
    let before = listing(&folder.join("run"));
    let check = |change: &str, parts: &[&str]| {
        let resume = ["train", "--resume", "run", "--set", change];
        contains(&aweigh(folder, &resume).failed(1), parts);
        let same = listing(&folder.join("run"))
            .into_iter()
            .zip(&before)
            .all(|(now, then)| now == *then || now.0.ends_with("run.lock"));
        assert!(same, "{change} changed files");
    };
    check("train.lrr=1", &["unknown key `train.lrr`"]);
    check(
        "data.val.annotations=none.json",
        &["cannot read annotation file none.json"],
    );
    check(
        "detector.fcos.feat_channels=8",
        &["error: the run in run cannot go on with `detector` changed"],
    );
    aweigh(folder, &["train", "--resume", "run"]).ok();
    aweigh(folder, &["eval", "--run", "run"]).ok();
}

#[test]
fn a_resumed_run_does_not_miss_the_weights_that_it_started_from() {
    let folder = trained();
    let folder = folder.path();
    let start = folder.join("start.safetensors");
    for key in ["weights", "backbone_weights"] {
        let source = folder.join("run/checkpoints/last/model.safetensors");
        std::fs::copy(source, &start).expect("copies");
        let weights = format!("train.{key}=start.safetensors");
        let train = ["train", "--config", "tiny.toml", "--run-dir", key];
        let short = ["--set", "train.iterations=1", "--set", &weights];
        aweigh(folder, &[train.as_slice(), &short].concat()).ok();
        std::fs::remove_file(&start).expect("removes");
        let longer = ["train", "--resume", key, "--set", "train.iterations=2"];
        aweigh(folder, &longer).ok();
    }
}

#[test]
fn a_longer_schedule_is_told_with_its_rates() {
    let folder = trained();
    let longer = ["train", "--resume", "run", "--set", "train.iterations=8"];
    let done = aweigh(folder.path(), &longer);
    let rates = [
        "warning: the schedule changed: 6 to 8 iterations; the rate of the next step is 1.46e-4 \
         (was 0.00e0), that of the last one 3.81e-5 (was 6.70e-5)",
        "going on: ",
        "iteration 8/8",
    ];
    contains(&done.stderr, &rates);
    done.ok();
    let text = std::fs::read_to_string(folder.path().join("run/config.toml")).expect("readable");
    contains(&text, &["iterations = 8"]);
    let again = aweigh(folder.path(), &["train", "--resume", "run"]);
    assert!(!again.stderr.contains("changed"), "{}", again.stderr);
    again.ok();
}

#[test]
fn changed_annotations_are_told() {
    let folder = trained();
    let folder = folder.path();
    let file = folder.join("shapes/annotations/instances_train.json");
    let text = std::fs::read_to_string(&file).expect("readable");
    let edit = |from: &str, to: &str| {
        assert!(text.contains(from), "`{from}` is not in {text}");
        std::fs::write(&file, text.replacen(from, to, 1)).expect("writes");
    };
    edit("\"images\":", "\"note\":\"reviewed\",\"images\":");
    let changed = aweigh(folder, &["train", "--resume", "run"]);
    let told = [
        "warning: shapes/annotations/instances_train.json has changed since the checkpoint: still \
         8 images, ",
        "but with other content",
    ];
    contains(&changed.stderr, &told);
    changed.ok();
    edit("\"circle\"", "\"disc\"");
    let refused = [
        "error: the classes in shapes/annotations/instances_train.json have changed",
        "is named `disc`, then `circle`",
    ];
    contains(
        &aweigh(folder, &["train", "--resume", "run"]).failed(1),
        &refused,
    );
}

#[test]
fn an_error_says_where_the_run_can_be_continued() {
    let folder = project();
    let folder = folder.path();
    let val = std::fs::read_dir(folder.join("shapes/val")).expect("readable");
    let picture = val.map(|entry| entry.expect("readable").path()).min();
    let train = ["train", "--config", "tiny.toml", "--run-dir", "run"];
    let longer = [
        "--set",
        "train.iterations=40",
        "--set",
        "train.eval_every_iterations=0",
    ];
    let mut child = command(folder, &[train.as_slice(), &longer].concat());
    let child = child.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = child.spawn().expect("starts");
    // Pictures are looked at before the first step: this one breaks later.
    while !folder.join("run/metrics.jsonl").exists() {
        std::thread::sleep(Duration::from_millis(10));
    }
    std::fs::write(picture.expect("a picture"), "no picture").expect("writes");
    let failed = run(child.wait_with_output().expect("ends")).failed(1);
    let parts = [
        "stopped after iteration 40, with a checkpoint in run/checkpoints/last; continue with\n  \
         aweigh train --resume run\n",
        "error: cannot decode image shapes/val/",
    ];
    contains(&failed, &parts);
    let skip = [
        "train",
        "--resume",
        "run",
        "--set",
        "data.on_bad_image=skip",
    ];
    contains(&aweigh(folder, &skip).ok(), &["best AP 0."]);
}

//! Runs that are killed, and rehearsals that write nothing.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use crate::support::{aweigh, command, contains, project};

/// Everything that a resumed run has to go on with.
const CHANGES: [&str; 8] = [
    "train.iterations=30",
    "train.checkpoint_every_iterations=1",
    "train.eval_every_iterations=7",
    "train.batch_size=3",
    "train.micro_batch_size=2",
    "train.ema={ decay = 0.9, warmup = 5 }",
    "data.workers=3",
    "data.augment={ mosaic = { prob = 0.5 }, photometric = {} }",
];

/// Starts a run, or goes on with it.
fn start(folder: &Path, run: &str) -> std::process::Child {
    let mut args = vec!["train", "--run-dir", run, "--config", "tiny.toml"];
    if folder.join(run).join("checkpoints/last").exists() {
        args = vec!["train", "--resume", run];
    } else {
        args.extend(CHANGES.iter().flat_map(|change| ["--set", change]));
    }
    let mut process = command(folder, &args);
    let process = process.stdout(Stdio::null()).stderr(Stdio::null());
    process.spawn().expect("starts")
}

/// Kills a run again and again, at moments that differ, until it comes to its end before that.
/// Gives how often it was killed.
fn killed_again_and_again(folder: &Path, run: &str) -> usize {
    for kills in 0.. {
        let mut process = start(folder, run);
        // A fixed sequence that visits all parts of a step, a checkpoint and an evaluation; later
        // ones are longer, so that a slow machine gets to the end, too.
        let moment = 150 + (kills as u64 * 137) % 400 + 40 * kills as u64;
        std::thread::sleep(Duration::from_millis(moment));
        if let Some(status) = process.try_wait().expect("a process") {
            assert!(status.success(), "{status} after {kills} kills");
            return kills;
        }
        process.kill().expect("kills");
        process.wait().expect("ends");
    }
    unreachable!("moments get longer without end")
}

#[test]
fn a_run_that_is_killed_again_and_again_ends_as_one_that_is_not() {
    let folder = project();
    let folder = folder.path();
    let status = start(folder, "whole").wait().expect("ends");
    assert!(status.success(), "{status}");
    let kills = killed_again_and_again(folder, "killed");
    assert!(kills > 0, "it was too fast to be killed");
    for file in ["model", "ema", "optimizer"] {
        let read = |run: &str| {
            let path = format!("{run}/checkpoints/last/{file}.safetensors");
            std::fs::read(folder.join(path)).expect("a file of the checkpoint")
        };
        assert!(
            read("whole") == read("killed"),
            "{file} after {kills} kills"
        );
    }
}

#[test]
fn a_rehearsal_says_what_a_run_would_be_and_writes_nothing() {
    let folder = project();
    let folder = folder.path();
    let names = || {
        let entries = std::fs::read_dir(folder).expect("readable");
        entries
            .map(|entry| entry.expect("readable").file_name())
            .collect::<Vec<_>>()
    };
    let before = names();
    let rehearse = [
        "train",
        "--config",
        "tiny.toml",
        "--run-dir",
        "run",
        "--dry-run",
    ];
    let said = aweigh(folder, &rehearse).ok();
    contains(
        &said,
        &[
            "nothing is written",
            "8 images, 5 classes",
            "6 of 2 images, 4 per epoch",
            "loss_bbox",
            "for 4 images, by that of 4",
            "run: config.toml, log.txt",
        ],
    );
    assert_eq!(names(), before);
    let wrong = [rehearse.as_slice(), &["--set", "data.val.images=none"]].concat();
    contains(&aweigh(folder, &wrong).failed(1), &["none"]);
}

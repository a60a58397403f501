//! Help texts and wrong usage.

use std::path::Path;

use crate::support::{aweigh, contains};

fn check(args: &[&str], parts: &[&str]) {
    contains(&aweigh(Path::new("."), args).ok(), parts);
}

fn refuse(args: &[&str], parts: &[&str]) {
    contains(&aweigh(Path::new("."), args).failed(2), parts);
}

#[test]
fn every_command_explains_itself_with_an_example() {
    let commands = [
        "init", "train", "eval", "predict", "explain", "import", "export", "inspect", "bench",
        "check", "devices", "data",
    ];
    check(&["--help"], &commands);
    check(
        &["--help"],
        &["Exit codes", "aweigh train --config quickstart.toml"],
    );
    check(
        &["train", "--help"],
        &["--config", "--set", "--backend", "--resume", "Examples:"],
    );
    check(
        &["eval", "--help"],
        &["--run", "--annotations", "--results", "Examples:"],
    );
    check(
        &["predict", "--help"],
        &["--run", "--score", "--out", "Examples:"],
    );
    check(
        &["explain", "--help"],
        &[
            "--annotations",
            "--level",
            "--run",
            "weights are random",
            "IMAGE_explained.json",
            "Examples:",
        ],
    );
    check(
        &["import", "--help"],
        &["--out", "--allow-partial", "mmdetection", "Examples:"],
    );
    check(
        &["export", "--help"],
        &["--run", "--layout", "--precision", "--force", "Examples:"],
    );
    check(&["inspect", "--help"], &["--config", "--size", "Example"]);
    check(
        &["bench", "--help"],
        &[
            "--mode",
            "train",
            "infer",
            "data",
            "ignored by 'data'",
            "Example",
        ],
    );
    check(
        &["check", "--help"],
        &[
            "--method",
            "--arithmetic",
            "--json",
            "tf32 on cuda",
            "Examples:",
        ],
    );
    check(&["devices", "--help"], &["Example"]);
    check(
        &["data", "synth", "--help"],
        &["--out", "--seed", "Example"],
    );
    check(&["--version"], &["aweigh 0."]);
}

#[test]
fn wrong_usage_says_what_is_expected() {
    refuse(&[], &["Usage: aweigh"]);
    refuse(&["trian"], &["unrecognized subcommand 'trian'", "'train'"]);
    refuse(&["train"], &["--config <FILE>"]);
    refuse(&["train", "--confg", "x.toml"], &["--confg", "'--config'"]);
    refuse(
        &["train", "--config", "x", "--backend", "gpu"],
        &["`gpu`", "cpu, wgpu"],
    );
    refuse(
        &["train", "--config", "x", "--threads", "many"],
        &["--threads <N>", "many"],
    );
    refuse(&["eval"], &["--run", "--config", "--results"]);
    refuse(&["eval", "--config", "x.toml"], &["--weights <FILE>"]);
    refuse(&["eval", "--annotations", "x.json"], &["--results <FILE>"]);
    refuse(&["predict", "--run", "x"], &["<INPUT>..."]);
    refuse(
        &["explain", "--run", "x", "a.png"],
        &["--annotations <FILE>"],
    );
    refuse(
        &["explain", "--run", "x", "--annotations", "a.json"],
        &["<IMAGE>"],
    );
    refuse(
        &["explain", "a.png", "--annotations", "a.json"],
        &["--run", "--config"],
    );
    refuse(
        &[
            "explain",
            "--config",
            "x",
            "a.png",
            "--anotations",
            "a.json",
        ],
        &["--anotations", "'--annotations'"],
    );
    refuse(
        &["bench", "--config", "x", "--mode", "fast"],
        &["train, infer, data"],
    );
    refuse(
        &["check", "--method", "fcos,yolo"],
        &["unknown method `yolo`, expected one of fcos, fovea, fovea_align"],
    );
    refuse(
        &["check", "--channels", "12"],
        &["--channels <N>", "expected a multiple of 8"],
    );
    refuse(
        &["check", "--arithmetic", "f16"],
        &["unknown arithmetic `f16`, expected f32 or tf32"],
    );
}

#[test]
fn devices_lists_the_processor_and_what_is_not_built_in() {
    check(&["devices"], &["--backend", "cpu", "cores"]);
}

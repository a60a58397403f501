//! Runs the program in a folder of its own.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

/// The smallest experiment that has every part: three levels, two towers, evaluation.
pub(crate) const TINY: &str = r#"
[data]
train = { annotations = "shapes/annotations/instances_train.json", images = "shapes/train" }
val = { annotations = "shapes/annotations/instances_val.json", images = "shapes/val" }
[data.transform]
short_edge = 64
long_edge = 64
[detector.backbone]
depth = 18
base_channels = 8
frozen_stages = -1
norm = { group_norm = { groups = 4 } }
[detector.neck]
out_channels = 16
num_outs = 3
[detector.fcos]
feat_channels = 16
stacked_convs = 1
norm = { group_norm = { groups = 4 } }
regress_ranges = [[-1, 32], [32, 64], [64, 1e8]]
[train]
iterations = 6
batch_size = 2
lr = 0.001
log_every = 1
checkpoint_every_iterations = 3
eval_every_iterations = 6
optimizer = { kind = "adamw" }
"#;

/// What a run of the program did.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Run {
    /// Standard output of a run that must have succeeded.
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.stdout
    }

    /// Standard error of a run that must have failed with `code`.
    pub(crate) fn failed(self, code: i32) -> String {
        assert_eq!(self.code, code, "{self:?}");
        self.stderr
    }
}

/// Runs the program in `folder`.
pub(crate) fn aweigh(folder: &Path, args: &[&str]) -> Run {
    run(command(folder, args).output().expect("the program starts"))
}

/// The program in `folder`, free of the settings of whoever runs the tests.
pub(crate) fn command(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_aweigh"));
    command.args(args).current_dir(folder);
    for variable in [
        "AWEIGH_BACKEND",
        "AWEIGH_CONV",
        "AWEIGH_DEVICE",
        "AWEIGH_SIMD",
        "AWEIGH_THREADS",
        "COLUMNS",
    ] {
        command.env_remove(variable);
    }
    command
}

/// What a finished process did.
pub(crate) fn run(output: Output) -> Run {
    Run {
        code: output.status.code().expect("the program ends by itself"),
        stdout: String::from_utf8(output.stdout).expect("UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

/// A JSON file.
pub(crate) fn json(file: &Path) -> Value {
    let text = std::fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    serde_json::from_str(&text).expect("JSON")
}

/// A folder with `tiny.toml` and, under `shapes`, eight training and four validation images.
pub(crate) fn project() -> TempDir {
    let folder = tempfile::tempdir().expect("temporary folder");
    std::fs::write(folder.path().join("tiny.toml"), TINY).expect("writes");
    let synth = [
        "data", "synth", "--out", "shapes", "--train", "8", "--val", "4",
    ];
    let size = ["--width", "64", "--height", "64"];
    aweigh(folder.path(), &[synth.as_slice(), size.as_slice()].concat()).ok();
    folder
}

/// Every part must be in `text`.
pub(crate) fn contains(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "`{part}` is not in:\n{text}");
    }
}

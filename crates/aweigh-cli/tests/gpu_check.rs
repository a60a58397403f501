//! `scripts/gpu_check.sh`, with the CPU as the device.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::{Run, contains, run};

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/gpu_check.sh")
}

fn gpu_check(arguments: &[&str]) -> Run {
    let mut command = Command::new("bash");
    command.arg(script()).args(arguments);
    run(command.output().expect("bash starts"))
}

/// Of each line that ends a step, its name and how it ended.
fn steps(stdout: &str) -> Vec<(String, String)> {
    let lines = stdout.lines().map(|line| {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        let text = |key: &str| Some(line[key].as_str()?.to_owned());
        Some((text("step")?, text("status")?))
    });
    let ended = lines.flatten();
    ended.filter(|(name, _)| name != "torchvision").collect()
}

fn names(steps: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(name, status): &(&str, &str)| ((*name).to_owned(), (*status).to_owned());
    steps.iter().map(owned).collect()
}

#[test]
fn what_fails_is_tried_again_and_the_rest_is_not() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let out = folder.path().join("out");
    let out = out.to_str().expect("UTF-8");
    let aweigh = env!("CARGO_BIN_EXE_aweigh");
    let check = |binary: &str| gpu_check(&[binary, "--backend", "cpu", "--tiny", "--out", out]);

    // A program that trains badly, and does all else.
    let bad = folder.path().join("bad");
    let text = format!(
        "#!/bin/sh\n[ \"$1\" != train ] || {{ echo 'it \"broke\"' >&2; exit 3; }}\nexec {aweigh} \"$@\"\n"
    );
    std::fs::write(&bad, text).expect("writes");
    let made = Command::new("chmod").arg("+x").arg(&bad).status();
    assert!(made.expect("chmod").success());
    let Run { code, stdout, .. } = check(bad.to_str().expect("UTF-8"));
    assert_eq!(code, 1, "{stdout}");
    let expected = [
        ("agreement", "ok"),
        ("bench_fcos", "ok"),
        ("training", "failed"),
    ];
    assert_eq!(steps(&stdout), names(&expected));
    contains(
        &stdout,
        &["\"reason\":\"it \\\"broke\\\"\"", "\"ok\":false"],
    );

    let stdout = check(aweigh).ok();
    let expected = [
        ("agreement", "ok before"),
        ("bench_fcos", "ok before"),
        ("training", "ok"),
    ];
    assert_eq!(steps(&stdout), names(&expected));
    contains(&stdout, &["\"cpu_is\":\"measured\"", "\"ok\":true"]);
    let results = std::fs::read_to_string(Path::new(out).join("results.jsonl")).expect("reads");
    assert!(results.ends_with(&stdout), "{results}");
}

#[test]
fn what_does_not_fit_is_left_out() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let out = folder.path().to_str().expect("UTF-8");
    let arguments = ["--backend", "cpu", "--tiny", "--budget", "0", "--out", out];
    let aweigh = [env!("CARGO_BIN_EXE_aweigh")];
    let Run { code, stdout, .. } = gpu_check(&[&aweigh, arguments.as_slice()].concat());
    assert_eq!(code, 1, "{stdout}");
    assert!(
        steps(&stdout)
            .iter()
            .all(|(_, status)| status == "left out"),
        "{stdout}"
    );
}

#[test]
fn wrong_usage_prints_the_usage() {
    let refuse = |arguments: &[&str], part: &str| {
        contains(&gpu_check(arguments).failed(2), &[part]);
    };
    refuse(&[], "scripts/gpu_check.sh BINARY [--backend NAME]");
    refuse(
        &["aweigh", "--backnd", "cpu"],
        "scripts/gpu_check.sh BINARY",
    );
    refuse(&["/no/such/program"], "/no/such/program is not a program");
}

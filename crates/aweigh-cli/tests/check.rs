//! A device compared with the CPU.

use std::path::Path;

use serde_json::Value;

use crate::support::{Run, aweigh, command, contains, run};

const SMALL: [&str; 5] = ["check", "--size", "64", "--channels", "8"];

fn check(arguments: &[&str]) -> Run {
    aweigh(Path::new("."), &[SMALL.as_slice(), arguments].concat())
}

#[test]
fn the_processor_agrees_with_itself() {
    let Run {
        code,
        stdout,
        stderr,
    } = check(&["--method", "fcos,fovea_align"]);
    assert_eq!(code, 0, "{stderr}");
    contains(
        &stdout,
        &[
            "fcos         forward       0.0e0 of 1e-4  ok",
            "fovea_align  five steps    0.0e0 of 1e-2  ok",
            "the device agrees with the CPU",
        ],
    );
    contains(&stderr, &["this compares the CPU with itself"]);
}

#[test]
fn every_stage_is_a_line_of_json() {
    let stdout = check(&["--json", "--method", "fsaf"]).ok();
    let lines: Vec<Value> = stdout
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let stages: Vec<&Value> = lines.iter().map(|line| &line["stage"]).collect();
    assert_eq!(stages, ["forward", "losses", "gradients", "steps"]);
    for line in &lines {
        assert_eq!(line["method"], "fsaf");
        assert_eq!((&line["error"], &line["ok"]), (&0.0.into(), &true.into()));
    }
}

#[test]
fn a_device_that_is_not_there_is_an_error() {
    contains(
        &check(&["--device", "7"]).failed(1),
        &["there is no cpu device 7 on this machine"],
    );
}

/// The smallest network on whatever wgpu finds; every shape is a kernel to compile.
#[test]
#[cfg(feature = "wgpu")]
fn wgpu_agrees_with_the_processor() {
    let devices = aweigh(Path::new("."), &["devices"]).ok();
    if !devices.lines().any(|line| line.starts_with(" wgpu ")) {
        return;
    }
    let arguments = ["--backend", "wgpu", "--method", "fovea", "--json"];
    let arguments = [SMALL.as_slice(), &arguments].concat();
    let mut command = command(Path::new("."), &arguments);
    let stdout = run(command.output().expect("the program starts")).ok();
    assert_eq!(stdout.matches("\"ok\":true").count(), 4, "{stdout}");
    assert!(!stdout.contains("\"error\":0.0,"), "{stdout}");
}

//! The choice of the CPU's kernels, and the time that each layer takes.

use serde_json::Value;

use crate::support::{command, contains, project, run};

/// `aweigh bench` of the tiny experiment, with more arguments and these variables.
fn bench(arguments: &[&str], variables: &[(&str, &str)]) -> crate::support::Run {
    let folder = project();
    let bench = [
        "bench",
        "--config",
        "tiny.toml",
        "--size",
        "64",
        "--repeats",
        "2",
    ];
    let classes = ["--set", "detector.num_classes=3"];
    let arguments = [bench.as_slice(), &classes, arguments].concat();
    let mut command = command(folder.path(), &arguments);
    command.envs(variables.iter().copied());
    run(command.output().expect("the program starts"))
}

#[test]
fn a_profile_shows_kinds_and_layers_before_the_line_of_json() {
    let stdout = bench(&["--profile"], &[]).ok();
    contains(
        &stdout,
        &[
            "convolution",
            "input gradient",
            "weight gradient",
            "everything else",
            "backbone.layer1.0.conv1",
            "bbox_head.cls_convs.0.gn",
        ],
    );
    let report = stdout.lines().last().expect("a line");
    let report: Value = serde_json::from_str(report).expect("JSON");
    let layers = report["layers"].as_array().expect("layers");
    let conv = |layer: &&Value| {
        layer["layer"] == "bbox_head.conv_cls" && layer["pass"] == "weight gradient"
    };
    let conv = layers.iter().find(conv).expect("the class layer");
    assert_eq!(
        (&conv["kind"], &conv["calls"]),
        (&"convolution".into(), &1.0.into())
    );
    assert!(conv["ms"].as_f64().is_some_and(|ms| ms > 0.0), "{conv}");
}

#[test]
fn every_mode_and_batch_has_its_line() {
    let stdout = bench(&["--mode", "infer,train", "--batch", "1,2"], &[]).ok();
    let lines: Vec<Value> = stdout
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let timed: Vec<(&str, u64)> = lines
        .iter()
        .map(|line| (line["mode"].as_str(), line["batch"].as_u64()))
        .filter_map(|(mode, batch)| Some((mode?, batch?)))
        .collect();
    let expected = [("infer", 1), ("infer", 2), ("train", 1), ("train", 2)];
    assert_eq!(timed, expected, "{stdout}");
    // Only the allocator of a device tells.
    assert!(lines[0]["device_memory_mib"].is_null(), "{stdout}");
}

#[test]
fn a_profile_of_nothing_is_refused() {
    let refuse = |arguments: &[&str], variables: &[(&str, &str)], expected: &str| {
        let arguments = [arguments, &["--profile"]].concat();
        contains(&bench(&arguments, variables).failed(1), &[expected]);
    };
    refuse(&["--mode", "data"], &[], "which --mode data does not run");
    refuse(&["--backend", "wgpu"], &[], "on the CPU, not on wgpu");
    refuse(
        &[],
        &[("AWEIGH_CONV", "burn")],
        "which AWEIGH_CONV=burn turns off",
    );
}

#[test]
fn unknown_kernels_are_named() {
    let refuse = |variable, expected: &[&str]| {
        contains(&bench(&[], &[(variable, "foo")]).failed(1), expected);
    };
    refuse(
        "AWEIGH_CONV",
        &["AWEIGH_CONV is \"foo\", expected fast, exact or burn"],
    );
    refuse(
        "AWEIGH_SIMD",
        &["AWEIGH_SIMD is \"foo\"; this machine has ", "portable"],
    );
}

#[test]
fn every_choice_computes() {
    for (variable, value) in [
        ("AWEIGH_CONV", "exact"),
        ("AWEIGH_CONV", "burn"),
        ("AWEIGH_SIMD", "portable"),
    ] {
        bench(&["--mode", "infer"], &[(variable, value)]).ok();
    }
}

//! The number of CPU threads: each command takes it from each place that it can be given in.

use std::path::Path;

use serde_json::Value;

use crate::support::{Run, command, contains, project, run};

/// Where one thread is asked for.
#[derive(Debug, Clone, Copy)]
enum Place {
    Argument,
    Environment,
    Configuration,
}

/// Runs the program on one thread.
fn alone(folder: &Path, args: &[&str], place: Place) -> Run {
    let more: &[&str] = match place {
        Place::Argument => &["--threads", "1"],
        Place::Environment => &[],
        Place::Configuration => &["--set", "device.threads=1"],
    };
    let mut command = command(folder, &[args, more].concat());
    if let Place::Environment = place {
        command.env("AWEIGH_THREADS", "1");
    }
    run(command.output().expect("the program starts"))
}

#[test]
fn one_thread_is_enough_for_every_command() {
    let folder = project();
    let folder = folder.path();
    let val = "shapes/annotations/instances_val.json";
    let truth = std::fs::read_to_string(folder.join(val)).expect("annotations");
    let truth: Value = serde_json::from_str(&truth).expect("JSON");
    let image = truth["images"][0]["file_name"].as_str().expect("a name");
    let image = format!("shapes/val/{image}");
    let explain = ["explain", &image, "--annotations", val];
    let classes = "detector.num_classes=3";
    let size = ["--size", "64", "--set", classes, "--repeats", "1"];
    for (index, place) in [Place::Argument, Place::Environment, Place::Configuration]
        .into_iter()
        .enumerate()
    {
        let name = format!("run{index}");
        let check = |args: &[&str]| alone(folder, args, place).ok();
        check(&["train", "--config", "tiny.toml", "--run-dir", &name]);
        check(&["eval", "--run", &name]);
        check(&["predict", "--run", &name, "shapes/val"]);
        check(&[&explain, ["--run", &name].as_slice()].concat());
        check(&[&explain, ["--config", "tiny.toml"].as_slice()].concat());
        let bench = ["bench", "--config", "tiny.toml", "--mode", "infer"];
        let report = check(&[bench.as_slice(), &size].concat());
        contains(&report, &[r#""threads":1,"#]);
    }
    let results = "run0/eval/detections-best.json";
    let eval = ["eval", "--annotations", val, "--results", results];
    alone(folder, &eval, Place::Argument).ok();
    let inspect = ["inspect", "--config", "tiny.toml", "--size", "64"];
    alone(folder, &inspect, Place::Configuration).ok();
}

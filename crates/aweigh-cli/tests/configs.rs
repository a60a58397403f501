//! Every file in `configs/` loads, builds and survives a round trip.

use std::path::{Path, PathBuf};

use aweigh_train::Experiment;
use aweigh_train::config::{ConvConfig, DeviceConfig};

use crate::support::{aweigh, contains};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn files() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root().join("configs")).expect("configs/ is there");
    let mut files: Vec<_> = entries
        .map(|entry| entry.expect("readable").path())
        .collect();
    files.sort();
    assert!(files.len() >= 4, "{files:?}");
    files
}

#[test]
fn each_loads_builds_and_round_trips() {
    let device = aweigh_train::device::select(&DeviceConfig::default(), &ConvConfig::default())
        .expect("the processor");
    for file in files() {
        let name = file.display();
        let experiment = Experiment::load(&file, &[]).unwrap_or_else(|e| panic!("{e}"));
        let again = Experiment::parse("again.toml", &experiment.to_toml(), &[]);
        assert_eq!(
            again.unwrap_or_else(|e| panic!("{name}: {e}")),
            experiment,
            "{name}"
        );
        let mut detector = experiment.detector;
        detector.num_classes = Some(3);
        detector
            .init(&device)
            .unwrap_or_else(|e| panic!("{name}: {e}"));
    }
}

#[test]
fn each_says_how_to_run_it_and_what_to_expect() {
    for file in files() {
        let text = std::fs::read_to_string(&file).expect("readable");
        let header: Vec<_> = text
            .lines()
            .take_while(|line| line.starts_with('#'))
            .collect();
        let name = file
            .file_name()
            .and_then(|name| name.to_str())
            .expect("a UTF-8 name");
        let command = format!("aweigh train --config {name}");
        contains(
            &header.join("\n"),
            &["Command", &command, "Expectation", "Hardware"],
        );
    }
}

#[test]
fn a_bare_name_is_found_and_inspected() {
    let classes = "detector.num_classes=91";
    let args = ["inspect", "--config", "fcos_r50.toml", "--set", classes];
    let table = aweigh(&root(), &args).ok();
    contains(
        &table,
        &[
            "backbone.layer1",
            "neck.fpn_convs",
            "bbox_head.cls_convs",
            "91 classes",
        ],
    );
    let layers = aweigh(
        &root(),
        &[args.as_slice(), &["--layers", "--size", "320"]].concat(),
    )
    .ok();
    contains(&layers, &["backbone.layer3.5.conv3", "320 x 320"]);
}

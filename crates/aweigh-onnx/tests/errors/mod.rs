//! What cannot be exported says why.

use aweigh_backbone::{BackboneConfig, Depth, ResNetConfig};
use aweigh_detectors::DetectorConfig;
use aweigh_detectors::fcos::FcosConfig;
use aweigh_onnx::{InputSize, OnnxOptions, export};
use aweigh_testkit::device;

use crate::recipes;

/// The message for a detector of one configuration that is exported with another.
fn message(change: impl Fn(&mut DetectorConfig), input: InputSize) -> String {
    let config = recipes::fcos(FcosConfig::default());
    let detector = config.init(&device()).expect("a detector");
    let mut other = config;
    change(&mut other);
    let error = export(&detector, &other, &OnnxOptions::new(input));
    error.expect_err("no model").to_string()
}

fn check(change: impl Fn(&mut DetectorConfig), input: InputSize, parts: &[&str]) {
    let text = message(change, input);
    assert!(parts.iter().all(|part| text.contains(part)), "{text}");
}

#[test]
fn errors_say_what_is_wrong() {
    let any = InputSize::Dynamic;
    let nothing = |_: &mut DetectorConfig| {};
    check(
        |c| c.num_classes = None,
        any,
        &["detector.num_classes is missing"],
    );
    check(|c| c.fcos = None, any, &["exactly one method table"]);
    check(
        nothing,
        InputSize::Fixed([0, 64]),
        &["0 x 64 pixels", "at least 1 x 1"],
    );
    check(
        |c| c.neck.out_channels = 16,
        any,
        &[
            "`neck.lateral_convs",
            "has the shape [8, ",
            "expected [16, ",
        ],
    );
    check(
        |c| {
            c.backbone = BackboneConfig::ResNet(ResNetConfig {
                depth: Depth::D34,
                ..recipes::resnet()
            });
        },
        any,
        &["`backbone.layer1.2.", "is missing"],
    );
}

//! Options of a ResNet: what is refused, and how they are read and written.

use super::*;
use crate::ConfigError;

fn check_error(config: ResNetConfig, expected: &str) {
    let error = config.check().map_err(|e| e.to_string());
    assert_eq!(error, Err(expected.to_owned()));
}

#[test]
fn wrong_values_are_named() {
    let base = ResNetConfig::default;
    check_error(
        ResNetConfig {
            frozen_stages: 5,
            ..base()
        },
        "`frozen_stages` is 5, expected -1 (none), 0 (the stem) or up to 4 stages",
    );
    check_error(
        ResNetConfig {
            num_stages: 0,
            ..base()
        },
        "`num_stages` is 0, expected 1 to 4",
    );
    check_error(
        ResNetConfig {
            out_indices: vec![2, 1],
            ..base()
        },
        "`out_indices` is [2, 1], expected rising stages out of 0 to 3",
    );
    check_error(
        ResNetConfig {
            strides: vec![1],
            ..base()
        },
        "`strides` is [1], expected one positive number for each of 4 stages",
    );
    check_error(
        ResNetConfig {
            base_channels: 8,
            norm: NormConfig::GroupNorm { groups: 32 },
            ..base()
        },
        "`groups` is 32, which does not divide a layer's 8 channels",
    );
    check_error(
        ResNetConfig {
            groups: 32,
            ..full(Depth::D34)
        },
        "`groups` is 32, expected 1, or more with a depth of 50 or more; depth is 34",
    );
    check_error(
        ResNetConfig {
            groups: 32,
            base_width: 0,
            ..base()
        },
        "`base_width` is 0, which leaves a group no channels",
    );
    let error = ConfigError {
        key: "depth",
        problem: String::new(),
    };
    assert_eq!(base().check().err().map(|_| error), None);
}

fn parse(text: &str) -> Result<ResNetConfig, String> {
    serde_json::from_str(text).map_err(|e| e.to_string())
}

#[test]
fn options_are_read_strictly() {
    let affine = Affine::Frozen;
    let expected = ResNetConfig {
        depth: Depth::D101,
        style: Style::Caffe,
        norm: NormConfig::FrozenBn { affine },
        ..ResNetConfig::default()
    };
    let text = r#"{"depth": 101, "style": "caffe", "norm": {"frozen_bn": {"affine": "frozen"}}}"#;
    assert_eq!(parse(text), Ok(expected));
    let group = parse(r#"{"norm": {"group_norm": {}}}"#).map(|c| c.norm);
    assert_eq!(group, Ok(NormConfig::GroupNorm { groups: 32 }));
    let batch = parse(r#"{"norm": "batch_norm"}"#).map(|c| c.norm);
    assert_eq!(batch, Ok(NormConfig::BatchNorm));
    let depth = parse(r#"{"depth": 20}"#).unwrap_err();
    assert!(
        depth.starts_with("no ResNet of depth 20: expected 18, 34, 50, 101 or 152"),
        "{depth}"
    );
    let unknown = parse(r#"{"deep_stem": true}"#).unwrap_err();
    assert!(unknown.contains("unknown field `deep_stem`"), "{unknown}");
}

#[test]
fn options_survive_a_round_trip() {
    let config = full(Depth::D34);
    let text = serde_json::to_string(&config).expect("options are plain");
    assert_eq!(parse(&text), Ok(config));
}

//! Deformable convolution in a ResNet.

use super::*;
use crate::Backbone;
use crate::weights::tests::write;

const C3_TO_C5: [bool; 4] = [false, true, true, true];

fn config(dcn: DcnConfig, stages: [bool; 4]) -> ResNetConfig {
    ResNetConfig {
        depth: Depth::D50,
        base_channels: 4,
        dcn: Some(dcn),
        stage_with_dcn: stages.to_vec(),
        ..ResNetConfig::default()
    }
}

fn dcn(kind: DcnKind, deform_groups: usize) -> DcnConfig {
    DcnConfig {
        kind,
        deform_groups,
        fallback_on_stride: false,
    }
}

/// Module paths of the convolutions that move taps.
fn moving(net: &ResNet) -> Vec<String> {
    let tensors = net.collect(None, None, true).into_iter();
    let paths = tensors.filter_map(|tensor| {
        let path = tensor.name.strip_suffix(".conv_offset.weight")?;
        Some(path.to_owned())
    });
    paths.collect()
}

#[test]
fn the_chosen_stages_are_deformable() {
    let check = |fallback_on_stride: bool, groups: usize, without: &[&str]| {
        let dcn = DcnConfig {
            fallback_on_stride,
            ..dcn(DcnKind::V1, 1)
        };
        let config = ResNetConfig {
            groups,
            ..config(dcn, C3_TO_C5)
        };
        let blocks = [("layer2", 4), ("layer3", 6), ("layer4", 3)].into_iter();
        let paths = blocks
            .flat_map(|(layer, blocks)| (0..blocks).map(move |i| format!("{layer}.{i}.conv2")));
        let expected: Vec<String> = paths.filter(|p| !without.contains(&p.as_str())).collect();
        assert_eq!(moving(&config.init(&device())), expected, "{config:?}");
    };
    check(false, 1, &[]);
    check(true, 1, &["layer2.0.conv2"]);
    check(true, 2, &[]);
}

#[test]
fn layers_count_what_moves_the_taps() {
    for (kind, groups, channels) in [
        (DcnKind::V1, 1, 18),
        (DcnKind::V1, 2, 36),
        (DcnKind::V2, 1, 27),
        (DcnKind::V2, 4, 108),
    ] {
        let config = config(dcn(kind, groups), C3_TO_C5);
        let net = config.init(&device());
        let layers = config.layers([64, 96]);
        let tensors = net.collect(None, None, true).into_iter();
        let tensors = tensors.filter(|t| !t.name.contains("running_"));
        assert_eq!(
            layers.iter().map(|l| l.params).sum::<usize>(),
            tensors.map(|t| t.shape.num_elements()).sum::<usize>(),
            "{config:?}"
        );
        let name = "layer2.0.conv2.conv_offset";
        let offsets = layers.iter().find(|l| l.name == name).expect(name);
        // From 8 channels, at stride 8 of a 64 x 96 image.
        assert_eq!(offsets.output, [channels, 8, 12]);
        assert_eq!(offsets.params, 8 * 9 * channels + channels);
        assert_eq!(offsets.macs, (8 * 9 * channels * 8 * 12) as u64);
        let maps = net.forward(Tensor::zeros([1, 3, 64, 96], &device()));
        let last = maps.last().expect("four maps").dims();
        assert_eq!(last, [1, 128, 2, 3]);
    }
}

#[test]
fn taps_that_do_not_move_change_nothing() {
    let run = |net: Backbone| -> Vec<f32> {
        let image = Tensor::ones([1, 3, 48, 32], &device());
        let map = net.forward(image).pop().expect("four maps");
        map.into_data().iter().collect()
    };
    let device = device();
    device.seed(4);
    let plain = ResNetConfig {
        base_channels: 4,
        zero_init_residual: false,
        ..ResNetConfig::default()
    };
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("plain.safetensors");
    let net = plain.init(&device).materialize();
    save(&net, &path);
    let moving = config(dcn(DcnKind::V1, 1), C3_TO_C5).init(&device);
    let loaded = Backbone::ResNet(moving)
        .load_weights(&path)
        .expect("a plain network's file");
    for (got, expected) in run(loaded).into_iter().zip(run(Backbone::ResNet(net))) {
        // Other orders of sums, of values up to about 10.
        assert!((got - expected).abs() < 1e-4, "{got} against {expected}");
    }
}

fn save(net: &ResNet, path: &Path) {
    let tensors = net.collect(None, None, true).into_iter();
    let tensors = tensors.map(|t| {
        let data = burn::store::bridge::to_data(&t).expect("resident data");
        (t.name, data)
    });
    write(path, tensors.collect());
}

#[test]
fn a_file_with_some_offsets_is_another_network() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("c5.safetensors");
    let c5 = config(dcn(DcnKind::V1, 1), [false, false, false, true]);
    save(&c5.init(&device()).materialize(), &path);
    let c4 = config(dcn(DcnKind::V1, 1), [false, false, true, true]).init(&device());
    let error = Backbone::ResNet(c4)
        .load_weights(&path)
        .unwrap_err()
        .to_string();
    let expected = "12 missing in the file: layer3.0.conv2.conv_offset.bias";
    assert!(error.contains(expected), "{error}");
}

#[test]
fn wrong_values_are_named() {
    let check = |config: ResNetConfig, expected: &str| {
        assert_eq!(
            config.check().map_err(|e| e.to_string()),
            Err(expected.to_owned())
        );
    };
    let v2 = dcn(DcnKind::V2, 1);
    check(
        config(v2, [false; 4]),
        "`stage_with_dcn` is [false, false, false, false], expected a stage for `dcn`",
    );
    check(
        ResNetConfig {
            dcn: None,
            ..config(v2, C3_TO_C5)
        },
        "`stage_with_dcn` is [false, true, true, true], which needs `dcn` to say what the \
         stages get",
    );
    check(
        ResNetConfig {
            stage_with_dcn: vec![true],
            ..config(v2, C3_TO_C5)
        },
        "`stage_with_dcn` is [true], expected one boolean for each of 4 stages",
    );
    check(
        ResNetConfig {
            depth: Depth::D18,
            ..config(v2, C3_TO_C5)
        },
        "`dcn` needs the bottleneck blocks of depth 50 or more, depth is 18",
    );
    check(
        config(dcn(DcnKind::V2, 3), C3_TO_C5),
        "`deform_groups` is 3, which does not divide a layer's 8 channels",
    );
}

#[test]
fn options_are_read_strictly() {
    let parse = |text: &str| serde_json::from_str::<DcnConfig>(text).map_err(|e| e.to_string());
    assert_eq!(parse(r#"{"kind": "v2"}"#), Ok(dcn(DcnKind::V2, 1)));
    let expected = DcnConfig {
        fallback_on_stride: true,
        ..dcn(DcnKind::V1, 4)
    };
    let text = r#"{"kind": "v1", "deform_groups": 4, "fallback_on_stride": true}"#;
    assert_eq!(parse(text), Ok(expected));
    let unknown = parse(r#"{"kind": "v1", "groups": 4}"#).unwrap_err();
    assert!(unknown.contains("unknown field `groups`"), "{unknown}");
    let kind = parse(r#"{"kind": "v3"}"#).unwrap_err();
    assert!(kind.contains("unknown variant `v3`"), "{kind}");
}

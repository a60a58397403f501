use super::*;
use aweigh_testkit::device;

fn inputs() -> Vec<FeatureSpec> {
    let spec = |(channels, stride)| FeatureSpec { channels, stride };
    [(6, 4), (8, 8), (10, 16), (12, 32)].map(spec).to_vec()
}

const SIZES: [[usize; 2]; 4] = [[25, 17], [13, 9], [7, 5], [4, 3]];

fn small() -> FpnConfig {
    FpnConfig {
        out_channels: 8,
        ..FpnConfig::default()
    }
}

/// Outputs, predicted features, sizes and layers agree.
fn check(config: FpnConfig) {
    let device = device();
    let maps = inputs().into_iter().zip(SIZES);
    let maps = maps.map(|(f, [h, w])| Tensor::zeros([1, f.channels, h, w], &device));
    let fpn = config.init(&inputs(), &device);
    let got: Vec<[usize; 3]> = fpn
        .forward(maps.collect())
        .iter()
        .map(|map| [map.dims()[1], map.dims()[2], map.dims()[3]])
        .collect();
    let sizes = config.sizes(&SIZES);
    let specs = config.features(&inputs()).into_iter();
    let expected: Vec<[usize; 3]> = specs
        .zip(&sizes)
        .map(|(f, [h, w])| [f.channels, *h, *w])
        .collect();
    assert_eq!(got, expected, "{config:?}");
    let layers = config.layers(&inputs(), &SIZES);
    let params: usize = layers.iter().map(|l| l.params).sum();
    assert_eq!(params, fpn.num_params(), "{config:?}");
    assert_eq!(
        layers.last().map(|l| l.size()),
        sizes.last().copied(),
        "{config:?}"
    );
}

#[test]
fn shapes_and_cost_follow_the_options() {
    check(small());
    check(FpnConfig {
        add_extra_convs: ExtraLevels::None,
        start_level: 0,
        ..small()
    });
    check(FpnConfig {
        add_extra_convs: ExtraLevels::OnInput,
        ..small()
    });
    check(FpnConfig {
        add_extra_convs: ExtraLevels::OnLateral,
        num_outs: 4,
        ..small()
    });
    check(FpnConfig {
        end_level: Some(2),
        num_outs: 2,
        ..small()
    });
    check(FpnConfig {
        norm: Some(NormConfig::GroupNorm { groups: 4 }),
        ..small()
    });
    check(FpnConfig {
        norm: Some(NormConfig::GroupNorm { groups: 2 }),
        no_norm_on_lateral: true,
        upsampling: Upsampling::Bilinear,
        ..small()
    });
}

#[test]
fn strides_double_above_the_last_map() {
    let strides: Vec<usize> = small()
        .features(&inputs())
        .iter()
        .map(|f| f.stride)
        .collect();
    assert_eq!(strides, [8, 16, 32, 64, 128]);
}

#[test]
fn weights_start_xavier_and_biases_zero() {
    let device = device();
    device.seed(3);
    let conv = &FpnConfig::default().init(&inputs(), &device).fpn_convs[0].conv;
    let largest: f32 = conv.weight().val().abs().max().into_scalar();
    let bound = (6.0_f32 / (256.0 * 9.0 * 2.0)).sqrt();
    // The largest of 590 thousand uniform samples lies within 1e-4 of the bound.
    assert!(
        largest <= bound && largest > 0.9999 * bound,
        "{largest} against {bound}"
    );
    let bias = conv.bias().expect("a bias").val();
    let bias: f32 = bias.abs().max().into_scalar();
    assert_eq!(bias, 0.0);
}

fn check_error(config: FpnConfig, expected: &str) {
    let error = config.check(&inputs()).map_err(|e| e.to_string());
    assert_eq!(error, Err(expected.to_owned()));
}

#[test]
fn wrong_values_are_named() {
    check_error(
        FpnConfig {
            start_level: 4,
            ..small()
        },
        "`start_level` is 4, expected less than 4",
    );
    check_error(
        FpnConfig {
            end_level: Some(4),
            ..small()
        },
        "`end_level` is 4, the backbone has 4 maps",
    );
    check_error(
        FpnConfig {
            num_outs: 2,
            ..small()
        },
        "`num_outs` is 2, expected at least 3, one for each map that is used",
    );
    check_error(
        FpnConfig {
            end_level: Some(2),
            ..small()
        },
        "`num_outs` is 5, expected 2 with an `end_level` below the last map",
    );
    check_error(
        FpnConfig {
            norm: Some(NormConfig::GroupNorm { groups: 3 }),
            ..small()
        },
        "`groups` is 3, which does not divide a layer's 8 channels",
    );
}

#[test]
fn options_are_read_strictly() {
    let text = r#"{"num_outs": 4, "add_extra_convs": "on_input", "norm": {"group_norm": {}}}"#;
    let expected = FpnConfig {
        num_outs: 4,
        add_extra_convs: ExtraLevels::OnInput,
        norm: Some(NormConfig::GroupNorm { groups: 32 }),
        ..FpnConfig::default()
    };
    assert_eq!(serde_json::from_str::<FpnConfig>(text).ok(), Some(expected));
    let unknown = serde_json::from_str::<FpnConfig>(r#"{"act_cfg": 1}"#);
    assert!(unknown.is_err_and(|e| e.to_string().contains("unknown field `act_cfg`")));
}

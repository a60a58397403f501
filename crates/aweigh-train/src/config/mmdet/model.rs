//! `model`: the detector.

use aweigh_backbone::{
    Affine, BackboneConfig, DcnConfig, DcnKind, Depth, ExtraLevels, FpnConfig, MobileNetV2Config,
    NormConfig, ResNetConfig, Style,
};
use aweigh_detectors::DetectorConfig;
use serde_json::Value;

use super::heads::{self, Sections};
use super::options::{Options, Refusal};

/// mmdetection's classes of detectors that are a backbone, a neck and a head, and nothing else.
const DETECTORS: [&str; 6] = [
    "SingleStageDetector",
    "FCOS",
    "FOVEA",
    "RepPointsDetector",
    "FSAF",
    "RetinaNet",
];

/// The detector of `model`; `train` and `test` are options that old configurations have beside it.
pub(super) fn detector(
    model: &Options<'_>,
    beside: Sections<'_>,
) -> Result<DetectorConfig, Refusal> {
    model.expect_class(&DETECTORS)?;
    model.ignore(&["data_preprocessor", "init_cfg", "pretrained", "use_syncbn"]);
    let backbone = backbone(model.needed_table("backbone")?)?;
    let neck = neck(model.needed_table("neck")?, &backbone)?;
    let config = DetectorConfig {
        backbone,
        neck,
        ..DetectorConfig::default()
    };
    let sections = Sections {
        train: model.table("train_cfg")?.or(beside.train),
        test: model.table("test_cfg")?.or(beside.test),
    };
    heads::head(model.needed_table("bbox_head")?, sections, config)
}

fn backbone(options: Options<'_>) -> Result<BackboneConfig, Refusal> {
    options.expect_class(&["ResNet", "ResNeXt", "MobileNetV2"])?;
    options.ignore(&["init_cfg", "pretrained", "with_cp"]);
    if options.class()? == "MobileNetV2" {
        return mobilenet_v2(options);
    }
    options.expect("in_channels", 3)?;
    options.expect("deep_stem", false)?;
    options.expect("avg_down", false)?;
    for key in ["conv_cfg", "plugins", "stem_channels"] {
        options.expect_none(key)?;
    }
    let default = ResNetConfig::default();
    let config = ResNetConfig {
        depth: depth(&options)?,
        style: match options.text("style")? {
            Some("caffe") => Style::Caffe,
            None | Some("pytorch") => Style::Pytorch,
            _ => return Err(options.refuse("style", "known: 'caffe', 'pytorch'")),
        },
        base_channels: options.size_or("base_channels", 64)?,
        num_stages: options.size_or("num_stages", 4)?,
        strides: options.sizes("strides")?.unwrap_or(default.strides),
        dilations: options.sizes("dilations")?.unwrap_or(default.dilations),
        out_indices: options.sizes("out_indices")?.unwrap_or(default.out_indices),
        frozen_stages: frozen_stages(&options, 4)?,
        norm: backbone_norm(&options, Statistics::Running)?,
        groups: options.size_or("groups", 1)?,
        base_width: options.size_or("base_width", 4)?,
        dcn: options.table("dcn")?.map(dcn).transpose()?,
        stage_with_dcn: stage_with_dcn(&options)?.unwrap_or(default.stage_with_dcn),
        zero_init_residual: options.flag_or("zero_init_residual", true)?,
    };
    options.finish()?;
    Ok(BackboneConfig::ResNet(config))
}

fn mobilenet_v2(options: Options<'_>) -> Result<BackboneConfig, Refusal> {
    options.expect_none("conv_cfg")?;
    if let Some(activation) = options.table("act_cfg")? {
        activation.expect_class(&["ReLU6"])?;
        activation.ignore(&["inplace"]);
        activation.finish()?;
    }
    let default = MobileNetV2Config::default();
    let config = MobileNetV2Config {
        widen_factor: options.number_or("widen_factor", default.widen_factor)?,
        out_indices: options.sizes("out_indices")?.unwrap_or(default.out_indices),
        frozen_stages: frozen_stages(&options, 7)?,
        norm: backbone_norm(&options, Statistics::Batch)?,
    };
    options.finish()?;
    Ok(BackboneConfig::MobileNetV2(config))
}

fn depth(options: &Options<'_>) -> Result<Depth, Refusal> {
    let depth = options.needed_size("depth")?;
    Depth::try_from(depth).map_err(|_| options.refuse("depth", "known: 18, 34, 50, 101, 152"))
}

/// How many stages are frozen, of at most `most`.
fn frozen_stages(options: &Options<'_>, most: i32) -> Result<i32, Refusal> {
    let stages = options.number_or("frozen_stages", -1.0)?;
    if stages.fract() == 0.0 && (-1.0..=f64::from(most)).contains(&stages) {
        return Ok(stages as i32);
    }
    let expected = format!("expected a whole number from -1 to {most}");
    Err(options.refuse("frozen_stages", expected))
}

fn stage_with_dcn(options: &Options<'_>) -> Result<Option<Vec<bool>>, Refusal> {
    let Some(list) = options.list("stage_with_dcn")? else {
        return Ok(None);
    };
    let flags: Option<Vec<bool>> = list.iter().map(Value::as_bool).collect();
    let wrong = || options.refuse("stage_with_dcn", "expected a list of True and False");
    flags.ok_or_else(wrong).map(Some)
}

fn dcn(options: Options<'_>) -> Result<DcnConfig, Refusal> {
    let kind = match options.class()? {
        "DCN" => DcnKind::V1,
        "DCNv2" => DcnKind::V2,
        _ => return Err(options.refuse("type", "known: DCN, DCNv2")),
    };
    // The name of mmdetection 1.x.
    let groups = options.size_or("deformable_groups", 1)?;
    let config = DcnConfig {
        kind,
        deform_groups: options.size_or("deform_groups", groups)?,
        fallback_on_stride: options.flag_or("fallback_on_stride", false)?,
    };
    options.finish()?;
    Ok(config)
}

/// What a batch norm takes the mean and variance from while training.
#[derive(Clone, Copy)]
enum Statistics {
    Running,
    Batch,
}

/// The norm of a backbone that takes these statistics unless `norm_eval` says otherwise.
fn backbone_norm(options: &Options<'_>, default: Statistics) -> Result<NormConfig, Refusal> {
    let running = matches!(default, Statistics::Running);
    let statistics = match options.flag_or("norm_eval", running)? {
        true => Statistics::Running,
        false => Statistics::Batch,
    };
    match (options.table("norm_cfg")?, statistics) {
        (Some(options), _) => norm(options, statistics),
        (None, Statistics::Running) => Ok(frozen_bn(Affine::Trainable)),
        (None, Statistics::Batch) => Ok(NormConfig::BatchNorm),
    }
}

fn frozen_bn(affine: Affine) -> NormConfig {
    NormConfig::FrozenBn { affine }
}

fn norm(options: Options<'_>, statistics: Statistics) -> Result<NormConfig, Refusal> {
    options.expect("eps", 1e-5)?;
    let trained = options.flag_or("requires_grad", true)?;
    // Running statistics have nothing to synchronise.
    let config = match (options.class()?, statistics) {
        ("BN" | "SyncBN", Statistics::Running) if trained => frozen_bn(Affine::Trainable),
        ("BN" | "SyncBN", Statistics::Running) => frozen_bn(Affine::Frozen),
        ("BN", Statistics::Batch) if trained => NormConfig::BatchNorm,
        ("GN", _) if trained => NormConfig::GroupNorm {
            groups: options.needed_size("num_groups")?,
        },
        ("BN" | "GN", _) => return Err(options.refuse("requires_grad", "only True is known")),
        ("SyncBN", Statistics::Batch) => {
            return Err(options.refuse("type", "statistics of several processes are not known"));
        }
        _ => return Err(options.refuse("type", "known: BN, SyncBN, GN")),
    };
    options.finish()?;
    Ok(config)
}

fn neck(options: Options<'_>, backbone: &BackboneConfig) -> Result<FpnConfig, Refusal> {
    options.expect_class(&["FPN"])?;
    options.ignore(&["init_cfg"]);
    options.expect_none("conv_cfg")?;
    options.expect_none("act_cfg")?;
    if let Some(upsampling) = options.table("upsample_cfg")? {
        upsampling.expect("mode", "nearest")?;
        upsampling.finish()?;
    }
    check_channels(&options, backbone)?;
    let config = FpnConfig {
        out_channels: options.needed_size("out_channels")?,
        start_level: options.size_or("start_level", 0)?,
        end_level: match options.number_or("end_level", -1.0)? {
            -1.0 => None,
            _ => options.size("end_level")?,
        },
        num_outs: options.needed_size("num_outs")?,
        add_extra_convs: extra_levels(&options)?,
        relu_before_extra_convs: options.flag_or("relu_before_extra_convs", false)?,
        norm: options
            .table("norm_cfg")?
            .map(|options| norm(options, Statistics::Batch))
            .transpose()?,
        no_norm_on_lateral: options.flag_or("no_norm_on_lateral", false)?,
        ..FpnConfig::default()
    };
    options.finish()?;
    Ok(config)
}

/// A neck says which channels it takes; the backbone says which it gives.
fn check_channels(options: &Options<'_>, backbone: &BackboneConfig) -> Result<(), Refusal> {
    let wrong = |found: String| options.refuse("in_channels", found);
    let checked = backbone.check();
    checked.map_err(|problem| wrong(format!("no such backbone is known: {problem}")))?;
    let given: Vec<usize> = backbone.features().iter().map(|f| f.channels).collect();
    match options.sizes("in_channels")? {
        Some(channels) if channels != given => Err(wrong(format!("the backbone gives {given:?}"))),
        _ => Ok(()),
    }
}

fn extra_levels(options: &Options<'_>) -> Result<ExtraLevels, Refusal> {
    // How mmdetection before 2.8 told an extra level on the input from one on the output.
    let on_input = options.flag_or("extra_convs_on_inputs", true)?;
    match options.get("add_extra_convs") {
        None | Some(Value::Bool(false)) => Ok(ExtraLevels::None),
        Some(Value::Bool(true)) if on_input => Ok(ExtraLevels::OnInput),
        Some(Value::Bool(true)) => Ok(ExtraLevels::OnOutput),
        Some(name) => match name.as_str() {
            Some("on_input") => Ok(ExtraLevels::OnInput),
            Some("on_lateral") => Ok(ExtraLevels::OnLateral),
            Some("on_output") => Ok(ExtraLevels::OnOutput),
            _ => Err(options.refuse(
                "add_extra_convs",
                "known: True, False, 'on_input', 'on_lateral', 'on_output'",
            )),
        },
    }
}

//! Tiny detectors of the variants of every method, backbone and neck.

use aweigh_backbone::{
    BackboneConfig, DcnConfig, DcnKind, Depth, ExtraLevels, FpnConfig, MobileNetV2Config,
    NormConfig, ResNetConfig, Upsampling,
};
use aweigh_detectors::fcos::FcosConfig;
use aweigh_detectors::fovea::FoveaConfig;
use aweigh_detectors::fsaf::{FsafBranch, FsafConfig};
use aweigh_detectors::reppoints::{RepPointsConfig, TransformMethod};
use aweigh_detectors::retina::RetinaConfig;
use aweigh_detectors::{DetectorConfig, TowerNorm};

/// Normalisation of eight channels.
const NORM: TowerNorm = TowerNorm::GroupNorm { groups: 2 };

/// Backbone and neck of a few thousand parameters.
fn base() -> DetectorConfig {
    DetectorConfig {
        num_classes: Some(3),
        backbone: BackboneConfig::ResNet(resnet()),
        neck: FpnConfig {
            out_channels: 8,
            ..FpnConfig::default()
        },
        ..DetectorConfig::default()
    }
}

/// A ResNet-18 of a few thousand parameters.
pub(crate) fn resnet() -> ResNetConfig {
    ResNetConfig {
        depth: Depth::D18,
        base_channels: 4,
        ..ResNetConfig::default()
    }
}

/// FCOS with narrow towers.
pub(crate) fn fcos(fcos: FcosConfig) -> DetectorConfig {
    DetectorConfig {
        fcos: Some(FcosConfig {
            feat_channels: 8,
            stacked_convs: 2,
            norm: NORM,
            ..fcos
        }),
        ..base()
    }
}

fn fovea(fovea: FoveaConfig) -> DetectorConfig {
    DetectorConfig {
        fovea: Some(FoveaConfig {
            feat_channels: 8,
            stacked_convs: 1,
            ..fovea
        }),
        ..base()
    }
}

fn reppoints(reppoints: RepPointsConfig) -> DetectorConfig {
    DetectorConfig {
        reppoints: Some(RepPointsConfig {
            feat_channels: 8,
            point_feat_channels: 8,
            stacked_convs: 1,
            norm: NORM,
            ..reppoints
        }),
        ..base()
    }
}

fn retina(fsaf: Option<FsafBranch>) -> DetectorConfig {
    DetectorConfig {
        retina: Some(RetinaConfig {
            feat_channels: 8,
            stacked_convs: 0,
            fsaf,
            ..RetinaConfig::default()
        }),
        ..base()
    }
}

/// FCOS with another backbone.
fn with_backbone(backbone: BackboneConfig) -> DetectorConfig {
    DetectorConfig {
        backbone,
        ..fcos(FcosConfig::default())
    }
}

/// FCOS with another neck.
fn with_neck(neck: FpnConfig) -> DetectorConfig {
    DetectorConfig {
        neck: FpnConfig {
            out_channels: 8,
            ..neck
        },
        ..fcos(FcosConfig::default())
    }
}

fn heads() -> Vec<DetectorConfig> {
    let paper = FcosConfig {
        norm_on_bbox: false,
        centerness_on_reg: false,
        dcn_on_last_conv: true,
        conv_bias: Some(true),
        ..FcosConfig::default()
    };
    let aligned = FoveaConfig {
        with_deform: true,
        ..FoveaConfig::default()
    };
    let points = |use_grid_points, center_init, transform_method| RepPointsConfig {
        use_grid_points,
        center_init,
        transform_method,
        ..RepPointsConfig::default()
    };
    let fsaf = FsafConfig {
        feat_channels: 8,
        ..FsafConfig::default()
    };
    vec![
        fcos(FcosConfig::default()),
        fcos(paper),
        fovea(FoveaConfig::default()),
        fovea(aligned),
        reppoints(points(false, true, TransformMethod::Moment)),
        reppoints(points(false, false, TransformMethod::PartialMinmax)),
        reppoints(points(true, true, TransformMethod::Minmax)),
        DetectorConfig {
            fsaf: Some(fsaf),
            ..base()
        },
        retina(None),
        retina(Some(FsafBranch::default())),
    ]
}

fn backbones() -> Vec<DetectorConfig> {
    let deformable = |kind| ResNetConfig {
        depth: Depth::D50,
        dcn: Some(DcnConfig {
            kind,
            deform_groups: 2,
            fallback_on_stride: true,
        }),
        stage_with_dcn: vec![false, true, false, true],
        ..resnet()
    };
    let grouped = ResNetConfig {
        depth: Depth::D50,
        groups: 2,
        ..resnet()
    };
    let group_norm = ResNetConfig {
        norm: NormConfig::GroupNorm { groups: 2 },
        ..resnet()
    };
    let batch_norm = ResNetConfig {
        norm: NormConfig::BatchNorm,
        ..resnet()
    };
    let resnets = [
        deformable(DcnKind::V1),
        deformable(DcnKind::V2),
        grouped,
        group_norm,
        batch_norm,
    ];
    let mobile = MobileNetV2Config {
        widen_factor: 0.25,
        ..MobileNetV2Config::default()
    };
    let resnets = resnets.map(BackboneConfig::ResNet).into_iter();
    let all = resnets.chain([BackboneConfig::MobileNetV2(mobile)]);
    all.map(with_backbone).collect()
}

fn necks() -> Vec<DetectorConfig> {
    let extra = |add_extra_convs| FpnConfig {
        add_extra_convs,
        relu_before_extra_convs: true,
        ..FpnConfig::default()
    };
    let normed = FpnConfig {
        norm: Some(NormConfig::GroupNorm { groups: 2 }),
        no_norm_on_lateral: true,
        upsampling: Upsampling::Bilinear,
        ..FpnConfig::default()
    };
    let necks = [
        extra(ExtraLevels::None),
        extra(ExtraLevels::OnInput),
        extra(ExtraLevels::OnLateral),
        normed,
    ];
    necks.map(with_neck).into()
}

/// All of them.
pub(crate) fn all() -> Vec<DetectorConfig> {
    [heads(), backbones(), necks()].concat()
}

//! Weights of a backbone alone.

use aweigh_backbone::{BackboneConfig, Depth, MobileNetV2Config, NormConfig, ResNetConfig};
use aweigh_detectors::DetectorConfig;
use aweigh_weights::{
    BackboneKind, FileLayout, Import, ModelMetadata, NormKind, Normalization, Part,
};
use burn::tensor::Device;

use super::report::ImportReport;
use super::{ImportOptions, Imported, file, fit, origin};
use crate::TrainError;
use crate::network::Shown;
use crate::normalization::{self, normalization_of, style_of};
use crate::weights::leave_out;

/// Groups of the group norms of a backbone, which weights do not show and loading does not need.
const GROUPS: usize = 1;

/// Stages of a MobileNetV2 whose maps are used where its last convolution is not there.
const WITHOUT_LAST: [usize; 4] = [1, 2, 4, 6];

/// Elements of a MobileNetV2 up to its last block.
const UP_TO_LAST_BLOCK: usize = 18;

pub(super) fn import(
    mut import: Import,
    options: &ImportOptions,
    device: &Device,
) -> Result<Imported, TrainError> {
    let config = match &options.config {
        Some(experiment) => experiment.detector.backbone.clone(),
        None => shown(&import)?,
    };
    let network = config.init(&device.clone().inner());
    leave_out(&mut import, &network);
    let fitted = fit(&import, &network, options.partial);
    let detector = DetectorConfig {
        backbone: config,
        ..DetectorConfig::default()
    };
    let explain = |e| Shown::of(&import, Part::Backbone).explain(e, &detector);
    let fitted = fitted.map_err(explain)?;
    let mut metadata = ModelMetadata::new(Part::Backbone, FileLayout::Aweigh);
    metadata.normalization = normalization(&import, options)?;
    if style_of(&detector.backbone).is_none()
        && let Some(normalization) = &mut metadata.normalization
    {
        normalization.style = None;
    }
    metadata.source = Some(origin(&import));
    let report = ImportReport::new(&import, &fitted, &metadata);
    Ok(Imported {
        model: file(fitted, metadata),
        experiment: None,
        report,
    })
}

/// How pixels are normalised: as the user says, as the configuration does, as the file says.
fn normalization(
    import: &Import,
    options: &ImportOptions,
) -> Result<Option<Normalization>, TrainError> {
    if let Some(chosen) = &options.normalization {
        return Ok(Some(chosen.clone()));
    }
    let said = import.normalization.clone();
    let Some(experiment) = &options.config else {
        return Ok(said.or_else(|| import.usual_normalization.clone()));
    };
    if let Some(expected) = &said {
        normalization::check(&import.path, expected, experiment)?;
    }
    Ok(Some(normalization_of(experiment)))
}

/// The network that the tensors show.
pub(crate) fn shown(import: &Import) -> Result<BackboneConfig, TrainError> {
    let unknown = |reason: String| TrainError::NoConfiguration {
        weights: import.path.clone(),
        reason,
    };
    let architecture = import.architecture.as_ref();
    let kind = architecture.map(|architecture| &architecture.backbone);
    let kind = kind.ok_or_else(|| unknown("its tensors show no known network".to_owned()))?;
    match kind {
        BackboneKind::ResNet { depth: None, .. } => {
            Err(unknown(format!("{kind} is none of the published networks")))
        }
        BackboneKind::ResNet { deformable, .. } if !deformable.is_empty() => Err(unknown(
            "it has deformable convolutions, whose groups its tensors do not show".to_owned(),
        )),
        BackboneKind::ResNet {
            depth: Some(depth),
            base_channels,
            groups,
            base_width,
            norm,
            ..
        } => Ok(BackboneConfig::ResNet(ResNetConfig {
            depth: Depth::try_from(*depth).map_err(unknown)?,
            base_channels: *base_channels,
            groups: *groups,
            base_width: match groups {
                1 => ResNetConfig::default().base_width,
                _ => *base_width,
            },
            norm: match norm {
                NormKind::Group => NormConfig::GroupNorm { groups: GROUPS },
                NormKind::Batch | NormKind::None => NormConfig::default(),
            },
            ..ResNetConfig::default()
        })),
        BackboneKind::MobileNetV2 { channels } => {
            // The channels of the last block show the factor: a multiple of 8 out of 320.
            let last = channels.get(UP_TO_LAST_BLOCK - 1).copied();
            let last = last.ok_or_else(|| unknown(format!("{kind} without its last block")))?;
            let mut config = MobileNetV2Config {
                widen_factor: last as f64 / 320.0,
                ..MobileNetV2Config::default()
            };
            if channels.len() == UP_TO_LAST_BLOCK {
                config.out_indices = WITHOUT_LAST.to_vec();
            }
            Ok(BackboneConfig::MobileNetV2(config))
        }
    }
}

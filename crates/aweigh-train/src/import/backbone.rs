//! Weights of a backbone alone.

use aweigh_backbone::{BackboneConfig, Depth, MobileNetV2Config, NormConfig, ResNetConfig};
use aweigh_weights::{
    BackboneKind, FileLayout, Import, ModelMetadata, NormKind, Normalization, Part,
};
use burn::tensor::Device;

use super::report::ImportReport;
use super::{ImportOptions, Imported, file, fit, origin};
use crate::TrainError;
use crate::normalization::{self, normalization_of};

/// Groups of the group norms of a backbone, which weights do not show and loading does not need.
const GROUPS: usize = 1;

/// Base channels that the width of a ResNeXt's groups is given for.
const PUBLISHED_CHANNELS: usize = 64;

pub(super) fn import(
    import: Import,
    options: &ImportOptions,
    device: &Device,
) -> Result<Imported, TrainError> {
    let config = match &options.config {
        Some(experiment) => experiment.detector.backbone.clone(),
        None => shown(&import)?,
    };
    let network = config.init(&device.clone().inner());
    let fitted = fit(&import, &network, options.partial)?;
    let mut metadata = ModelMetadata::new(Part::Backbone, FileLayout::Aweigh);
    metadata.normalization = normalization(&import, options)?;
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
                _ => *base_width * PUBLISHED_CHANNELS / *base_channels,
            },
            norm: match norm {
                NormKind::Group => NormConfig::GroupNorm { groups: GROUPS },
                NormKind::Batch | NormKind::None => NormConfig::default(),
            },
            ..ResNetConfig::default()
        })),
        BackboneKind::MobileNetV2 { channels } => {
            // The channels of the last block show the factor: a multiple of 8 out of 320.
            let last = channels.get(17).copied();
            let last = last.ok_or_else(|| unknown(format!("{kind} without its last block")))?;
            Ok(BackboneConfig::MobileNetV2(MobileNetV2Config {
                widen_factor: last as f64 / 320.0,
                ..MobileNetV2Config::default()
            }))
        }
    }
}

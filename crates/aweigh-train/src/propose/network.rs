//! The network of a proposal, as tables of a configuration.

use std::fmt::Write;

use aweigh_backbone::{BackboneConfig, NormConfig};
use aweigh_data::{ChannelOrder, TransformConfig};
use aweigh_detectors::DetectorConfig;
use aweigh_weights::{Normalization, Part, Wanted};
use serde::Serialize;

use super::size::Sizes;
use super::{ProposedMethod, Wishes};
use crate::TrainError;
use crate::config::Backend;
use crate::import::shown_backbone;
use crate::model_file::OpenedModel;
use crate::normalization;
use crate::weights::open_weights;

/// What the network is made of.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Network {
    /// A small ResNet-18 with random weights, of this width.
    Small {
        /// Channels of the stem; 64 in the published network.
        base_channels: usize,
    },
    /// The backbone of a file of weights.
    Backbone {
        /// The backbone.
        config: Box<BackboneConfig>,
        /// What it expects of pixels, where that is known.
        normalization: Option<Normalization>,
    },
    /// The detector of a model file.
    Detector {
        /// The detector, without its number of classes.
        config: Box<DetectorConfig>,
        /// What it expects of pixels.
        transform: Box<TransformConfig>,
        /// Its levels.
        strides: Vec<usize>,
    },
}

impl Network {
    /// The network that weights are for, or a small one that suits the backend.
    ///
    /// # Errors
    ///
    /// When the weights cannot be read or are of no known network.
    pub(super) fn of(wishes: &Wishes) -> Result<Self, TrainError> {
        let Some(weights) = &wishes.weights else {
            return Ok(match wishes.backend {
                Backend::Cpu => Self::small(),
                _ => Self::Small { base_channels: 64 },
            });
        };
        let import = open_weights(weights, Wanted::Model)?;
        if import.part == Part::Backbone {
            let normalization = import.normalization.clone();
            return Ok(Self::Backbone {
                config: Box::new(shown_backbone(&import)?),
                normalization: normalization.or_else(|| import.usual_normalization.clone()),
            });
        }
        let experiment = OpenedModel::open(weights)?.experiment(&[])?;
        let levels = experiment.detector.levels()?;
        let mut config = experiment.detector;
        config.num_classes = None;
        Ok(Self::Detector {
            config: Box::new(config),
            transform: Box::new(experiment.data.transform),
            strides: levels.iter().map(|level| level.stride).collect(),
        })
    }

    /// The network of the small recipes.
    pub(super) fn small() -> Self {
        Self::Small { base_channels: 16 }
    }

    /// Strides of the levels: 8, 16 and 32, with a finer one for small boxes and a coarser one for
    /// large ones.
    pub(super) fn strides(&self, has_small: bool, has_large: bool) -> Vec<usize> {
        if let Self::Detector { strides, .. } = self {
            return strides.clone();
        }
        let fine = has_small.then_some(4);
        let coarse = has_large.then_some(64);
        fine.into_iter().chain([8, 16, 32]).chain(coarse).collect()
    }

    /// Whether the network starts from weights.
    pub(super) fn is_pretrained(&self) -> bool {
        !matches!(self, Self::Small { .. })
    }

    /// Keys of the transform that say what pixels are; nothing for the defaults.
    pub(super) fn pixels(&self) -> String {
        let mut transform = TransformConfig::default();
        match self {
            Self::Small { .. } => {}
            Self::Backbone { normalization, .. } => {
                if let Some(normalization) = normalization {
                    normalization::apply(normalization, &mut transform);
                }
            }
            Self::Detector {
                transform: other, ..
            } => transform = (**other).clone(),
        }
        if transform == TransformConfig::default() {
            return String::new();
        }
        let order = match transform.channel_order {
            ChannelOrder::Rgb => "rgb",
            ChannelOrder::Bgr => "bgr",
        };
        format!(
            "# What the weights expect of pixels.\nmean = {:?}\nstd = {:?}\nchannel_order = \
             \"{order}\"\nsize_divisor = {}\n",
            transform.mean, transform.std, transform.size_divisor
        )
    }

    /// The tables of the detector.
    pub(super) fn tables(&self, method: ProposedMethod, sizes: &Sizes) -> String {
        match self {
            Self::Small { base_channels } => {
                let width = match base_channels {
                    64 => "",
                    _ => " with a quarter of its channels",
                };
                let backbone = format!(
                    "[detector.backbone]\n# ResNet-18{width}, everything trained: there is nothing to \
                     start from.\ndepth = 18\nbase_channels = {base_channels}\nfrozen_stages = \
                     -1\n# GroupNorm does not depend on the number of images per step, which is \
                     small here.\nnorm = {{ group_norm = {{ groups = 8 }} }}\n"
                );
                backbone + &neck_and_head(method, sizes)
            }
            Self::Backbone { config, .. } => trainable(config) + &neck_and_head(method, sizes),
            Self::Detector { config, .. } => {
                let whole = Tables { detector: config };
                let text = toml::to_string(&whole).expect("a detector is a TOML table");
                format!("# The detector of the weights.\n{text}")
            }
        }
    }
}

#[derive(Serialize)]
struct Tables<'a> {
    detector: &'a DetectorConfig,
}

#[derive(Serialize)]
struct BackboneTable<'a> {
    detector: BackboneOnly<'a>,
}

#[derive(Serialize)]
struct BackboneOnly<'a> {
    backbone: &'a BackboneConfig,
}

/// A pretrained backbone, all of which is trained.
fn trainable(backbone: &BackboneConfig) -> String {
    let mut backbone = backbone.clone();
    match &mut backbone {
        BackboneConfig::ResNet(resnet) => resnet.frozen_stages = -1,
        BackboneConfig::MobileNetV2(mobile) => {
            mobile.frozen_stages = -1;
            mobile.norm = NormConfig::default();
            // Without the last 1x1 convolution, which is the classifier's.
            mobile.out_indices = vec![1, 2, 4, 6];
        }
    }
    let table = BackboneTable {
        detector: BackboneOnly {
            backbone: &backbone,
        },
    };
    let text = toml::to_string(&table).expect("a backbone is a TOML table");
    format!(
        "# The network of the weights. Everything is trained but the statistics of its norms: those \
         of small\n# batches would be noise.\n{text}"
    )
}

fn neck_and_head(method: ProposedMethod, sizes: &Sizes) -> String {
    let strides = &sizes.strides;
    let listed: Vec<String> = strides.iter().map(usize::to_string).collect();
    let norm = "norm = { group_norm = { groups = 8 } }\n";
    let mut text = format!(
        "\n[detector.neck]\n# Levels of strides {}: for the network, eight of ten boxes are {:.0} to \
         {:.0} px.\nout_channels = 64\nstart_level = {}\nnum_outs = {}\n",
        listed.join(", "),
        sizes.boxes.p10,
        sizes.boxes.p90,
        usize::from(strides[0] > 4),
        strides.len()
    );
    if method == ProposedMethod::RepPoints {
        text.push_str(norm);
    }
    // Writing to a text never fails.
    let _ = write!(
        text,
        "\n[detector.{method}]\nfeat_channels = 64\nstacked_convs = 2\n{norm}"
    );
    text + &levels(method, strides, sizes)
}

/// Which level learns boxes of which size.
fn levels(method: ProposedMethod, strides: &[usize], sizes: &Sizes) -> String {
    let last = strides.len() - 1;
    match method {
        ProposedMethod::Fcos => {
            let end = |at: usize| match at == last {
                true => "1e8".to_owned(),
                false => format!("{:.1}", 6.0 * strides[at] as f32),
            };
            let start = |at: usize| {
                if at == 0 {
                    "-1.0".to_owned()
                } else {
                    end(at - 1)
                }
            };
            let ranges: Vec<String> = (0..=last)
                .map(|at| format!("[{}, {}]", start(at), end(at)))
                .collect();
            format!(
                "# A level learns boxes whose longest distance from a point to a side is up to six \
                 strides.\nregress_ranges = [{}]\n",
                ranges.join(", ")
            )
        }
        ProposedMethod::Fovea => {
            let bases: Vec<usize> = strides.iter().map(|stride| 2 * stride).collect();
            let largest = 4 * sizes.edges[1] as usize;
            let ranges: Vec<[usize; 2]> = (0..=last)
                .map(|at| {
                    let start = if at == 0 { 1 } else { 2 * strides[at] };
                    [start, if at == last { largest } else { 8 * strides[at] }]
                })
                .collect();
            format!(
                "# Small boxes need more than 0.4 of their middle to hold a cell.\nsigma = 0.6\n# \
                 Ranges overlap: a box trains up to two levels.\nbase_edge_list = \
                 {bases:?}\nscale_ranges = {ranges:?}\n"
            )
        }
        ProposedMethod::Fsaf => String::new(),
        ProposedMethod::RepPoints => {
            "point_feat_channels = 64\n# The nearest point of the level that \
             suits the size learns a box.\ninit_assigner = { point = { scale = 4.0, pos_num = 1 } \
             }\n"
            .to_owned()
        }
        ProposedMethod::Retina => {
            "\n[detector.retina.anchors]\n# Anchors of two strides and more: \
             boxes are small for the network.\noctave_base_scale = 2\n"
                .to_owned()
        }
    }
}

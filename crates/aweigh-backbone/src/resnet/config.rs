//! Options of a ResNet.

use serde::{Deserialize, Serialize};

use super::dcn::DcnConfig;
use crate::norm::NormConfig;

/// Number of weighted layers of the ImageNet network.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "usize", into = "usize")]
pub enum Depth {
    /// 18, basic blocks.
    D18,
    /// 34, basic blocks.
    D34,
    /// 50, bottleneck blocks.
    #[default]
    D50,
    /// 101, bottleneck blocks.
    D101,
    /// 152, bottleneck blocks.
    D152,
}

impl Depth {
    const ALL: [Self; 5] = [Self::D18, Self::D34, Self::D50, Self::D101, Self::D152];

    /// Blocks of each of the four stages.
    pub(super) fn blocks(self) -> [usize; 4] {
        match self {
            Self::D18 => [2, 2, 2, 2],
            Self::D34 | Self::D50 => [3, 4, 6, 3],
            Self::D101 => [3, 4, 23, 3],
            Self::D152 => [3, 8, 36, 3],
        }
    }

    /// Output channels of a block over its width.
    pub(super) fn expansion(self) -> usize {
        match self {
            Self::D18 | Self::D34 => 1,
            Self::D50 | Self::D101 | Self::D152 => 4,
        }
    }
}

impl From<Depth> for usize {
    fn from(depth: Depth) -> Self {
        match depth {
            Depth::D18 => 18,
            Depth::D34 => 34,
            Depth::D50 => 50,
            Depth::D101 => 101,
            Depth::D152 => 152,
        }
    }
}

impl TryFrom<usize> for Depth {
    type Error = String;

    fn try_from(depth: usize) -> Result<Self, Self::Error> {
        let found = Self::ALL.into_iter().find(|d| usize::from(*d) == depth);
        found.ok_or_else(|| format!("no ResNet of depth {depth}: expected 18, 34, 50, 101 or 152"))
    }
}

/// Which convolution of a bottleneck block has the stride.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Style {
    /// The 3x3 convolution, as torchvision's weights expect.
    #[default]
    Pytorch,
    /// The first 1x1 convolution, as weights from Caffe and Detectron expect.
    Caffe,
}

/// Options of a ResNet (He et al., 2016; mmdetection 3.x `resnet.py`) or ResNeXt (Xie et al., 2017;
/// `resnext.py`) without its classifier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ResNetConfig {
    /// Number of weighted layers: 18, 34, 50, 101 or 152.
    pub depth: Depth,
    /// Which convolution of a bottleneck block has the stride.
    pub style: Style,
    /// Width of the stem and of the first stage; 64 in every published network.
    pub base_channels: usize,
    /// Groups of the 3x3 convolutions; more than 1 makes a ResNeXt.
    pub groups: usize,
    /// Channels of a group in the first stage of a ResNeXt with 64 base channels.
    pub base_width: usize,
    /// Number of stages, 1 to 4.
    pub num_stages: usize,
    /// Stride of the first block of each stage.
    pub strides: Vec<usize>,
    /// Dilation of the blocks of each stage.
    pub dilations: Vec<usize>,
    /// Stages whose output is returned, counted from 0.
    pub out_indices: Vec<usize>,
    /// Parts that are not trained: -1 none, 0 the stem, n the stem and the first n stages.
    pub frozen_stages: i32,
    /// Normalisation after every convolution.
    pub norm: NormConfig,
    /// Deformable convolution in the stages of `stage_with_dcn`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dcn: Option<DcnConfig>,
    /// Whether the 3x3 convolutions of each stage are deformable.
    pub stage_with_dcn: Vec<bool>,
    /// Whether a new network starts with every block as the identity (Goyal et al., 2017).
    pub zero_init_residual: bool,
}

impl Default for ResNetConfig {
    fn default() -> Self {
        Self {
            depth: Depth::default(),
            style: Style::default(),
            base_channels: 64,
            groups: 1,
            base_width: 4,
            num_stages: 4,
            strides: vec![1, 2, 2, 2],
            dilations: vec![1; 4],
            out_indices: vec![0, 1, 2, 3],
            frozen_stages: 1,
            norm: NormConfig::default(),
            dcn: None,
            stage_with_dcn: vec![false; 4],
            zero_init_residual: true,
        }
    }
}

impl ResNetConfig {
    /// Whether part 0 (the stem) or n (stage n, counted from 1) is not trained.
    pub(super) fn is_frozen(&self, part: usize) -> bool {
        part as i32 <= self.frozen_stages
    }

    /// Channels of a stage over its blocks' expansion, counted from 0.
    pub(super) fn width(&self, stage: usize) -> usize {
        self.base_channels << stage
    }

    /// Channels of the 3x3 convolutions of a stage's bottleneck blocks, counted from 0.
    pub(super) fn mid_channels(&self, stage: usize) -> usize {
        let width = self.width(stage);
        if self.groups == 1 {
            return width;
        }
        // In the reference's order: the quotient can round below a whole number.
        let of_group = width as f64 * (self.base_width as f64 / self.base_channels as f64);
        of_group as usize * self.groups
    }
}

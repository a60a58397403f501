//! Options of a ResNet, and what follows from them.

use serde::{Deserialize, Serialize};

use super::dcn::DcnConfig;
use super::plan::BlockPlan;
use crate::config::need;
use crate::{ConfigError, FeatureSpec, LayerInfo, NormConfig};

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
    pub fn blocks(self) -> [usize; 4] {
        match self {
            Self::D18 => [2, 2, 2, 2],
            Self::D34 | Self::D50 => [3, 4, 6, 3],
            Self::D101 => [3, 4, 23, 3],
            Self::D152 => [3, 8, 36, 3],
        }
    }

    /// Output channels of a block over its width.
    pub fn expansion(self) -> usize {
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
    /// Checks every value.
    ///
    /// # Errors
    ///
    /// Names the first key whose value no network can be built from.
    pub fn check(&self) -> Result<(), ConfigError> {
        let stages = self.num_stages;
        need(self.base_channels > 0, "base_channels", || {
            "is 0, expected at least 1".to_owned()
        })?;
        need((1..=4).contains(&stages), "num_stages", || {
            format!("is {stages}, expected 1 to 4")
        })?;
        for (key, values) in [("strides", &self.strides), ("dilations", &self.dilations)] {
            let usable = values.len() >= stages && !values.contains(&0);
            need(usable, key, || {
                format!("is {values:?}, expected one positive number for each of {stages} stages")
            })?;
        }
        let outputs = &self.out_indices;
        let rising = outputs.is_sorted_by(|a, b| a < b);
        let last = outputs.last().copied();
        need(
            rising && last.is_some_and(|l| l < stages),
            "out_indices",
            || {
                format!(
                    "is {outputs:?}, expected rising stages out of 0 to {}",
                    stages - 1
                )
            },
        )?;
        let frozen = self.frozen_stages;
        need(
            (-1..=stages as i32).contains(&frozen),
            "frozen_stages",
            || format!("is {frozen}, expected -1 (none), 0 (the stem) or up to {stages} stages"),
        )?;
        self.check_groups()?;
        self.check_dcn()?;
        self.norm.check(self.base_channels)?;
        self.norm.check(self.inner(0))
    }

    fn check_groups(&self) -> Result<(), ConfigError> {
        let groups = self.groups;
        let bottleneck = self.depth.expansion() > 1;
        need(groups == 1 || (groups > 1 && bottleneck), "groups", || {
            let depth = usize::from(self.depth);
            format!("is {groups}, expected 1, or more with a depth of 50 or more; depth is {depth}")
        })?;
        need(self.inner(0) > 0, "base_width", || {
            format!("is {}, which leaves a group no channels", self.base_width)
        })
    }

    /// Channels and stride of each returned map.
    ///
    /// # Panics
    ///
    /// When [`check`](Self::check) fails.
    pub fn features(&self) -> Vec<FeatureSpec> {
        let spec = |&stage: &usize| FeatureSpec {
            channels: self.width(stage) * self.depth.expansion(),
            // The stem's convolution and pooling halve the image twice.
            stride: 4 * self.strides[..=stage].iter().product::<usize>(),
        };
        self.out_indices.iter().map(spec).collect()
    }

    /// Height and width of each returned map for an image of `[height, width]` pixels.
    ///
    /// # Panics
    ///
    /// When [`check`](Self::check) fails or the image is too small.
    pub fn sizes(&self, image: [usize; 2]) -> Vec<[usize; 2]> {
        let mut size = self.stem().output(image).map(pooled);
        let mut sizes = Vec::new();
        for stage in 0..self.num_stages {
            for block in self.stage(stage) {
                size = block.output(size);
            }
            sizes.push(size);
        }
        self.out_indices.iter().map(|stage| sizes[*stage]).collect()
    }

    /// Every layer with its cost for an image of `[height, width]` pixels.
    ///
    /// # Panics
    ///
    /// When [`check`](Self::check) fails or the image is too small.
    pub fn layers(&self, image: [usize; 2]) -> Vec<LayerInfo> {
        let affine = self.norm.affine();
        let mut layers = self.stem().layers("conv1", image);
        let map @ [channels, height, width] = layers[0].output;
        layers.push(LayerInfo::norm("bn1", map, affine));
        let mut layers: Vec<_> = layers.into_iter().map(|l| self.trained(l, 0)).collect();
        let mut size = [height, width].map(pooled);
        layers.push(LayerInfo::pool("maxpool", [channels, size[0], size[1]]));
        for stage in 0..self.num_stages {
            for (i, block) in self.stage(stage).into_iter().enumerate() {
                let own = block.layers(&format!("layer{}.{i}", stage + 1), size, affine);
                layers.extend(own.into_iter().map(|l| self.trained(l, stage + 1)));
                size = block.output(size);
            }
        }
        layers
    }

    fn trained(&self, layer: LayerInfo, part: usize) -> LayerInfo {
        LayerInfo {
            trainable: layer.trainable && !self.is_frozen(part),
            ..layer
        }
    }

    /// Whether part 0 (the stem) or n (stage n, counted from 1) is not trained.
    pub(super) fn is_frozen(&self, part: usize) -> bool {
        part as i32 <= self.frozen_stages
    }

    fn width(&self, stage: usize) -> usize {
        self.base_channels << stage
    }

    /// Channels of the 3x3 convolutions of a stage's bottleneck blocks, counted from 0.
    pub(super) fn inner(&self, stage: usize) -> usize {
        let width = self.width(stage);
        if self.groups == 1 {
            return width;
        }
        // In the reference's order: the quotient can round below a whole number.
        let of_group = width as f64 * (self.base_width as f64 / self.base_channels as f64);
        of_group as usize * self.groups
    }

    /// The blocks of a stage, counted from 0.
    pub(super) fn stage(&self, stage: usize) -> Vec<BlockPlan> {
        let width = self.width(stage);
        let channels = width * self.depth.expansion();
        let before = match stage {
            0 => self.base_channels,
            _ => channels / 2,
        };
        let block = |i: usize| BlockPlan {
            expansion: self.depth.expansion(),
            style: self.style,
            input: if i == 0 { before } else { channels },
            width,
            inner: self.inner(stage),
            groups: self.groups,
            stride: if i == 0 { self.strides[stage] } else { 1 },
            dilation: self.dilations[stage],
            deformation: self.deformation(stage, i),
        };
        (0..self.depth.blocks()[stage]).map(block).collect()
    }
}

/// Size after the stem's 3x3 max pooling of stride 2.
fn pooled(size: usize) -> usize {
    (size - 1) / 2 + 1
}

//! What tensors say about the network that they belong to.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::Tensor;

type Tensors = BTreeMap<String, Tensor>;

/// A network, as far as its weights show it. Strides, dilations and activations do not show.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Architecture {
    /// The feature extractor.
    pub backbone: BackboneKind,
    /// The feature pyramid, of a detector.
    pub neck: Option<NeckShape>,
    /// The head, of a detector.
    pub head: Option<HeadShape>,
}

/// Kind of normalisation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NormKind {
    /// None, or folded into the convolution.
    None,
    /// With running statistics.
    Batch,
    /// Without.
    Group,
}

/// Deformable convolution in a stage of a backbone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct DeformableStage {
    /// The stage, counted from 0.
    pub stage: usize,
    /// Channels of the convolution that moves the taps: 18 for each group without modulation, 27
    /// with it.
    pub offset_channels: usize,
}

/// A feature extractor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum BackboneKind {
    /// ResNet or ResNeXt.
    ResNet {
        /// 18, 34, 50, 101 or 152; none for other numbers of blocks.
        depth: Option<usize>,
        /// Blocks of each stage.
        blocks: [usize; 4],
        /// Width of the stem and of the first stage.
        base_channels: usize,
        /// Groups of the 3x3 convolutions.
        groups: usize,
        /// Channels of a group in the first stage.
        base_width: usize,
        /// Normalisation.
        norm: NormKind,
        /// Stages with deformable convolution.
        deformable: Vec<DeformableStage>,
    },
    /// MobileNetV2.
    MobileNetV2 {
        /// Channels of the stem, of the output of each of the blocks, and of the last layer.
        channels: Vec<usize>,
    },
}

/// A feature pyramid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NeckShape {
    /// Channels of every output.
    pub out_channels: usize,
    /// Channels of the backbone's maps that are used.
    pub in_channels: Vec<usize>,
    /// Convolutions above the backbone's last map.
    pub extra_convs: usize,
    /// Channels that the first of these reads: the last of `in_channels` if it is on the backbone's
    /// map.
    pub extra_in_channels: Option<usize>,
    /// Normalisation of the output convolutions.
    pub norm: NormKind,
}

/// A method of detection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// FCOS.
    Fcos,
    /// FoveaBox.
    Fovea,
    /// RepPoints.
    RepPoints,
    /// FSAF's anchor-free branch alone.
    Fsaf,
    /// RetinaNet.
    Retina,
    /// RetinaNet joint with FSAF.
    RetinaFsaf,
}

/// A head.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HeadShape {
    /// Its method.
    pub method: Method,
    /// Number of classes.
    pub num_classes: usize,
    /// Anchors of a point; 1 for methods without anchors.
    pub anchors: usize,
    /// Channels of the pyramid.
    pub in_channels: usize,
    /// Channels of the towers.
    pub feat_channels: usize,
    /// Convolutions of each tower, of classes and of boxes.
    pub stacked_convs: [usize; 2],
    /// Normalisation of the towers.
    pub norm: NormKind,
    /// Whether the last convolution of a tower is deformable, or FoveaBox aligns its features.
    pub deformable: bool,
}

impl Method {
    /// The name of the method's table in a configuration.
    pub fn table(self) -> &'static str {
        match self {
            Self::Fcos => "fcos",
            Self::Fovea => "fovea",
            Self::RepPoints => "reppoints",
            Self::Fsaf => "fsaf",
            Self::Retina | Self::RetinaFsaf => "retina",
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fcos => "FCOS",
            Self::Fovea => "FoveaBox",
            Self::RepPoints => "RepPoints",
            Self::Fsaf => "FSAF",
            Self::Retina => "RetinaNet",
            Self::RetinaFsaf => "RetinaNet joint with FSAF",
        })
    }
}

impl fmt::Display for BackboneKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ResNet {
                depth,
                blocks,
                groups,
                base_width,
                base_channels,
                ..
            } => {
                let name = if *groups > 1 { "ResNeXt" } else { "ResNet" };
                match depth {
                    Some(depth) => write!(f, "{name}-{depth}")?,
                    None => write!(f, "{name} with {blocks:?} blocks")?,
                }
                if *groups > 1 {
                    write!(f, " ({groups}x{base_width}d)")?;
                }
                if *base_channels != 64 {
                    write!(f, " of {base_channels} base channels")?;
                }
                Ok(())
            }
            Self::MobileNetV2 { channels } => {
                write!(f, "MobileNetV2")?;
                match channels.first() {
                    Some(32) | None => Ok(()),
                    Some(stem) => write!(f, " with a stem of {stem} channels"),
                }
            }
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.head {
            None => write!(f, "{}", self.backbone),
            Some(head) => write!(
                f,
                "{} of {} classes on {}",
                head.method, head.num_classes, self.backbone
            ),
        }
    }
}

impl Architecture {
    /// What the tensors of a whole detector or of a backbone say, under our names.
    pub(crate) fn of(tensors: &Tensors) -> Option<Self> {
        let detector = tensors.keys().any(|name| name.starts_with("backbone."));
        let prefix = if detector { "backbone." } else { "" };
        Some(Self {
            backbone: backbone(&View { tensors, prefix })?,
            neck: neck(&View {
                tensors,
                prefix: "neck.",
            }),
            head: head(&View {
                tensors,
                prefix: "bbox_head.",
            }),
        })
    }
}

/// The tensors below a prefix.
struct View<'a> {
    tensors: &'a Tensors,
    prefix: &'a str,
}

impl View<'_> {
    fn shape(&self, name: &str) -> Option<&[usize]> {
        let tensor = self.tensors.get(&format!("{}{name}", self.prefix))?;
        Some(&tensor.shape)
    }

    /// Outputs and inputs of a convolution.
    fn channels(&self, name: &str) -> Option<[usize; 2]> {
        match self.shape(&format!("{name}.weight"))? {
            [output, input, ..] => Some([*output, *input]),
            _ => None,
        }
    }

    fn has(&self, name: &str) -> bool {
        self.shape(name).is_some()
    }

    /// How many of `name(0)`, `name(1)`, ... there are.
    fn count(&self, name: impl Fn(usize) -> String) -> usize {
        (0..).take_while(|i| self.has(&name(*i))).count()
    }

    /// The kind of a norm.
    fn norm(&self, name: &str) -> NormKind {
        if self.has(&format!("{name}.running_var")) {
            NormKind::Batch
        } else if self.has(&format!("{name}.weight")) {
            NormKind::Group
        } else {
            NormKind::None
        }
    }

    /// The norm of a convolution that has it under its kind's name.
    fn conv_norm(&self, conv: &str) -> NormKind {
        match self.norm(&format!("{conv}.bn")) {
            NormKind::None => self.norm(&format!("{conv}.gn")),
            norm => norm,
        }
    }
}

fn backbone(view: &View<'_>) -> Option<BackboneKind> {
    if view.has("features.0.0.weight") {
        return Some(mobilenet(view));
    }
    resnet(view)
}

fn resnet(view: &View<'_>) -> Option<BackboneKind> {
    let block = |stage: usize, i: usize| format!("layer{}.{i}", stage + 1);
    let blocks =
        [0, 1, 2, 3].map(|stage| view.count(|i| format!("{}.conv1.weight", block(stage, i))));
    let bottleneck = view.has("layer1.0.conv3.weight");
    let depth = match (bottleneck, blocks) {
        (false, [2, 2, 2, 2]) => Some(18),
        (false, [3, 4, 6, 3]) => Some(34),
        (true, [3, 4, 6, 3]) => Some(50),
        (true, [3, 4, 23, 3]) => Some(101),
        (true, [3, 8, 36, 3]) => Some(152),
        _ => None,
    };
    let [base_channels, _] = view.channels("conv1")?;
    let [width, per_group] = view.channels("layer1.0.conv2")?;
    let groups = if bottleneck {
        width / per_group.max(1)
    } else {
        1
    };
    let deformable = (0..4).filter_map(|stage| {
        let offsets = |i| view.channels(&format!("{}.conv2.conv_offset", block(stage, i)));
        let [offset_channels, _] = (0..blocks[stage]).find_map(offsets)?;
        Some(DeformableStage {
            stage,
            offset_channels,
        })
    });
    Some(BackboneKind::ResNet {
        depth,
        blocks,
        base_channels,
        groups,
        base_width: width / groups.max(1),
        norm: view.norm("bn1"),
        deformable: deformable.collect(),
    })
}

fn mobilenet(view: &View<'_>) -> BackboneKind {
    let output = |i: usize| {
        // The last convolution of a block is its fourth module, or its third without expansion.
        let names = ["0", "conv.2", "conv.1"].map(|conv| format!("features.{i}.{conv}"));
        let convs = names.iter().filter(|name| {
            view.shape(&format!("{name}.weight"))
                .is_some_and(|s| s.len() == 4)
        });
        convs
            .filter_map(|name| view.channels(name))
            .map(|[output, _]| output)
            .next()
    };
    let channels = (0..).map_while(output).collect();
    BackboneKind::MobileNetV2 { channels }
}

fn neck(view: &View<'_>) -> Option<NeckShape> {
    let lateral = |i: usize| format!("lateral_convs.{i}.conv");
    let output = |i: usize| format!("fpn_convs.{i}.conv");
    let levels = view.count(|i| format!("{}.weight", lateral(i)));
    let outputs = view.count(|i| format!("{}.weight", output(i)));
    let inputs = (0..levels).filter_map(|i| view.channels(&lateral(i)));
    let [out_channels, _] = view.channels(&output(0))?;
    Some(NeckShape {
        out_channels,
        in_channels: inputs.map(|[_, input]| input).collect(),
        extra_convs: outputs.saturating_sub(levels),
        extra_in_channels: view.channels(&output(levels)).map(|[_, input]| input),
        norm: view.conv_norm("fpn_convs.0"),
    })
}

/// The method of a head, with its layers of classes and boxes.
fn method(view: &View<'_>) -> Option<(Method, &'static str, &'static str)> {
    let has = |layer: &str| view.has(&format!("{layer}.weight"));
    let retina = ("retina_cls", "retina_reg");
    let found = if has("reppoints_cls_out") {
        (Method::RepPoints, ("reppoints_cls_out", ""))
    } else if has("fsaf_cls") {
        (Method::RetinaFsaf, retina)
    } else if has("retina_cls") {
        // FSAF shares RetinaNet's names, and has no anchors.
        let anchor_free = view.channels("retina_reg")?[0] == 4;
        (
            if anchor_free {
                Method::Fsaf
            } else {
                Method::Retina
            },
            retina,
        )
    } else if has("conv_centerness") {
        (Method::Fcos, ("conv_cls", "conv_reg"))
    } else if has("conv_cls") && has("conv_reg") {
        (Method::Fovea, ("conv_cls", "conv_reg"))
    } else {
        return None;
    };
    let (method, (classes, boxes)) = found;
    Some((method, classes, boxes))
}

fn head(view: &View<'_>) -> Option<HeadShape> {
    let (method, classes, boxes) = method(view)?;
    let [outputs, _] = view.channels(classes)?;
    let anchors = match boxes {
        "" => 1,
        boxes => (view.channels(boxes)?[0] / 4).max(1),
    };
    let tower = |name: &str| view.count(|i| format!("{name}.{i}.conv.weight"));
    let stacked_convs = [tower("cls_convs"), tower("reg_convs")];
    let last = stacked_convs[0].saturating_sub(1);
    let first = view
        .channels("reg_convs.0.conv")
        .or_else(|| view.channels("cls_convs.0.conv"));
    let [feat_channels, in_channels] = match first {
        Some(channels) => channels,
        None => [view.channels(classes)?[1]; 2],
    };
    Some(HeadShape {
        method,
        num_classes: outputs / anchors,
        anchors,
        in_channels,
        feat_channels,
        stacked_convs,
        norm: view.conv_norm("cls_convs.0"),
        deformable: view.has(&format!("cls_convs.{last}.conv.conv_offset.weight"))
            || view.has("feature_adaption.conv_adaption.weight"),
    })
}

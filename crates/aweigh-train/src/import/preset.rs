//! Configurations of detectors whose files hold none: torchvision's and AdelaiDet's.
//!
//! Each is the network as its authors build it, with the sizes that its weights show. What weights
//! do not show (thresholds, points, groups of norms) is the authors' default.

use aweigh_weights::{Architecture, BackboneKind, HeadShape, Layout, NeckShape, NormKind};

use crate::config::Experiment;

/// Groups of every group norm in torchvision's and AdelaiDet's heads.
const GROUPS: usize = 32;

/// Paths that a user replaces by those of the data to train on.
const DATA: &str = r#"
[data]
train = { annotations = "datasets/coco/annotations/instances_train2017.json", images = "datasets/coco/train2017" }
val = { annotations = "datasets/coco/annotations/instances_val2017.json", images = "datasets/coco/val2017" }
"#;

/// The configuration of a detector in one of these layouts.
///
/// # Errors
///
/// Says what about the network has no place in a configuration.
pub(super) fn experiment(
    layout: Layout,
    architecture: &Architecture,
) -> Result<Experiment, String> {
    let (Some(neck), Some(head)) = (&architecture.neck, &architecture.head) else {
        return Err("it has no pyramid or no head".to_owned());
    };
    let detector = match layout {
        Layout::TorchvisionFcos => torchvision_fcos(head),
        Layout::TorchvisionRetina => torchvision_retina(head),
        Layout::AdelaiDet => adelaidet(head),
        other => return Err(format!("{other} says nothing of its options")),
    };
    let style = match layout {
        Layout::AdelaiDet => "caffe",
        _ => "pytorch",
    };
    let backbone = backbone(&architecture.backbone, style)?;
    let neck = pyramid(&architecture.backbone, neck)?;
    let classes = head.num_classes;
    let text =
        format!("{DATA}\n{detector}\n{backbone}\n{neck}\n[detector]\nnum_classes = {classes}\n");
    Experiment::parse("the authors' network", &text, &[]).map_err(|error| error.to_string())
}

/// What a configuration needs for a layout that no tensor shows, in words.
pub(super) fn options(layout: Layout) -> Option<&'static str> {
    match layout {
        Layout::TorchvisionFcos => Some(
            "points = \"torchvision\", norm_on_bbox, centerness_on_reg, conv_bias and score = \
             \"sqrt\"",
        ),
        Layout::TorchvisionRetina => Some("anchors = { style = \"torchvision\" }"),
        Layout::AdelaiDet => {
            Some("norm_on_bbox, centerness_on_reg, conv_bias and score = \"sqrt\"")
        }
        _ => None,
    }
}

/// `torchvision/models/detection/fcos.py`, `fcos_resnet50_fpn`.
fn torchvision_fcos(head: &HeadShape) -> String {
    format!(
        r#"
[detector.fcos]
{}
conv_bias = true
points = "torchvision"

[detector.fcos.test]
score_threshold = 0.2
nms_iou = 0.6
min_box_size = -1.0
score = "sqrt"
rank_by = "score"
"#,
        towers(head)
    )
}

/// `torchvision/models/detection/retinanet.py`, `retinanet_resnet50_fpn` and its second version.
fn torchvision_retina(head: &HeadShape) -> String {
    format!(
        r#"
[detector.retina]
{}
anchors = {{ style = "torchvision" }}

[detector.retina.test]
min_box_size = -1.0
max_per_image = 300
"#,
        towers(head)
    )
}

/// AdelaiDet `configs/FCOS-Detection/Base-FCOS.yaml` and `fcos/fcos_outputs.py`.
fn adelaidet(head: &HeadShape) -> String {
    format!(
        r#"
[data.transform]
channel_order = "bgr"
mean = [103.53, 116.28, 123.675]
std = [1.0, 1.0, 1.0]

[detector.fcos]
{}
conv_bias = true

[detector.fcos.test]
nms_iou = 0.6
min_box_size = -1.0
score = "sqrt"
"#,
        towers(head)
    )
}

fn towers(head: &HeadShape) -> String {
    let norm = match head.norm {
        NormKind::Group => format!("{{ group_norm = {{ groups = {GROUPS} }} }}"),
        NormKind::None | NormKind::Batch => "\"none\"".to_owned(),
    };
    format!(
        "feat_channels = {}\nstacked_convs = {}\nnorm = {norm}",
        head.feat_channels, head.stacked_convs[0]
    )
}

fn backbone(kind: &BackboneKind, style: &str) -> Result<String, String> {
    let BackboneKind::ResNet {
        depth,
        base_channels,
        groups,
        base_width,
        ..
    } = kind
    else {
        return Err(format!(
            "{kind} is not the backbone of the published network"
        ));
    };
    let depth = depth.ok_or_else(|| format!("{kind} has none of the known depths"))?;
    let width = match groups {
        1 => String::new(),
        groups => format!("groups = {groups}\nbase_width = {base_width}\n"),
    };
    Ok(format!(
        "[detector.backbone]\ndepth = {depth}\nbase_channels = {base_channels}\n{width}\
         style = \"{style}\"\nfrozen_stages = 1\nnorm = {{ frozen_bn = {{ affine = \"frozen\" }} }}\n"
    ))
}

fn pyramid(backbone: &BackboneKind, neck: &NeckShape) -> Result<String, String> {
    let maps = neck.in_channels.len();
    // The pyramid ends at the backbone's last map in every published network.
    let start = 4usize
        .checked_sub(maps)
        .ok_or_else(|| format!("a pyramid on {maps} maps does not fit the four of {backbone}"))?;
    let on_input = neck.extra_in_channels == neck.in_channels.last().copied()
        && neck.extra_in_channels != Some(neck.out_channels);
    let extra = if on_input { "on_input" } else { "on_output" };
    Ok(format!(
        "[detector.neck]\nout_channels = {}\nstart_level = {start}\nnum_outs = {}\n\
         add_extra_convs = \"{extra}\"\nrelu_before_extra_convs = true\n",
        neck.out_channels,
        maps + neck.extra_convs,
    ))
}

//! Detectors and backbones of mmdetection 1.x to 3.x.

use std::collections::BTreeSet;

use super::{Verdict, resnet};

/// Our name of a tensor of a detector.
pub(super) fn rename(name: &str) -> Verdict {
    if let Some(rest) = name.strip_prefix("backbone.") {
        return match rename_backbone(rest) {
            Verdict::Own(own) => Verdict::Own(format!("backbone.{own}")),
            other => other,
        };
    }
    if name.starts_with("neck.") {
        return Verdict::Own(name.to_owned());
    }
    match name.strip_prefix("bbox_head.") {
        Some(rest) => Verdict::Own(format!("bbox_head.{}", head(rest))),
        None => Verdict::LeftOver,
    }
}

/// Our name of a tensor of a backbone.
pub(super) fn rename_backbone(name: &str) -> Verdict {
    match mobilenet(name) {
        Some(own) => Verdict::Own(own),
        None => resnet::rename(name),
    }
}

/// Layers that mmdetection 1.x calls otherwise.
fn head(name: &str) -> String {
    const OLD: [(&str, &str); 5] = [
        ("fcos_cls.", "conv_cls."),
        ("fcos_reg.", "conv_reg."),
        ("fcos_centerness.", "conv_centerness."),
        ("fovea_cls.", "conv_cls."),
        ("fovea_reg.", "conv_reg."),
    ];
    for (old, new) in OLD {
        if let Some(rest) = name.strip_prefix(old) {
            return format!("{new}{rest}");
        }
    }
    name.to_owned()
}

/// Blocks of each stage of a MobileNetV2.
pub(crate) const MOBILENET_BLOCKS: [usize; 7] = [1, 2, 3, 4, 3, 3, 1];

/// torchvision's name, which is ours, of a tensor of mmdetection's MobileNetV2.
fn mobilenet(name: &str) -> Option<String> {
    let parts: Vec<&str> = name.split('.').collect();
    let module = |conv_or_norm: &str| match conv_or_norm {
        "conv" => Some(0),
        "bn" | "gn" => Some(1),
        _ => None,
    };
    match parts.as_slice() {
        ["conv1", layer, part] => Some(format!("features.0.{}.{part}", module(layer)?)),
        ["conv2", layer, part] => Some(format!("features.18.{}.{part}", module(layer)?)),
        // mmdetection names the convolutions of a block, mmclassification numbers them.
        [stage, block, "conv", conv, layer, part] => {
            let number = block_number(stage, block)?;
            block_layer(number, conv.parse().ok()?, module(layer)?, part)
        }
        [stage, block, conv, layer, part] => {
            let number = block_number(stage, block)?;
            let last = last_conv(number);
            let conv = match *conv {
                "expand_conv" => 0,
                "depthwise_conv" => last - 1,
                "linear_conv" => last,
                _ => return None,
            };
            block_layer(number, conv, module(layer)?, part)
        }
        _ => None,
    }
}

/// The number of a block, from 1, by its stage and its place in that.
fn block_number(stage: &str, block: &str) -> Option<usize> {
    let stage: usize = stage.strip_prefix("layer")?.parse().ok()?;
    let before = MOBILENET_BLOCKS.get(..stage.checked_sub(1)?)?;
    Some(1 + before.iter().sum::<usize>() + block.parse::<usize>().ok()?)
}

/// The last convolution of a block, counted from 0; the first block does not expand.
pub(crate) fn last_conv(number: usize) -> usize {
    if number == 1 { 1 } else { 2 }
}

/// torchvision's name of the convolution (`module` 0) or norm (1) of convolution `conv` of a block.
/// The last convolution has no activation, and its norm is a module of the block.
fn block_layer(number: usize, conv: usize, module: usize, part: &str) -> Option<String> {
    let last = last_conv(number);
    let inner = match conv {
        _ if conv == last => format!("{}", conv + module),
        _ if conv < last => format!("{conv}.{module}"),
        _ => return None,
    };
    Some(format!("features.{number}.conv.{inner}.{part}"))
}

/// A detector that is none of ours, with the tensor that shows it.
pub(super) fn other_detector<'a>(names: &BTreeSet<&'a str>) -> Option<(&'static str, &'a str)> {
    /// Parts of names, those of detectors with several before what they share with others.
    const SIGNS: [(&str, &str); 33] = [
        ("roi_head.mask_head.", "Mask R-CNN"),
        ("roi_head.bbox_head.0.", "Cascade R-CNN"),
        ("roi_head.", "a two-stage detector such as Faster R-CNN"),
        ("roi_heads.mask_", "Mask R-CNN"),
        ("roi_heads.", "a two-stage detector such as Faster R-CNN"),
        ("rpn_head.", "a region proposal network"),
        ("bbox_head.atss_", "ATSS"),
        ("bbox_head.gfl_", "GFL"),
        ("bbox_head.vfnet_", "VarifocalNet"),
        ("bbox_head.tood_", "TOOD"),
        ("bbox_head.rtm_", "RTMDet"),
        ("bbox_head.multi_level_", "YOLOX"),
        ("bbox_head.head_module.", "a detector of MMYOLO"),
        ("bbox_head.convs_pred.", "YOLOv3"),
        ("bbox_head.conv_objectness.", "AutoAssign"),
        ("bbox_head.heatmap_head.", "CenterNet"),
        ("bbox_head.tl_", "CornerNet"),
        ("bbox_head.fc_cls.", "DETR"),
        ("bbox_head.cls_branches.", "a variant of DETR"),
        ("bbox_head.controller.", "CondInst"),
        (
            "bbox_head.cls_convs.0.0.",
            "a detector with a head for each level",
        ),
        ("bbox_head.cls_convs.0.weight", "SSD"),
        ("mask_head.", "a segmentation network"),
        ("panoptic_head.", "a panoptic segmentation network"),
        (
            "head.classification_head.module_list.",
            "SSD of torchvision",
        ),
        ("head.cls_subnet.", "RetinaNet of Detectron2"),
        ("proposal_generator.rpn_head.", "Faster R-CNN of Detectron2"),
        ("proposal_generator.", "a detector of Detectron2"),
        ("class_embed.", "DETR"),
        ("sem_seg_head.", "a segmentation network of Detectron2"),
        ("decode_head.", "a segmentation network"),
        ("model.24.", "YOLOv5"),
        ("model.22.", "YOLOv8"),
    ];
    let found = SIGNS.iter().find_map(|(sign, detector)| {
        let begins = |name: &&&str| {
            let at = name.find(sign);
            at.is_some_and(|at| at == 0 || name.as_bytes()[at - 1] == b'.')
        };
        Some((*detector, *names.iter().find(begins)?))
    });
    // A head of mmdetection that no line above knows.
    let ours = [
        "conv_cls.",
        "fcos_cls.",
        "fovea_cls.",
        "retina_cls.",
        "reppoints_cls_out.",
    ];
    let is_ours = |name: &&str| ours.iter().any(|layer| name.contains(layer));
    if names.iter().any(is_ours) {
        return found;
    }
    found.or_else(|| {
        let head = names.iter().find(|name| name.starts_with("bbox_head."))?;
        Some(("a detector of mmdetection with an unknown head", *head))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, expected: &str) {
        assert_eq!(rename(name), Verdict::Own(expected.to_owned()), "{name}");
    }

    #[test]
    fn names_are_ours_but_for_a_few() {
        check(
            "backbone.layer1.0.gn2.weight",
            "backbone.layer1.0.bn2.weight",
        );
        check(
            "backbone.layer2.0.conv2_offset.weight",
            "backbone.layer2.0.conv2.conv_offset.weight",
        );
        check(
            "bbox_head.fcos_centerness.bias",
            "bbox_head.conv_centerness.bias",
        );
        check("bbox_head.fovea_reg.weight", "bbox_head.conv_reg.weight");
        check(
            "bbox_head.cls_convs.0.gn.bias",
            "bbox_head.cls_convs.0.gn.bias",
        );
        check(
            "bbox_head.cls_convs.3.conv.conv_offset.weight",
            "bbox_head.cls_convs.3.conv.conv_offset.weight",
        );
        check(
            "bbox_head.feature_adaption.conv_offset.weight",
            "bbox_head.feature_adaption.conv_offset.weight",
        );
        check("bbox_head.moment_transfer", "bbox_head.moment_transfer");
    }

    #[test]
    fn mobilenet_has_torchvisions_names() {
        check("backbone.conv1.conv.weight", "backbone.features.0.0.weight");
        check(
            "backbone.layer1.0.conv.0.bn.bias",
            "backbone.features.1.conv.0.1.bias",
        );
        check(
            "backbone.layer1.0.conv.1.conv.weight",
            "backbone.features.1.conv.1.weight",
        );
        check(
            "backbone.layer1.0.conv.1.bn.weight",
            "backbone.features.1.conv.2.weight",
        );
        check(
            "backbone.layer2.1.conv.2.bn.weight",
            "backbone.features.3.conv.3.weight",
        );
        check(
            "backbone.layer1.0.linear_conv.bn.bias",
            "backbone.features.1.conv.2.bias",
        );
        check(
            "backbone.layer2.0.expand_conv.bn.bias",
            "backbone.features.2.conv.0.1.bias",
        );
        check(
            "backbone.layer2.0.depthwise_conv.conv.weight",
            "backbone.features.2.conv.1.0.weight",
        );
        check(
            "backbone.layer7.0.conv.1.conv.weight",
            "backbone.features.17.conv.1.0.weight",
        );
        check(
            "backbone.conv2.bn.running_var",
            "backbone.features.18.1.running_var",
        );
    }

    #[test]
    fn other_detectors_are_named() {
        let check = |name: &'static str, expected: &str| {
            let (detector, sign) =
                other_detector(&BTreeSet::from([name])).expect("another detector");
            assert_eq!((detector, sign), (expected, name));
        };
        check("roi_head.bbox_head.0.fc_cls.weight", "Cascade R-CNN");
        check("bbox_head.gfl_cls.weight", "GFL");
        check("module.bbox_head.atss_cls.bias", "ATSS");
        check(
            "bbox_head.something.weight",
            "a detector of mmdetection with an unknown head",
        );
        assert_eq!(
            other_detector(&BTreeSet::from(["conv1.weight", "fc.weight"])),
            None
        );
    }
}

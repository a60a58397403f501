//! FCOS and RetinaNet of torchvision.

use std::collections::BTreeMap;

use super::{Verdict, resnet};
use crate::Tensor;

/// Our name of a tensor of `fcos_resnet50_fpn` whose pyramid uses `laterals` maps.
pub(super) fn rename_fcos(name: &str, laterals: usize) -> Verdict {
    rename(name, laterals, |rest| {
        let own = match rest.split('.').collect::<Vec<_>>().as_slice() {
            [branch, "conv", index, part] => {
                let index: usize = index.parse().ok()?;
                // Convolution, norm and ReLU in turn.
                let layer = ["conv", "gn"].get(index % 3)?;
                format!("{}.{}.{layer}.{part}", tower(branch)?, index / 3)
            }
            ["classification_head", "cls_logits", part] => format!("conv_cls.{part}"),
            ["regression_head", "bbox_reg", part] => format!("conv_reg.{part}"),
            ["regression_head", "bbox_ctrness", part] => format!("conv_centerness.{part}"),
            _ => return None,
        };
        Some(own)
    })
}

/// Our name of a tensor of `retinanet_resnet50_fpn` whose pyramid uses `laterals` maps.
pub(super) fn rename_retina(name: &str, laterals: usize) -> Verdict {
    rename(name, laterals, |rest| {
        let own = match rest.split('.').collect::<Vec<_>>().as_slice() {
            // Before version 0.13 convolution and ReLU took turns.
            [branch, "conv", index, part] => {
                let index: usize = index.parse().ok()?;
                format!("{}.{}.conv.{part}", tower(branch)?, index / 2)
            }
            [branch, "conv", index, module, part] => {
                let layer = ["conv", "gn"].get(module.parse::<usize>().ok()?)?;
                format!("{}.{index}.{layer}.{part}", tower(branch)?)
            }
            ["classification_head", "cls_logits", part] => format!("retina_cls.{part}"),
            ["regression_head", "bbox_reg", part] => format!("retina_reg.{part}"),
            _ => return None,
        };
        Some(own)
    })
}

fn tower(branch: &str) -> Option<&'static str> {
    match branch {
        "classification_head" => Some("cls_convs"),
        "regression_head" => Some("reg_convs"),
        _ => None,
    }
}

/// What both detectors share: backbone and pyramid.
fn rename(name: &str, laterals: usize, head: impl Fn(&str) -> Option<String>) -> Verdict {
    if let Some(rest) = name.strip_prefix("backbone.body.") {
        return match resnet::rename(rest) {
            Verdict::Own(own) => Verdict::Own(format!("backbone.{own}")),
            other => other,
        };
    }
    let own = if let Some(rest) = name.strip_prefix("backbone.fpn.") {
        neck(rest, laterals).map(|own| format!("neck.{own}"))
    } else if let Some(rest) = name.strip_prefix("head.") {
        head(rest).map(|own| format!("bbox_head.{own}"))
    } else {
        None
    };
    own.map_or(Verdict::LeftOver, Verdict::Own)
}

fn neck(rest: &str, laterals: usize) -> Option<String> {
    let parts: Vec<&str> = rest.split('.').collect();
    let own = match parts.as_slice() {
        // Before version 0.13 blocks were convolutions themselves.
        ["inner_blocks", index, part] | ["inner_blocks", index, "0", part] => {
            format!("lateral_convs.{index}.conv.{part}")
        }
        ["layer_blocks", index, part] | ["layer_blocks", index, "0", part] => {
            format!("fpn_convs.{index}.conv.{part}")
        }
        ["extra_blocks", "p6", part] => format!("fpn_convs.{laterals}.conv.{part}"),
        ["extra_blocks", "p7", part] => format!("fpn_convs.{}.conv.{part}", laterals + 1),
        _ => return None,
    };
    Some(own)
}

/// A scale of 1 for each level.
pub(super) fn scales(tensors: &BTreeMap<String, Tensor>) -> Vec<(String, Tensor)> {
    let is_output =
        |name: &&String| name.starts_with("neck.fpn_convs.") && name.ends_with(".conv.weight");
    let levels = tensors.keys().filter(is_output).count();
    let scale = |level| {
        (
            format!("bbox_head.scales.{level}.scale"),
            Tensor::filled(vec![1], 1.0),
        )
    };
    (0..levels).map(scale).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rename: impl Fn(&str, usize) -> Verdict, name: &str, expected: &str) {
        assert_eq!(rename(name, 3), Verdict::Own(expected.to_owned()), "{name}");
    }

    #[test]
    fn fcos_counts_three_modules_a_layer() {
        let check = |name: &str, expected: &str| check(rename_fcos, name, expected);
        check(
            "backbone.body.layer1.0.bn1.weight",
            "backbone.layer1.0.bn1.weight",
        );
        check(
            "backbone.fpn.inner_blocks.0.0.weight",
            "neck.lateral_convs.0.conv.weight",
        );
        check(
            "backbone.fpn.layer_blocks.2.0.bias",
            "neck.fpn_convs.2.conv.bias",
        );
        check(
            "backbone.fpn.extra_blocks.p7.weight",
            "neck.fpn_convs.4.conv.weight",
        );
        check(
            "head.classification_head.conv.9.weight",
            "bbox_head.cls_convs.3.conv.weight",
        );
        check(
            "head.regression_head.conv.10.bias",
            "bbox_head.reg_convs.3.gn.bias",
        );
        check(
            "head.regression_head.bbox_ctrness.weight",
            "bbox_head.conv_centerness.weight",
        );
        assert_eq!(rename_fcos("transform.mean", 3), Verdict::LeftOver);
    }

    #[test]
    fn retina_is_read_in_both_spellings() {
        let check = |name: &str, expected: &str| check(rename_retina, name, expected);
        check(
            "backbone.fpn.inner_blocks.1.weight",
            "neck.lateral_convs.1.conv.weight",
        );
        check(
            "head.classification_head.conv.6.weight",
            "bbox_head.cls_convs.3.conv.weight",
        );
        check(
            "head.classification_head.conv.3.0.bias",
            "bbox_head.cls_convs.3.conv.bias",
        );
        check(
            "head.regression_head.conv.2.1.weight",
            "bbox_head.reg_convs.2.gn.weight",
        );
        check(
            "head.regression_head.bbox_reg.bias",
            "bbox_head.retina_reg.bias",
        );
    }
}

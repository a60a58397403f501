//! FCOS of AdelaiDet, with the names of Detectron2.

use super::{Verdict, detectron2};

/// Our name of a tensor of FCOS (`adet/modeling/fcos/fcos.py`) whose pyramid uses `laterals` maps.
pub(super) fn rename(name: &str, laterals: usize) -> Verdict {
    if let Some(rest) = name.strip_prefix("backbone.bottom_up.") {
        return match detectron2::rename(rest) {
            Verdict::Own(own) => Verdict::Own(format!("backbone.{own}")),
            other => other,
        };
    }
    if name.contains("anchor_generator") {
        return Verdict::Skip("computed, not learnt");
    }
    let own = match name.strip_prefix("proposal_generator.fcos_head.") {
        Some(rest) => head(rest),
        None => neck(name, laterals),
    };
    own.map_or(Verdict::LeftOver, Verdict::Own)
}

/// `fpn_lateral3` to `fpn_lateral5`, `fpn_output3` and so on, then `top_block.p6` and `p7`. Stage 5 is
/// always the last.
fn neck(name: &str, laterals: usize) -> Option<String> {
    let rest = name.strip_prefix("backbone.")?;
    let (layer, part) = rest.rsplit_once('.')?;
    if !matches!(part, "weight" | "bias") {
        return None;
    }
    let level = |number: &str| {
        let number: usize = number.parse().ok()?;
        (number + laterals).checked_sub(6)
    };
    let conv = if let Some(number) = layer.strip_prefix("fpn_lateral") {
        format!("lateral_convs.{}", level(number)?)
    } else if let Some(number) = layer.strip_prefix("fpn_output") {
        format!("fpn_convs.{}", level(number)?)
    } else {
        let number = layer.strip_prefix("top_block.p")?;
        format!("fpn_convs.{}", level(number)?)
    };
    Some(format!("neck.{conv}.conv.{part}"))
}

/// Towers are convolution, norm and ReLU in turn.
fn head(rest: &str) -> Option<String> {
    let parts: Vec<&str> = rest.split('.').collect();
    let own = match parts.as_slice() {
        [
            tower @ ("cls_tower" | "bbox_tower"),
            index,
            part @ ("weight" | "bias"),
        ] => {
            let index: usize = index.parse().ok()?;
            let tower = if *tower == "cls_tower" {
                "cls_convs"
            } else {
                "reg_convs"
            };
            let layer = ["conv", "gn"].get(index % 3)?;
            format!("{tower}.{}.{layer}.{part}", index / 3)
        }
        ["cls_logits", part] => format!("conv_cls.{part}"),
        ["bbox_pred", part] => format!("conv_reg.{part}"),
        ["ctrness", part] => format!("conv_centerness.{part}"),
        ["scales", _, "scale"] => rest.to_owned(),
        _ => return None,
    };
    Some(format!("bbox_head.{own}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, expected: Option<&str>) {
        let expected = expected.map_or(Verdict::LeftOver, |own| Verdict::Own(own.to_owned()));
        assert_eq!(rename(name, 3), expected, "{name}");
    }

    #[test]
    fn names_become_mmdetections() {
        check(
            "backbone.bottom_up.res2.0.conv1.norm.weight",
            Some("backbone.layer1.0.bn1.weight"),
        );
        check(
            "backbone.fpn_lateral3.weight",
            Some("neck.lateral_convs.0.conv.weight"),
        );
        check(
            "backbone.fpn_output5.bias",
            Some("neck.fpn_convs.2.conv.bias"),
        );
        check(
            "backbone.top_block.p6.weight",
            Some("neck.fpn_convs.3.conv.weight"),
        );
        check(
            "backbone.top_block.p7.bias",
            Some("neck.fpn_convs.4.conv.bias"),
        );
        check(
            "proposal_generator.fcos_head.cls_tower.9.weight",
            Some("bbox_head.cls_convs.3.conv.weight"),
        );
        check(
            "proposal_generator.fcos_head.bbox_tower.4.bias",
            Some("bbox_head.reg_convs.1.gn.bias"),
        );
        check(
            "proposal_generator.fcos_head.ctrness.bias",
            Some("bbox_head.conv_centerness.bias"),
        );
        check(
            "proposal_generator.fcos_head.scales.4.scale",
            Some("bbox_head.scales.4.scale"),
        );
        check("proposal_generator.fcos_head.share_tower.0.weight", None);
        check("backbone.fpn_lateral3.norm.weight", None);
    }
}

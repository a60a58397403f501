//! torchvision's classifiers: ResNet, ResNeXt and MobileNetV2.

use super::Verdict;

const CLASSIFIER: &str = "the classifier's";

/// Our name of a tensor of a backbone in torchvision's layout.
pub(super) fn rename(name: &str) -> Verdict {
    if name.starts_with("fc.") || name.starts_with("classifier.") {
        return Verdict::Skip(CLASSIFIER);
    }
    if is_backbone(name) {
        Verdict::Own(own_norms(name))
    } else {
        Verdict::LeftOver
    }
}

/// Whether a name is one that a ResNet or a MobileNetV2 has here, once its norms are renamed.
fn is_backbone(name: &str) -> bool {
    let parts: Vec<&str> = name.split('.').collect();
    match parts.as_slice() {
        ["conv1", "weight"] => true,
        ["bn1" | "gn1", part] => is_norm(part),
        ["features", ..] => is_mobilenet(&parts[1..]),
        [layer, block, rest @ ..] => is_layer(layer) && is_number(block) && is_block(rest),
        _ => false,
    }
}

fn is_layer(name: &str) -> bool {
    matches!(name, "layer1" | "layer2" | "layer3" | "layer4")
}

fn is_block(rest: &[&str]) -> bool {
    match rest {
        ["conv1" | "conv2" | "conv3", "weight"] | ["downsample", "0", "weight"] => true,
        // Older files of mmdetection have the offsets beside the convolution.
        ["conv2", "conv_offset", "weight" | "bias"] | ["conv2_offset", "weight" | "bias"] => true,
        ["downsample", "1", part] => is_norm(part),
        [norm, part] => {
            let number = norm.strip_prefix("bn").or_else(|| norm.strip_prefix("gn"));
            number.is_some_and(is_number) && is_norm(part)
        }
        _ => false,
    }
}

/// `N.0.weight`, `N.1.bias`, `N.conv.0.0.weight`, `N.conv.2.weight`, `N.conv.3.running_var`.
fn is_mobilenet(rest: &[&str]) -> bool {
    let (Some((block, rest)), Some(part)) = (rest.split_first(), rest.last()) else {
        return false;
    };
    let inner = rest.strip_prefix(&["conv"]).unwrap_or(rest);
    let modules = &inner[..inner.len().saturating_sub(1)];
    is_number(block)
        && matches!(modules.len(), 1 | 2)
        && modules.iter().all(|m| is_number(m))
        && is_norm(part)
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

fn is_norm(part: &str) -> bool {
    matches!(part, "weight" | "bias" | "running_mean" | "running_var")
}

/// Every norm is a `bn` here (mmdetection's group norms are `gn1`), and offsets lie in their
/// convolution.
fn own_norms(name: &str) -> String {
    let parts = name.split('.').map(|part| match part.strip_prefix("gn") {
        Some(number) if is_number(number) => format!("bn{number}"),
        _ if part == "conv2_offset" => "conv2.conv_offset".to_owned(),
        _ => part.to_owned(),
    });
    parts.collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, expected: Option<&str>) {
        let expected = expected.map_or(Verdict::LeftOver, |own| Verdict::Own(own.to_owned()));
        assert_eq!(rename(name), expected, "{name}");
    }

    #[test]
    fn names_of_blocks_are_known() {
        check("conv1.weight", Some("conv1.weight"));
        check("gn1.bias", Some("bn1.bias"));
        check("layer4.2.gn3.weight", Some("layer4.2.bn3.weight"));
        check(
            "layer1.0.downsample.1.running_var",
            Some("layer1.0.downsample.1.running_var"),
        );
        check(
            "layer3.5.conv2_offset.bias",
            Some("layer3.5.conv2.conv_offset.bias"),
        );
        check(
            "features.0.1.running_mean",
            Some("features.0.1.running_mean"),
        );
        check(
            "features.17.conv.3.weight",
            Some("features.17.conv.3.weight"),
        );
        check(
            "features.1.conv.0.0.weight",
            Some("features.1.conv.0.0.weight"),
        );
        check("layer1.0.se.fc1.weight", None);
        check("layer5.0.conv1.weight", None);
        check("conv1.0.weight", None);
        check("features.3.conv.1.fc1.weight", None);
        assert_eq!(rename("fc.bias"), Verdict::Skip(CLASSIFIER));
    }
}

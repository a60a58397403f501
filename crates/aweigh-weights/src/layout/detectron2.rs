//! Backbones of Detectron2.

use super::Verdict;

/// Our name of a tensor of a ResNet of Detectron2 (`detectron2/modeling/backbone/resnet.py`).
pub(super) fn rename(name: &str) -> Verdict {
    if name.starts_with("linear.") || name.starts_with("stem.fc.") {
        return Verdict::Skip("the classifier's");
    }
    let parts: Vec<&str> = name.split('.').collect();
    let own = match parts.as_slice() {
        ["stem", rest @ ..] => layer(rest),
        [stage, block, rest @ ..] => {
            let number = stage
                .strip_prefix("res")
                .and_then(|n| n.parse::<usize>().ok());
            match (number, layer(rest)) {
                (Some(number @ 2..=5), Some(rest)) => {
                    Some(format!("layer{}.{block}.{rest}", number - 1))
                }
                _ => None,
            }
        }
        _ => None,
    };
    own.map_or(Verdict::LeftOver, Verdict::Own)
}

/// A convolution of a block or of the stem, with the norm that lies in it.
fn layer(parts: &[&str]) -> Option<String> {
    let (conv, norm) = match parts.first()? {
        &"shortcut" => ("downsample.0".to_owned(), "downsample.1".to_owned()),
        conv => {
            let number = conv.strip_prefix("conv")?;
            ((*conv).to_owned(), format!("bn{number}"))
        }
    };
    match &parts[1..] {
        ["weight"] => Some(format!("{conv}.weight")),
        [
            "norm",
            part @ ("weight" | "bias" | "running_mean" | "running_var"),
        ] => Some(format!("{norm}.{part}")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, expected: Option<&str>) {
        let expected = expected.map_or(Verdict::LeftOver, |own| Verdict::Own(own.to_owned()));
        assert_eq!(rename(name), expected, "{name}");
    }

    #[test]
    fn names_become_torchvisions() {
        check("stem.conv1.weight", Some("conv1.weight"));
        check("stem.conv1.norm.running_var", Some("bn1.running_var"));
        check("res2.0.conv3.norm.bias", Some("layer1.0.bn3.bias"));
        check("res5.2.conv2.weight", Some("layer4.2.conv2.weight"));
        check(
            "res3.0.shortcut.weight",
            Some("layer2.0.downsample.0.weight"),
        );
        check(
            "res3.0.shortcut.norm.weight",
            Some("layer2.0.downsample.1.weight"),
        );
        check("res6.0.conv1.weight", None);
        check("stem.conv1_1.weight", Some("conv1_1.weight"));
        check("stem.conv1.bias", None);
    }
}

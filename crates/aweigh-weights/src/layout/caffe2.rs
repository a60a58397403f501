//! Backbones of Caffe2's Detectron, as blobs.

use std::collections::BTreeMap;

use super::Verdict;
use crate::Tensor;

/// Our name of a blob of a ResNet (`detectron/modeling/ResNet.py`).
///
/// The three convolutions of a block are `branch2a`, `branch2b` and `branch2c`, that of the shortcut
/// is `branch1`; norms are a scale `bn_s` and a shift `bn_b`.
pub(super) fn rename(name: &str) -> Verdict {
    if name.starts_with("fc1000_") || name.starts_with("pred_") {
        return Verdict::Skip("the classifier's");
    }
    if name.ends_with("_momentum") {
        return Verdict::Skip("state of the optimiser");
    }
    // A shift of the stem's convolution that its norm holds already.
    if name == "conv1_b" {
        return Verdict::Skip("0, and part of the norm");
    }
    own(name).map_or(Verdict::LeftOver, Verdict::Own)
}

fn own(name: &str) -> Option<String> {
    match name {
        "conv1_w" => return Some("conv1.weight".to_owned()),
        "res_conv1_bn_s" => return Some("bn1.weight".to_owned()),
        "res_conv1_bn_b" => return Some("bn1.bias".to_owned()),
        _ => {}
    }
    let parts: Vec<&str> = name.strip_prefix("res")?.split('_').collect();
    let [stage, block, branch, rest @ ..] = parts.as_slice() else {
        return None;
    };
    let stage = stage
        .parse::<usize>()
        .ok()
        .filter(|stage| (2..=5).contains(stage))?;
    let (conv, norm) = match *branch {
        "branch1" => ("downsample.0", "downsample.1"),
        "branch2a" => ("conv1", "bn1"),
        "branch2b" => ("conv2", "bn2"),
        "branch2c" => ("conv3", "bn3"),
        _ => return None,
    };
    let rest = match rest {
        ["w"] => format!("{conv}.weight"),
        ["bn", "s"] => format!("{norm}.weight"),
        ["bn", "b"] => format!("{norm}.bias"),
        _ => return None,
    };
    Some(format!(
        "layer{}.{}.{rest}",
        stage - 1,
        block.parse::<usize>().ok()?
    ))
}

/// The mean 0 and the variance 1 of every norm.
pub(super) fn statistics(tensors: &BTreeMap<String, Tensor>) -> Vec<(String, Tensor)> {
    let norms = tensors.iter().filter_map(|(name, tensor)| {
        let norm = name.strip_suffix(".bias")?;
        Some((norm, tensor.shape.clone()))
    });
    let both = norms.flat_map(|(norm, shape)| {
        [
            (
                format!("{norm}.running_mean"),
                Tensor::filled(shape.clone(), 0.0),
            ),
            (format!("{norm}.running_var"), Tensor::filled(shape, 1.0)),
        ]
    });
    both.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, expected: Option<&str>) {
        let expected = expected.map_or(Verdict::LeftOver, |own| Verdict::Own(own.to_owned()));
        assert_eq!(rename(name), expected, "{name}");
    }

    #[test]
    fn blobs_become_tensors() {
        check("conv1_w", Some("conv1.weight"));
        check("res_conv1_bn_b", Some("bn1.bias"));
        check("res2_0_branch1_w", Some("layer1.0.downsample.0.weight"));
        check("res2_0_branch1_bn_s", Some("layer1.0.downsample.1.weight"));
        check("res4_22_branch2b_bn_b", Some("layer3.22.bn2.bias"));
        check("res6_0_branch1_w", None);
        check("fpn_res2_w", None);
        assert_eq!(rename("fc1000_w"), Verdict::Skip("the classifier's"));
    }

    #[test]
    fn statistics_are_those_of_no_batch() {
        let tensors = [("bn1.bias".to_owned(), Tensor::filled(vec![2], 0.5))].into();
        let filled = statistics(&tensors);
        let expected = [("bn1.running_mean", 0.0), ("bn1.running_var", 1.0)];
        let expected = expected.map(|(name, v)| (name.to_owned(), Tensor::filled(vec![2], v)));
        assert_eq!(filled, expected);
    }
}

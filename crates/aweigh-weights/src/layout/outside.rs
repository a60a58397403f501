//! Tensors that are none of a layout's.

use super::find::Found;
use super::{Part, Verdict, Wanted};

/// First words of modules that training puts around a backbone.
const COMPANIONS: [&str; 37] = [
    "fc",
    "fc1",
    "fc2",
    "fc_norm",
    "head",
    "heads",
    "classifier",
    "classifiers",
    "linear",
    "logits",
    "last_linear",
    "projection",
    "projector",
    "projection_head",
    "proj",
    "proj_head",
    "mlp",
    "embed",
    "embedding",
    "embeddings",
    "embedder",
    "emb",
    "predictor",
    "prediction_head",
    "prototypes",
    "queue",
    "queue_ptr",
    "post",
    "pool",
    "gem",
    "bnneck",
    "bottleneck",
    "decoder",
    "aux_classifier",
    "loss",
    "criterion",
    "center",
];

const NOT_THE_BACKBONES: &str = "not the backbone's";

/// Whether a name is one of the mean or deviation of pixels.
pub(super) fn pixels(name: &str) -> Option<&'static str> {
    match name.trim_start_matches("module.") {
        "data_preprocessor.mean" | "pixel_mean" => Some("mean"),
        "data_preprocessor.std" | "pixel_std" => Some("std"),
        _ => None,
    }
}

/// What becomes of a tensor that does not lie below the layout's prefix.
pub(super) fn verdict(name: &str, found: &Found, wanted: Wanted) -> Verdict {
    if found.copies.iter().any(|copy| name.starts_with(copy)) {
        return Verdict::Skip("another copy of the network");
    }
    if name.starts_with("ema_") {
        return Verdict::Skip("a moving average of a weight");
    }
    if wanted == Wanted::Backbone {
        return Verdict::Skip(NOT_THE_BACKBONES);
    }
    if found.part == Part::Backbone && is_companion(after_common(name, &found.prefix)) {
        return Verdict::Skip(NOT_THE_BACKBONES);
    }
    Verdict::LeftOver
}

/// What becomes of a tensor below the prefix that the layout does not know.
pub(super) fn inner(rest: &str, found: &Found, wanted: Wanted) -> Verdict {
    if rest.starts_with("ema_") {
        return Verdict::Skip("a moving average of a weight");
    }
    if found.part == Part::Backbone && (wanted == Wanted::Backbone || is_companion(rest)) {
        return Verdict::Skip(NOT_THE_BACKBONES);
    }
    Verdict::LeftOver
}

fn is_companion(rest: &str) -> bool {
    let first = rest.split('.').next().unwrap_or_default();
    COMPANIONS.contains(&first.to_ascii_lowercase().as_str())
}

/// A name without the words that it shares with the prefix: `module.fc.weight` beside `module.pre.`
/// is `fc.weight`.
fn after_common<'a>(name: &'a str, prefix: &str) -> &'a str {
    let mut rest = name;
    for word in prefix.split_terminator('.') {
        match rest
            .strip_prefix(word)
            .and_then(|rest| rest.strip_prefix('.'))
        {
            Some(after) => rest = after,
            None => break,
        }
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn companions_are_known_beside_a_prefix() {
        assert_eq!(after_common("module.fc.weight", "module.pre."), "fc.weight");
        assert_eq!(after_common("head.weight", "backbone."), "head.weight");
        assert!(is_companion("Embedding.weight"));
        assert!(!is_companion("layer5.0.conv1.weight"));
    }
}

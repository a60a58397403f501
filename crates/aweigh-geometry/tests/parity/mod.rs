//! Every golden case of the groups `nms_*` and `priors_*`.

mod nms;
#[cfg(feature = "tensor")]
mod priors;

/// Keys of a note that describe how the case was made and hold no option.
const DESCRIPTION: [&str; 9] = [
    "kind",
    "seed",
    "source",
    "note",
    "name",
    "file",
    "versions",
    "not_finite",
    "tensors",
];

/// Keys of a note: its description and the options of the group.
fn known<'a>(options: &[&'a str]) -> Vec<&'a str> {
    DESCRIPTION.iter().chain(options).copied().collect()
}

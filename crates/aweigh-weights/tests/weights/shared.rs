//! What several tests use.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use aweigh_weights::{Import, Tensor, Wanted, WeightsFile, recognise};

/// A file of the fixtures.
pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name)
}

/// The tensors of a list of names and shapes, without counters of batches. Element `i` of a small one
/// is `i % 7 + 1`; large ones are 0, which takes no memory before it is written.
pub(crate) fn listed(name: &str) -> BTreeMap<String, Tensor> {
    let path = fixture(&format!("names/{name}.txt"));
    let text = fs::read_to_string(path).expect("a list of names");
    let lines = text
        .lines()
        .filter(|line| !line.contains("num_batches_tracked"));
    lines.map(tensor).collect()
}

fn tensor(line: &str) -> (String, Tensor) {
    let mut words = line.split(' ');
    let name = words.next().expect("a name").to_owned();
    let shape: Vec<usize> = words.map(|word| word.parse().expect("an extent")).collect();
    const LARGE: usize = 4096;
    let count = shape.iter().product();
    if count > LARGE {
        return (name, Tensor::filled(shape, 0.0));
    }
    let values = (0..count).map(|i: usize| (i % 7 + 1) as f32).collect();
    (name, Tensor::new(shape, values))
}

/// A file of these tensors that was read.
pub(crate) fn file(tensors: BTreeMap<String, Tensor>) -> WeightsFile {
    WeightsFile {
        path: "weights.pth".into(),
        tensors,
        container: None,
        beside: Vec::new(),
        metadata: BTreeMap::new(),
        python: None,
        sha256: String::new(),
    }
}

/// What a file of these tensors is recognised as.
pub(crate) fn import(tensors: BTreeMap<String, Tensor>) -> Import {
    recognise(file(tensors), Wanted::Model).expect("a known layout")
}

/// The tensors with a prefix in front of their names.
pub(crate) fn below(prefix: &str, tensors: BTreeMap<String, Tensor>) -> BTreeMap<String, Tensor> {
    let tensors = tensors.into_iter();
    tensors
        .map(|(name, tensor)| (format!("{prefix}{name}"), tensor))
        .collect()
}

//! A full look at datasets: annotations, every picture, and what sets have in common.

mod content;
mod set;

use crate::annotations::AnnotationFile;
use crate::files::shared_pictures;
use crate::finding::Finding;
use crate::{CocoDataset, DataError, DatasetConfig, Purpose};
use content::Contents;

pub use set::{ClassBoxes, SetHealth};

/// What was found in sets that belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// Each set.
    pub sets: Vec<SetHealth>,
    /// What is wrong or worth knowing, set after set, then what sets share.
    pub findings: Vec<Finding>,
}

/// Looks at sets, the first of which is trained on: at each annotation and each picture.
///
/// `workers` threads decode. Pictures are the same where their files are, byte for byte, and alike
/// where a difference hash of 64 bits of their grey levels is next to the same.
///
/// # Errors
/// If an annotation file or a folder of images cannot be read.
pub fn examine(sets: &[(String, DatasetConfig)], workers: usize) -> Result<Health, DataError> {
    let mut health = Health {
        sets: Vec::new(),
        findings: Vec::new(),
    };
    let mut looked: Vec<(CocoDataset, Contents)> = Vec::new();
    for (name, config) in sets {
        // Nothing is filtered: what training leaves out is looked at as well.
        let config = DatasetConfig {
            filter_empty: false,
            min_size: 0,
            ..config.clone()
        };
        let file = AnnotationFile::read(&config.annotations)?;
        let dataset = CocoDataset::assemble(&file, &config, Purpose::Train)?;
        let (set, findings, contents) = set::look(name, &dataset, workers);
        health.sets.push(set);
        health.findings.extend(findings);
        health.findings.extend(contents.repeated(&dataset));
        looked.push((dataset, contents));
    }
    for (at, (later, contents)) in looked.iter().enumerate() {
        for (earlier, others) in &looked[..at] {
            health.findings.extend(set::other_classes(earlier, later));
            health.findings.extend(shared_pictures(earlier, later));
            let between = contents.shared(later, others, earlier);
            health.findings.extend(between);
        }
    }
    Ok(health)
}

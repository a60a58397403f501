//! What became of the tensors of a file.

use std::collections::BTreeMap;
use std::fmt;

use aweigh_backbone::weights::Differences;
use aweigh_weights::{Import, ModelMetadata, Skipped};

use super::Fitted;
use crate::normalization::Described;

/// What became of each tensor of a file; its text is for people.
#[derive(Debug, Clone)]
pub struct ImportReport {
    /// What the file is.
    pub summary: String,
    /// Number of tensors and of values that have their places, by part of the network.
    pub loaded: BTreeMap<String, [usize; 2]>,
    /// How many of them have another name than in the file.
    pub renamed: usize,
    /// Tensors that are not used, on purpose.
    pub skipped: Vec<Skipped>,
    /// Tensors that the layout leaves out, with the reason for their values.
    pub filled: Vec<Skipped>,
    /// What did not fit.
    pub differences: Differences,
    /// Tensors with values that are infinite or no number, with how many.
    pub non_finite: Vec<(String, usize)>,
    /// How pixels are normalised, and why that is thought.
    pub normalization: Option<String>,
    /// Number of classes and names of the first.
    pub classes: Option<String>,
    /// What the user should know.
    pub notes: Vec<String>,
}

impl ImportReport {
    pub(super) fn new(import: &Import, fitted: &Fitted, metadata: &ModelMetadata) -> Self {
        let Differences {
            missing,
            mismatched,
            ..
        } = &fitted.differences;
        let fresh = |name: &str| {
            let of_another_shape = |entry: &String| entry.starts_with(&format!("{name} "));
            missing.iter().any(|m| m == name) || mismatched.iter().any(of_another_shape)
        };
        let mut loaded: BTreeMap<String, [usize; 2]> = BTreeMap::new();
        for (name, tensor) in fitted.tensors.iter().filter(|(name, _)| !fresh(name)) {
            let part = name.split('.').next().unwrap_or_default();
            let entry = loaded.entry(part.to_owned()).or_default();
            entry[0] += 1;
            entry[1] += tensor.shape.iter().product::<usize>();
        }
        let normalization = metadata.normalization.as_ref().map(|normalization| {
            let described = Described(normalization).to_string();
            match normalization.source.as_str() {
                "" => described,
                source => format!("{described} ({source})"),
            }
        });
        Self {
            summary: import.summary(),
            loaded,
            renamed: import.renamed,
            skipped: import.skipped.clone(),
            filled: import.filled.clone(),
            differences: fitted.differences.clone(),
            non_finite: import.non_finite.clone(),
            normalization,
            classes: classes(metadata),
            notes: import.notes.clone(),
        }
    }
}

fn classes(metadata: &ModelMetadata) -> Option<String> {
    let names = metadata.classes.iter().map(|class| class.name.clone());
    let names: Vec<String> = names.collect();
    let count = names.len();
    (count > 0).then(|| format!("{count}: {}", first(&names)))
}

/// The first names of a list.
fn first(names: &[String]) -> String {
    const SHOWN: usize = 5;
    let mut text = names[..names.len().min(SHOWN)].join(", ");
    if names.len() > SHOWN {
        text.push_str(", ...");
    }
    text
}

/// Tensors with one reason, together.
fn by_reason(tensors: &[Skipped]) -> BTreeMap<&str, Vec<String>> {
    let mut reasons: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for tensor in tensors {
        let names = reasons.entry(&tensor.reason).or_default();
        names.push(tensor.name.clone());
    }
    reasons
}

impl fmt::Display for ImportReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.summary)?;
        for (part, [tensors, values]) in &self.loaded {
            writeln!(f, "loaded      {part}: {tensors} tensors, {values} values")?;
        }
        if self.renamed > 0 {
            writeln!(f, "renamed     {} of them", self.renamed)?;
        }
        for (what, tensors) in [("skipped", &self.skipped), ("filled", &self.filled)] {
            for (reason, names) in by_reason(tensors) {
                let (count, names) = (names.len(), first(&names));
                writeln!(f, "{what:11} {count} ({reason}): {names}")?;
            }
        }
        let Differences {
            missing,
            unexpected,
            mismatched,
        } = &self.differences;
        let groups = [
            ("missing", missing),
            ("left over", unexpected),
            ("other shape", mismatched),
        ];
        for (what, names) in groups.into_iter().filter(|(_, names)| !names.is_empty()) {
            writeln!(f, "{what:11} {}: {}", names.len(), names.join(", "))?;
        }
        for (name, count) in &self.non_finite {
            writeln!(f, "not finite  {count} values of {name}")?;
        }
        let said = [("pixels", &self.normalization), ("classes", &self.classes)];
        for (what, text) in said {
            if let Some(text) = text {
                writeln!(f, "{what:11} {text}")?;
            }
        }
        for note in &self.notes {
            writeln!(f, "note        {note}")?;
        }
        Ok(())
    }
}

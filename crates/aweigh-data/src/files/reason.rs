//! Why files are likely not to be found under their names.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;
use unicode_normalization::UnicodeNormalization;
use walkdir::WalkDir;

use crate::DatasetConfig;
use crate::finding::Counter;

/// Files below the folder of the images that are looked through; beyond, a guess is not worth it.
const FILES: usize = 500_000;
const DEPTH: usize = 8;

/// What separates a name from a file that is there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Reason {
    Backslashes,
    Prefix,
    PercentEncoding,
    UnicodeForm,
    Case,
    /// The file is there, seen from this folder.
    Base(PathBuf),
    Folder,
    Extension,
    Nowhere,
}

impl Reason {
    fn text(&self) -> String {
        let text = match self {
            Self::Backslashes => "with slashes in place of backslashes",
            Self::Prefix => "without the first folder of the name",
            Self::PercentEncoding => "with or without percent-encoding",
            Self::UnicodeForm => "in another Unicode form (composed or decomposed letters)",
            Self::Case => "in another upper or lower case",
            Self::Base(base) => {
                return format!(
                    "relative to {}: set the folder of the images to it",
                    base.display()
                );
            }
            Self::Folder => "in another folder",
            Self::Extension => "with another extension",
            Self::Nowhere => "nowhere below the folder of the images",
        };
        text.to_string()
    }
}

/// How many of the missing files are where, the most first, each with an example.
pub(super) fn explain(dataset: &DatasetConfig, missing: &[&str]) -> String {
    let index = Index::new(&dataset.images);
    let bases = bases(dataset);
    let mut counts: BTreeMap<Vec<Reason>, Counter> = BTreeMap::new();
    for name in missing {
        let (reasons, there) = index.find(name, &bases);
        let counter = counts.entry(reasons).or_default();
        counter.add(|| match there {
            Some(there) => format!("`{name}` is `{there}` there"),
            None => format!("`{name}`"),
        });
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(_, counter)| std::cmp::Reverse(counter.count()));
    let parts = counts.iter().map(|(reasons, counter)| {
        let reasons: Vec<String> = reasons.iter().map(Reason::text).collect();
        let verb = if counter.count() == 1 { "is" } else { "are" };
        format!(
            "{} {verb} {} ({})",
            counter.count(),
            reasons.join(" and "),
            counter.first().unwrap_or_default()
        )
    });
    parts.collect::<Vec<_>>().join("; ")
}

/// Folders that names may be relative to in place of the folder of the images.
fn bases(dataset: &DatasetConfig) -> Vec<PathBuf> {
    let images = &dataset.images;
    let absolute = |path: &Path| std::path::absolute(path).ok();
    let above = |path: PathBuf| {
        path.ancestors()
            .skip(1)
            .take(3)
            .map(Path::to_path_buf)
            .collect()
    };
    let annotations: Vec<PathBuf> = absolute(&dataset.annotations).map_or_else(Vec::new, above);
    let images: Vec<PathBuf> = absolute(images).map_or_else(Vec::new, above);
    let here = std::env::current_dir().ok();
    annotations.into_iter().chain(images).chain(here).collect()
}

/// The files below the folder of the images.
struct Index {
    /// Paths relative to the folder, by [`key`].
    by_key: HashMap<String, String>,
    /// The same by the key of the last component, and of that without its extension.
    by_name: HashMap<String, String>,
    by_stem: HashMap<String, String>,
}

impl Index {
    fn new(folder: &Path) -> Self {
        let mut index = Self {
            by_key: HashMap::new(),
            by_name: HashMap::new(),
            by_stem: HashMap::new(),
        };
        let walk = WalkDir::new(folder)
            .max_depth(DEPTH)
            .follow_links(true)
            .sort_by_file_name();
        let files = walk.into_iter().flatten();
        let files = files.filter(|entry| !entry.file_type().is_dir());
        for entry in files.take(FILES) {
            let Ok(path) = entry.path().strip_prefix(folder) else {
                continue;
            };
            let path = path.to_string_lossy().into_owned();
            let key = key(&path);
            let name = last(&key).to_owned();
            index.by_stem.entry(stem(&name)).or_insert(path.clone());
            index.by_name.entry(name).or_insert(path.clone());
            index.by_key.entry(key).or_insert(path);
        }
        index
    }

    /// Where a missing file is likely to be.
    fn find(&self, name: &str, bases: &[PathBuf]) -> (Vec<Reason>, Option<String>) {
        let key = key(name);
        // The name itself, then without its first folders.
        let mut rest = Some(key.as_str());
        let mut skipped = 0;
        while let Some(end) = rest {
            if let Some(there) = self.by_key.get(end) {
                return (differences(name, there, skipped), Some(there.clone()));
            }
            rest = end.split_once('/').map(|(_, rest)| rest);
            skipped += 1;
        }
        let slashed = name.replace('\\', "/");
        if let Some(base) = bases.iter().find(|base| base.join(&slashed).is_file()) {
            return (vec![Reason::Base(base.clone())], None);
        }
        let (reason, there) = match self.by_name.get(last(&key)) {
            Some(there) => (Reason::Folder, Some(there)),
            None => match self.by_stem.get(&stem(last(&key))) {
                Some(there) => (Reason::Extension, Some(there)),
                None => (Reason::Nowhere, None),
            },
        };
        (vec![reason], there.cloned())
    }
}

/// What all spellings of a path have in common.
fn key(path: &str) -> String {
    let path = path.replace('\\', "/");
    let path = decoded(path.trim_start_matches("./"));
    path.nfc().collect::<String>().to_lowercase()
}

fn decoded(path: &str) -> String {
    percent_decode_str(path).decode_utf8_lossy().into_owned()
}

fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn stem(name: &str) -> String {
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    stem.to_owned()
}

/// What separates two paths of one key, of which `name` has some folders more in front.
fn differences(name: &str, there: &str, skipped: usize) -> Vec<Reason> {
    let mut reasons = Vec::new();
    let there = there.replace('\\', "/");
    if name.contains('\\') {
        reasons.push(Reason::Backslashes);
    }
    if skipped > 0 {
        reasons.push(Reason::Prefix);
    }
    let slashed = name.replace('\\', "/");
    let name = slashed.trim_start_matches("./");
    let name = name.splitn(skipped + 1, '/').last().unwrap_or(name);
    let folded = |text: &str| text.nfc().collect::<String>().to_lowercase();
    if folded(name) != folded(&there) {
        reasons.push(Reason::PercentEncoding);
    }
    let (name, there) = (decoded(name), decoded(&there));
    if name.to_lowercase() != there.to_lowercase() {
        reasons.push(Reason::UnicodeForm);
    }
    if name.nfc().ne(there.nfc()) {
        reasons.push(Reason::Case);
    }
    reasons
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(there: &[&str], name: &str, expected: &[Reason], found: Option<&str>) {
        let folder = tempfile::tempdir().expect("temporary folder");
        for path in there {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("makes");
            std::fs::write(path, []).expect("writes");
        }
        let index = Index::new(folder.path());
        let found = found.map(str::to_owned);
        assert_eq!(index.find(name, &[]), (expected.to_vec(), found), "{name}");
    }

    #[test]
    fn spellings_of_a_path_are_told_apart() {
        use Reason::*;
        let there = ["sub/a 1.png", "sub/b%20c.png", "\u{dc}.png", "d.JPG"];
        check(&there, "sub\\a 1.png", &[Backslashes], Some("sub/a 1.png"));
        check(&there, "Sub/A 1.PNG", &[Case], Some("sub/a 1.png"));
        check(
            &there,
            "sub/a%201.png",
            &[PercentEncoding],
            Some("sub/a 1.png"),
        );
        check(
            &there,
            "sub/b c.png",
            &[PercentEncoding],
            Some("sub/b%20c.png"),
        );
        check(&there, "U\u{308}.png", &[UnicodeForm], Some("\u{dc}.png"));
        check(&there, "img/sub/a 1.png", &[Prefix], Some("sub/a 1.png"));
        check(
            &there,
            "x/img/sub/b%20c.png",
            &[Prefix],
            Some("sub/b%20c.png"),
        );
        let both = [Backslashes, Prefix, Case];
        check(&there, "img\\SUB\\a 1.png", &both, Some("sub/a 1.png"));
        check(&there, "xsub/a 1.png", &[Folder], Some("sub/a 1.png"));
        check(&there, "d.png", &[Extension], Some("d.JPG"));
        check(&there, "e.png", &[Nowhere], None);
    }

    #[test]
    fn other_folders_that_names_are_relative_to_are_found() {
        let folder = tempfile::tempdir().expect("temporary folder");
        std::fs::create_dir(folder.path().join("img")).expect("makes");
        std::fs::write(folder.path().join("a.png"), []).expect("writes");
        let index = Index::new(&folder.path().join("img"));
        let bases = [folder.path().to_path_buf()];
        let (reasons, _) = index.find("a.png", &bases);
        assert_eq!(reasons, [Reason::Base(bases[0].clone())]);
    }
}

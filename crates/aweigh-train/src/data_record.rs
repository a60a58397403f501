//! What a run remembers of its annotation files, to notice when they change.

use aweigh_data::{CocoDataset, DatasetPart};
use serde::{Deserialize, Serialize};

use crate::checkpoint::Class;

/// The annotation files of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataRecord {
    /// The training set, the first annotation file of several.
    pub train: AnnotationsRecord,
    /// Its other annotation files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub more_train: Vec<AnnotationsRecord>,
    /// The validation set, if there is one.
    pub val: Option<AnnotationsRecord>,
    /// Batches of an epoch, which give epochs their length.
    pub batches_per_epoch: usize,
}

/// An annotation file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnnotationsRecord {
    /// The file.
    pub path: String,
    /// SHA-256 of its bytes, in hexadecimal digits.
    pub sha256: String,
    /// Images in use.
    pub images: usize,
    /// Boxes in the images in use.
    pub boxes: usize,
}

impl AnnotationsRecord {
    /// The records of an opened dataset: of its first annotation file, and of the others.
    pub(crate) fn of(dataset: &CocoDataset) -> (Self, Vec<Self>) {
        let record = |part: &DatasetPart| Self {
            path: part.config.annotations.display().to_string(),
            sha256: part.digest.clone(),
            images: part.images.len(),
            boxes: part.boxes,
        };
        let (first, others) = dataset.parts().split_first().expect("at least one file");
        (record(first), others.iter().map(record).collect())
    }

    /// What has changed since `then`, if anything has.
    pub(crate) fn change(&self, then: &Self) -> Option<String> {
        if self.sha256 == then.sha256 {
            return None;
        }
        let subject = if self.path == then.path {
            format!("{} has changed since the checkpoint", self.path)
        } else {
            format!("{} is not the {} of the checkpoint", self.path, then.path)
        };
        let counts = |record: &Self| format!("{} images, {} boxes", record.images, record.boxes);
        let (now, then) = (counts(self), counts(then));
        Some(if now == then {
            format!("{subject}: still {now}, but with other content")
        } else {
            format!("{subject}: {now}, then {then}")
        })
    }
}

impl DataRecord {
    /// What has changed since `then`, one sentence per file.
    pub(crate) fn changes(&self, then: &Self) -> Vec<String> {
        let train = self.train_changes(then);
        let val = match (&self.val, &then.val) {
            (Some(now), Some(then)) => now.change(then),
            (Some(now), None) => Some(format!("{} is new as the validation set", now.path)),
            (None, Some(then)) => Some(format!("{} is no longer the validation set", then.path)),
            (None, None) => None,
        };
        train.into_iter().chain(val).collect()
    }

    fn train_changes(&self, then: &Self) -> Vec<String> {
        let both = self.train_files().zip(then.train_files());
        let changed = both.filter_map(|(now, then)| now.change(then));
        let (now, before) = (self.more_train.len(), then.more_train.len());
        let added = self.more_train.iter().skip(before);
        let added = added.map(|file| format!("{} is new in the training set", file.path));
        let gone = then.more_train.iter().skip(now);
        let gone = gone.map(|file| format!("{} is no longer in the training set", file.path));
        changed.chain(added).chain(gone).collect()
    }

    fn train_files(&self) -> impl Iterator<Item = &AnnotationsRecord> {
        std::iter::once(&self.train).chain(&self.more_train)
    }
}

/// What has changed in the classes since `then`: added, removed, renamed, or under another id.
pub(crate) fn class_changes(now: &[Class], then: &[Class]) -> Vec<String> {
    let named = |classes: &[Class], name: &str| classes.iter().any(|class| class.name == name);
    // A class that kept its id and has a name that was not there before is the same one, renamed.
    let renamed = |old: &Class, new: &Class| {
        old.id == new.id && !named(now, &old.name) && !named(then, &new.name)
    };
    let mut changes = Vec::new();
    for old in then.iter().filter(|old| !now.contains(old)) {
        let new = now
            .iter()
            .find(|new| new.name == old.name || renamed(old, new));
        changes.push(match new {
            Some(new) if new.name == old.name => {
                format!("`{}` has the id {}, then {}", old.name, new.id, old.id)
            }
            Some(new) => format!("{} is named `{}`, then `{}`", new.id, new.name, old.name),
            None => format!("`{}` is gone", old.name),
        });
    }
    let added = now.iter().filter(|new| {
        let known = then.iter().any(|old| renamed(old, new));
        !named(then, &new.name) && !known
    });
    changes.extend(added.map(|new| format!("`{}` is new", new.name)));
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(path: &str, content: &str, images: usize) -> AnnotationsRecord {
        AnnotationsRecord {
            path: path.to_owned(),
            sha256: content.to_owned(),
            images,
            boxes: 20,
        }
    }

    #[test]
    fn a_changed_file_is_told_with_its_figures() {
        let then = record("a.json", "x", 8);
        let check = |now: AnnotationsRecord, expected: Option<&str>| {
            assert_eq!(now.change(&then).as_deref(), expected);
        };
        check(then.clone(), None);
        check(record("moved.json", "x", 8), None);
        check(
            record("a.json", "y", 9),
            Some(
                "a.json has changed since the checkpoint: 9 images, 20 boxes, then 8 images, \
                 20 boxes",
            ),
        );
        check(
            record("b.json", "y", 8),
            Some(
                "b.json is not the a.json of the checkpoint: still 8 images, 20 boxes, but with \
                 other content",
            ),
        );
    }

    #[test]
    fn a_validation_set_can_come_and_go() {
        let with = |val: Option<&str>| DataRecord {
            train: record("a.json", "x", 8),
            more_train: Vec::new(),
            val: val.map(|path| record(path, path, 2)),
            batches_per_epoch: 4,
        };
        let check = |now: Option<&str>, then: Option<&str>, expected: &[&str]| {
            assert_eq!(with(now).changes(&with(then)), expected);
        };
        check(Some("v.json"), Some("v.json"), &[]);
        check(None, None, &[]);
        check(
            Some("v.json"),
            None,
            &["v.json is new as the validation set"],
        );
        check(
            None,
            Some("v.json"),
            &["v.json is no longer the validation set"],
        );
    }

    #[test]
    fn files_of_the_training_set_can_come_and_go() {
        let of = |contents: &[&str]| DataRecord {
            train: record("a.json", "x", 8),
            more_train: contents
                .iter()
                .enumerate()
                .map(|(at, content)| record(&format!("{at}.json"), content, 3))
                .collect(),
            val: None,
            batches_per_epoch: 4,
        };
        let check = |now: &[&str], then: &[&str], expected: &[&str]| {
            assert_eq!(of(now).changes(&of(then)), expected);
        };
        check(&["x", "y"], &["x", "y"], &[]);
        check(
            &["x", "z"],
            &["x", "y"],
            &[
                "1.json has changed since the checkpoint: still 3 images, 20 boxes, but with other \
               content",
            ],
        );
        check(&["x"], &[], &["0.json is new in the training set"]);
        check(
            &["x"],
            &["x", "y"],
            &["1.json is no longer in the training set"],
        );
        let text = serde_json::to_string(&of(&["x"])).unwrap();
        assert_eq!(
            serde_json::from_str::<DataRecord>(&text).unwrap(),
            of(&["x"])
        );
        let text = serde_json::to_string(&of(&[])).unwrap();
        assert!(
            !text.contains("more_train"),
            "as older versions have it: {text}"
        );
    }

    #[test]
    fn changed_classes_are_told_by_name() {
        let classes = |text: &str| -> Vec<Class> {
            let pairs = text.split(' ').map(|pair| pair.split_once(':').unwrap());
            let class = |(id, name): (&str, &str)| Class {
                id: id.parse().unwrap(),
                name: name.to_owned(),
            };
            pairs.map(class).collect()
        };
        let check = |now: &str, expected: &[&str]| {
            let changes = class_changes(&classes(now), &classes("1:ring 2:star"));
            assert_eq!(changes, expected, "{now}");
        };
        check("1:ring 2:star", &[]);
        check("1:ring 2:star 3:bar", &["`bar` is new"]);
        check("1:ring", &["`star` is gone"]);
        check("1:ring 2:moon", &["2 is named `moon`, then `star`"]);
        check(
            "1:star 2:ring",
            &["`ring` has the id 2, then 1", "`star` has the id 1, then 2"],
        );
        check(
            "1:star 2:moon",
            &[
                "`ring` is gone",
                "`star` has the id 1, then 2",
                "`moon` is new",
            ],
        );
        check("2:star 7:disc", &["`ring` is gone", "`disc` is new"]);
    }
}

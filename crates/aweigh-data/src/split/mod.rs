//! Splits an annotation file into sets, the same for the same images whatever their order.

mod divide;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use regex_lite::Regex;

use crate::DataError;
use crate::annotations::{AnnotationFile, RawFile};
use crate::output::{Existing, atomically, write_file};
use divide::{Group, divide};

/// How a file is split.
#[derive(Clone, Debug)]
pub struct SplitOptions {
    /// Part of the images to validate on, from 0 to 1.
    pub val: f64,
    /// Part of the images to test on; 0 makes no such set.
    pub test: f64,
    /// Seed.
    pub seed: u64,
    /// What of a `file_name` images have in common that stay together: what the first group of
    /// the pattern matches, or else the pattern.
    pub group_by: Option<Regex>,
    /// What sets have in common.
    pub balance: Balance,
    /// What becomes of output that is there already.
    pub existing: Existing,
}

/// What sets have in common.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Balance {
    /// Their images are drawn at random.
    #[default]
    Random,
    /// Each class has about the same part of its boxes in each set: iterative stratification
    /// (Sechidis, Tsoumakas, Vlahavas 2011, algorithm 1), with numbers of boxes as labels.
    Classes,
}

/// A set of a file that was split.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SplitSet {
    /// `train`, `val` or `test`.
    pub name: &'static str,
    /// The annotation file.
    pub file: PathBuf,
    /// Images.
    pub images: usize,
    /// Boxes of each class, by its name, in the order of category ids.
    pub boxes: Vec<(String, usize)>,
}

/// Splits an annotation file into `instances_train.json`, `instances_val.json` and
/// `instances_test.json` in a folder. Records keep every key as it is written.
///
/// # Errors
/// If the file cannot be read or written, a part is not from 0 to 1, a set would have no image, or
/// there is something under the name of the folder.
pub fn split(
    annotations: &Path,
    out: &Path,
    options: &SplitOptions,
) -> Result<Vec<SplitSet>, DataError> {
    options.check()?;
    let file = AnnotationFile::read(annotations)?;
    let raw = RawFile::read(annotations)?;
    let owners = owners(&file, &raw)?;
    let classes = class_names(&file);
    let groups = groups(&file, options, &classes);
    let parts = options.parts();
    let set_of = divide(&groups, file.images().len(), &parts, options.balance);
    let names: Vec<&'static str> = ["train", "val", "test"][..parts.len()].to_vec();
    let mut set_of_image = vec![0; file.images().len()];
    for (group, set) in groups.iter().zip(&set_of) {
        for image in &group.images {
            set_of_image[*image] = *set;
        }
    }
    check_not_empty(annotations, &names, &set_of_image)?;
    atomically(out, options.existing, |folder| {
        for (set, name) in names.iter().enumerate() {
            let text = raw.part(
                |image| set_of_image[image] == set,
                |annotation| set_of_image[owners[annotation]] == set,
            );
            write_file(&folder.join(file_name(name)), text)?;
        }
        Ok(())
    })?;
    let summary = |(set, name): (usize, &&'static str)| SplitSet {
        name,
        file: out.join(file_name(name)),
        images: set_of_image.iter().filter(|of| **of == set).count(),
        boxes: boxes(&groups, &set_of, set, &classes),
    };
    Ok(names.iter().enumerate().map(summary).collect())
}

impl SplitOptions {
    fn check(&self) -> Result<(), DataError> {
        let wrong = |key, reason: String| Err(DataError::Config { key, reason });
        let part = |value: f64| value.is_finite() && (0.0..1.0).contains(&value);
        if !part(self.val) || self.val == 0.0 {
            wrong(
                "val",
                format!("{}; expected a part between 0 and 1", self.val),
            )
        } else if !part(self.test) {
            wrong(
                "test",
                format!("{}; expected a part from 0 to below 1", self.test),
            )
        } else if self.val + self.test >= 1.0 {
            let sum = self.val + self.test;
            wrong(
                "val",
                format!("with `test` it is {sum}: nothing is left to train on"),
            )
        } else {
            Ok(())
        }
    }

    /// Parts of train, val and, if it is wanted, test.
    fn parts(&self) -> Vec<f64> {
        let mut parts = vec![1.0 - self.val - self.test, self.val];
        parts.extend((self.test > 0.0).then_some(self.test));
        parts
    }

    /// What images have in common that stay together.
    fn group_name<'a>(&self, file_name: &'a str) -> &'a str {
        let found = self
            .group_by
            .as_ref()
            .and_then(|regex| regex.captures(file_name));
        let part = found.and_then(|found| found.get(1).or_else(|| found.get(0)));
        part.map_or(file_name, |part| part.as_str())
    }
}

fn file_name(set: &str) -> String {
    format!("instances_{set}.json")
}

/// The position of the image of each annotation.
fn owners(file: &AnnotationFile, raw: &RawFile) -> Result<Vec<usize>, DataError> {
    let places: HashMap<i64, usize> = file
        .images()
        .iter()
        .map(|image| image.id)
        .zip(0..)
        .collect();
    let ids = raw.image_ids()?.into_iter().enumerate();
    let owner = |(index, id)| {
        places
            .get(&id)
            .copied()
            .ok_or_else(|| DataError::UnknownReference {
                path: file.path().to_path_buf(),
                annotation: format!("`annotations[{index}]`"),
                key: "image_id",
                id,
                list: "images",
            })
    };
    ids.map(owner).collect()
}

/// The names of the classes, by their ids.
fn class_names(file: &AnnotationFile) -> BTreeMap<i64, String> {
    let classes = file.categories().iter();
    classes
        .map(|class| (class.id, class.name.clone()))
        .collect()
}

/// The groups in an order that depends on the seed and their names alone.
fn groups(
    file: &AnnotationFile,
    options: &SplitOptions,
    classes: &BTreeMap<i64, String>,
) -> Vec<Group> {
    let mut by_name: BTreeMap<&str, Group> = BTreeMap::new();
    let mut group_of: HashMap<i64, &str> = HashMap::new();
    for (index, image) in file.images().iter().enumerate() {
        let name = options.group_name(&image.file_name);
        let group = by_name
            .entry(name)
            .or_insert_with(|| Group::new(classes.len()));
        group.images.push(index);
        group_of.insert(image.id, name);
    }
    let label: HashMap<i64, usize> = classes.keys().copied().zip(0..).collect();
    for annotation in file.annotations() {
        let group = group_of
            .get(&annotation.image_id)
            .and_then(|name| by_name.get_mut(name));
        let label = label.get(&annotation.category_id);
        if let (Some(group), Some(label)) = (group, label) {
            group.boxes[*label] += 1;
        }
    }
    let mut groups: Vec<(&str, Group)> = by_name.into_iter().collect();
    groups.sort_by_cached_key(|(name, _)| divide::draw(options.seed, name));
    groups.into_iter().map(|(_, group)| group).collect()
}

fn boxes(
    groups: &[Group],
    set_of: &[usize],
    set: usize,
    classes: &BTreeMap<i64, String>,
) -> Vec<(String, usize)> {
    let of_set = || groups.iter().zip(set_of).filter(|(_, of)| **of == set);
    let count = |label: usize| of_set().map(|(group, _)| group.boxes[label]).sum();
    let names = classes.values().cloned().enumerate();
    names.map(|(label, name)| (name, count(label))).collect()
}

fn check_not_empty(path: &Path, names: &[&str], set_of: &[usize]) -> Result<(), DataError> {
    let empty = names
        .iter()
        .enumerate()
        .find(|(set, _)| !set_of.contains(set));
    match empty {
        None => Ok(()),
        Some((_, name)) => Err(DataError::Empty {
            path: path.to_path_buf(),
            reason: format!("of its {} images, none is left for `{name}`", set_of.len()),
        }),
    }
}

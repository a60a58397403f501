//! A dataset as training takes it: COCO files of two sets.

use std::path::{Path, PathBuf};

use super::write::PictureFiles;
use super::{Format, ReadOptions, WriteOptions, coco, detect, layout, read, write};
use crate::DataError;
use crate::output::Existing;
use crate::split::{Balance, SplitOptions, split};

/// Part of the images that are split off where a dataset has none to validate on.
const VAL: f64 = 0.2;

/// A dataset to train with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepared {
    /// What to train on.
    pub train: PreparedSet,
    /// What to validate on.
    pub val: PreparedSet,
    /// What was done about the layout, for the user.
    pub notes: Vec<String>,
}

/// An annotation file and the folder that its names are relative to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreparedSet {
    /// The annotation file.
    pub annotations: PathBuf,
    /// The folder of the images.
    pub images: PathBuf,
}

/// Finds what to train on and what to validate on in a folder. Other formats than COCO are
/// converted, and a set to validate on is split off where there is none, into the folder `made`;
/// nothing is written into the dataset, and pictures stay where they are.
///
/// # Errors
/// If the dataset is of no known layout or cannot be read, or `made` cannot be written.
pub fn prepare(data: &Path, made: &Path, existing: Existing) -> Result<Prepared, DataError> {
    let format = detect(data)?;
    let mut notes = Vec::new();
    let sets = match format {
        Format::Coco => coco::sets(data)?,
        _ => {
            let labels = read(format, data, &ReadOptions::default())?;
            labels.findings.iter().for_each(crate::Finding::log);
            let options = WriteOptions {
                format: Format::Coco,
                existing,
                pictures: PictureFiles::Stay,
            };
            let out = made.join("coco");
            let written = write(&labels, &out, &options)?;
            notes.push(format!("converted from {format} into {}", out.display()));
            let set = |(name, annotations, images)| {
                (
                    name,
                    PreparedSet {
                        annotations,
                        images,
                    },
                )
            };
            written.sets.into_iter().map(set).collect()
        }
    };
    let find = |names: &[&str]| {
        let found = names
            .iter()
            .find_map(|name| sets.iter().find(|(known, _)| known == name));
        found.map(|(_, set)| set.clone())
    };
    let train =
        find(&["train", "trainval", "all"]).or_else(|| sets.first().map(|(_, s)| s.clone()));
    let Some(train) = train else {
        return Err(layout::unknown(data, "no annotated image in it"));
    };
    match find(&["val", "test"]).filter(|val| *val != train) {
        Some(val) => Ok(Prepared { train, val, notes }),
        None => split_off(train, &made.join("split"), existing, notes),
    }
}

fn split_off(
    all: PreparedSet,
    out: &Path,
    existing: Existing,
    mut notes: Vec<String>,
) -> Result<Prepared, DataError> {
    let options = SplitOptions {
        val: VAL,
        test: 0.0,
        seed: 0,
        group_by: None,
        balance: Balance::Classes,
        existing,
    };
    let sets = split(&all.annotations, out, &options)?;
    let [train, val] = &sets[..] else {
        return Err(layout::unknown(out, "expected two sets of a split"));
    };
    notes.push(format!(
        "{} of {} images split off to validate on, into {}",
        val.images,
        train.images + val.images,
        out.display()
    ));
    let set = |annotations: &Path| PreparedSet {
        annotations: annotations.to_path_buf(),
        images: all.images.clone(),
    };
    Ok(Prepared {
        train: set(&train.file),
        val: set(&val.file),
        notes,
    })
}

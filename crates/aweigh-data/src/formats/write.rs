//! Writing labels.

use std::collections::HashSet;
use std::path::{Component, Path, PathBuf};

use super::{Format, LabelSet, Labelled, Labels, coco, voc, yolo};
use crate::DataError;
use crate::finding::{Counter, Finding};
use crate::output::{Existing, atomically, create_folder, failed};

/// How labels are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteOptions {
    /// The format.
    pub format: Format,
    /// What becomes of output that is there already.
    pub existing: Existing,
    /// Whether pictures stay where they are.
    pub pictures: PictureFiles,
}

/// What becomes of the files of pictures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PictureFiles {
    /// They stay where they are.
    #[default]
    Stay,
    /// They are copied into the output.
    Copy,
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// For COCO: each set with its annotation file and the folder of its pictures.
    pub sets: Vec<(String, PathBuf, PathBuf)>,
    /// What the format cannot hold.
    pub findings: Vec<Finding>,
}

/// Writes labels to a folder, which appears under its name only when it is complete.
///
/// # Errors
/// If the format is one that is not written, there is something of that name, a file cannot be
/// written, or a picture cannot be copied.
pub fn write(labels: &Labels, out: &Path, options: &WriteOptions) -> Result<Written, DataError> {
    let format = options.format;
    if !matches!(format, Format::Coco | Format::Voc | Format::Yolo) {
        return Err(DataError::Config {
            key: "to",
            reason: format!("{format} is not written; expected coco, voc or yolo"),
        });
    }
    let mut lost = Counter::default();
    atomically(out, options.existing, |folder| {
        let output = Output {
            folder,
            pictures: options.pictures,
        };
        match format {
            Format::Coco => coco::write(labels, &output),
            Format::Voc => voc::write::write(labels, &output, &mut lost),
            _ => yolo::write::write(labels, &output, &mut lost),
        }
    })?;
    let finding = lost.first().map(|first| {
        let text = format!(
            "{} objects cannot be written to {format} and are left out (first: {first})",
            lost.count()
        );
        Finding::warning(out, text)
    });
    let place = |set: &LabelSet| {
        let images = match options.pictures {
            PictureFiles::Stay => set.images.clone(),
            PictureFiles::Copy => out.join("images").join(&set.name),
        };
        (set.name.clone(), coco::annotations(out, &set.name), images)
    };
    Ok(Written {
        sets: match format {
            Format::Coco => labels.sets.iter().map(place).collect(),
            _ => Vec::new(),
        },
        findings: finding.into_iter().collect(),
    })
}

/// Where a format is written.
pub(super) struct Output<'a> {
    pub(super) folder: &'a Path,
    pictures: PictureFiles,
}

impl Output<'_> {
    /// Copies a picture to a path in the output, if pictures are copied.
    pub(super) fn copy(
        &self,
        set: &LabelSet,
        picture: &Labelled,
        to: &str,
    ) -> Result<(), DataError> {
        if self.pictures == PictureFiles::Stay {
            return Ok(());
        }
        let from = set.images.join(&picture.file_name);
        // A name that leads out of its folder does not lead out of the output.
        let inside = Path::new(to).components();
        let inside = inside.filter(|part| matches!(part, Component::Normal(_)));
        let to = self.folder.join(inside.collect::<PathBuf>());
        create_folder(to.parent().unwrap_or(&to))?;
        match std::fs::metadata(&from) {
            Ok(_) => std::fs::copy(&from, &to).map_err(|reason| failed(&to, reason))?,
            Err(reason) => return Err(DataError::ImageFile { path: from, reason }),
        };
        Ok(())
    }
}

/// Names that a format keeps apart by what comes before their ending.
#[derive(Default)]
pub(super) struct Names(HashSet<String>);

impl Names {
    /// The last part of a name, with its folders and its set before it as far as it takes to be
    /// like no other.
    pub(super) fn flat(&mut self, file_name: &str, set: &str) -> String {
        let last = file_name.rsplit('/').next().unwrap_or(file_name);
        let whole = file_name.replace('/', "_");
        let more = (1..).map(|number| format!("{set}_{number}_{whole}"));
        let candidates = [last.to_owned(), whole.clone(), format!("{set}_{whole}")];
        self.first_free(candidates.into_iter().chain(more))
    }

    /// A name, with a number before it where another differs in its ending alone.
    pub(super) fn nested(&mut self, file_name: &str) -> String {
        let (folder, last) = file_name.rsplit_once('/').unwrap_or(("", file_name));
        let slash = if folder.is_empty() { "" } else { "/" };
        let more = (1..).map(|number| format!("{folder}{slash}{number}_{last}"));
        self.first_free(std::iter::once(file_name.to_owned()).chain(more))
    }

    fn first_free(&mut self, mut names: impl Iterator<Item = String>) -> String {
        let stem = |name: &str| Path::new(name).with_extension("").display().to_string();
        let free = names.find(|name| self.0.insert(stem(name)));
        free.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_differ_in_folder_or_ending_are_kept_apart() {
        let mut names = Names::default();
        let mut check = |name: &str, expected: &str| assert_eq!(names.flat(name, "val"), expected);
        check("a.jpg", "a.jpg");
        check("x/a.png", "x_a.png");
        check("x/a.jpg", "val_x_a.jpg");
        check("b/c.jpg", "c.jpg");
        let mut names = Names::default();
        let mut check = |name: &str, expected: &str| assert_eq!(names.nested(name), expected);
        check("x/a.jpg", "x/a.jpg");
        check("x/a.png", "x/1_a.png");
        check("a.png", "a.png");
    }
}

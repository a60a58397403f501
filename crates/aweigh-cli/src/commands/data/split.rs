//! `aweigh data split`: sets to train on, to validate on and to test on.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use aweigh_data::Existing;
use aweigh_data::split::{Balance, SplitOptions, SplitSet, split};
use clap::Args;

use crate::output::{print, table};

const HELP: &str = "\
Examples:
  aweigh data split --annotations all.json --out splits --val 0.2
  aweigh data split --annotations all.json --out splits --val 0.15 --test 0.15 --stratify
  aweigh data split --annotations all.json --out splits --val 0.2 --group-by '^(video[0-9]+)_'";

/// Split an annotation file into sets
///
/// Writes instances_train.json, instances_val.json and, with --test, instances_test.json. Records
/// keep every key. The same seed and images give the same sets, whatever their order in the file.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct SplitArgs {
    /// Annotation file of COCO's layout
    #[arg(long, value_name = "FILE")]
    annotations: PathBuf,
    /// Folder to make
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// Part of the images to validate on
    #[arg(long, value_name = "PART", default_value_t = 0.2)]
    val: f64,
    /// Part of the images to test on
    #[arg(long, value_name = "PART", default_value_t = 0.0)]
    test: f64,
    /// Seed
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Give every set its part of the boxes of each class
    #[arg(long)]
    stratify: bool,
    /// Keep images together whose file names agree in what this regular expression (its first group,
    /// if it has one) matches: those of one video, patient or place
    #[arg(long, value_name = "REGEX")]
    group_by: Option<String>,
    /// Where the folder exists, keep it as FOLDER.old
    #[arg(long)]
    force: bool,
}

impl SplitArgs {
    pub(super) fn run(self) -> Result<()> {
        if !self.force && self.out.symlink_metadata().is_ok() {
            bail!(
                "{} exists already: choose another folder, or keep it as {0}.old with --force",
                self.out.display()
            );
        }
        let group_by = self.group_by.as_deref().map(str::parse).transpose();
        let options = SplitOptions {
            val: self.val,
            test: self.test,
            seed: self.seed,
            group_by: group_by.context("--group-by")?,
            balance: if self.stratify {
                Balance::Classes
            } else {
                Balance::Random
            },
            existing: if self.force {
                Existing::SetAside
            } else {
                Existing::Refuse
            },
        };
        report(&split(&self.annotations, &self.out, &options)?)
    }
}

/// Images and boxes of each set, and the files.
fn report(sets: &[SplitSet]) -> Result<()> {
    let header: Vec<&str> = std::iter::once("")
        .chain(sets.iter().map(|set| set.name))
        .collect();
    let mut rows = table(&header, 1);
    let row = |name: &str, cells: Vec<usize>| {
        let cells = cells.iter().map(usize::to_string);
        std::iter::once(name.to_owned())
            .chain(cells)
            .collect::<Vec<_>>()
    };
    rows.add_row(row("images", sets.iter().map(|set| set.images).collect()));
    let classes = sets.first().map_or(0, |set| set.boxes.len());
    for class in 0..classes {
        let cells = sets.iter().map(|set| set.boxes[class].1).collect();
        rows.add_row(row(&sets[0].boxes[class].0, cells));
    }
    print(rows)?;
    for set in sets {
        print(set.file.display())?;
    }
    Ok(())
}

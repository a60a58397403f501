//! `aweigh data check`: what is wrong with a dataset.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use aweigh_data::health::{Health, examine};
use aweigh_data::{DatasetConfig, Finding, Severity};
use aweigh_train::Experiment;
use clap::Args;
use serde::Serialize;

use super::sources::{Source, SourceOptions};
use crate::output::{describe, print, table};

const HELP: &str = "\
Examples:
  aweigh data check --config fcos_r18_bccd.toml
  aweigh data check --annotations train.json --images pictures
  aweigh data check --config my.toml --json | jq '.findings[] | select(.severity == \"error\")'

Exit codes: 0 nothing but notes, 1 warnings or errors were found, 2 the dataset cannot be looked at";

/// What no finding has.
const CANNOT_RUN: u8 = 2;

/// Look for what is wrong with a dataset
///
/// Reads the annotations and decodes every picture: missing and broken files, wrong sizes, turned
/// photographs, boxes outside of their image or without extent, boxes and pictures that are there
/// twice, pictures that are in both sets (by name, by content, and alike to the eye), classes.
/// Errors stop training, warnings are probably mistakes, notes are worth knowing.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    source: SourceOptions,
    /// Annotation file to validate on
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with = "config",
        requires = "annotations"
    )]
    val_annotations: Option<PathBuf>,
    /// Folder of its images [default: that of --images]
    #[arg(long, value_name = "FOLDER", requires = "val_annotations")]
    val_images: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Threads that decode pictures
    #[arg(long, value_name = "N", default_value_t = 2)]
    workers: usize,
}

#[derive(Serialize)]
struct Report<'a> {
    sets: &'a [aweigh_data::health::SetHealth],
    findings: Vec<FindingRow<'a>>,
}

#[derive(Serialize)]
struct FindingRow<'a> {
    severity: &'static str,
    file: String,
    text: &'a str,
}

impl CheckArgs {
    pub(super) fn run(self) -> ExitCode {
        match self.check() {
            Ok(code) => code,
            Err(error) => {
                tracing::error!("{}", describe(&error));
                ExitCode::from(CANNOT_RUN)
            }
        }
    }

    fn check(&self) -> Result<ExitCode> {
        let mut health = examine(&self.sets()?, self.workers)?;
        // What matters most goes first; of equals the order of the sets is kept.
        health
            .findings
            .sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        if self.json {
            print_json(&health)?;
        } else {
            print_text(&health)?;
        }
        let worst = health.findings.iter().map(|finding| finding.severity).max();
        Ok(match worst {
            Some(Severity::Warning | Severity::Error) => ExitCode::FAILURE,
            Some(Severity::Note) | None => ExitCode::SUCCESS,
        })
    }

    fn sets(&self) -> Result<Vec<(String, DatasetConfig)>> {
        Ok(match self.source.open()? {
            Source::Experiment(experiment) => of_config(&experiment),
            Source::Files(train) => {
                let val = self.val_annotations.as_ref().map(|annotations| {
                    let images = self.val_images.as_ref().unwrap_or(&train.images);
                    ("val".to_owned(), DatasetConfig::new(annotations, images))
                });
                std::iter::once(("train".to_owned(), train))
                    .chain(val)
                    .collect()
            }
        })
    }
}

fn of_config(experiment: &Experiment) -> Vec<(String, DatasetConfig)> {
    let data = &experiment.data;
    let sets = data.train_sets();
    let name = |at: usize| match sets.len() {
        1 => "train".to_owned(),
        _ => format!("train {}", at + 1),
    };
    let names = (0..sets.len()).map(name).collect::<Vec<_>>();
    let val = data.val.as_ref();
    let val = val.map(|split| ("val".to_owned(), data.dataset(split)));
    names.into_iter().zip(sets).chain(val).collect()
}

fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => "note",
    }
}

fn print_json<'a>(health: &'a Health) -> Result<()> {
    let row = |finding: &'a Finding| FindingRow {
        severity: word(finding.severity),
        file: finding.file.display().to_string(),
        text: &finding.text,
    };
    let findings = health.findings.iter().map(row);
    let report = Report {
        sets: &health.sets,
        findings: findings.collect(),
    };
    print(serde_json::to_string_pretty(&report).context("the report is not JSON")?)
}

fn print_text(health: &Health) -> Result<()> {
    let header = [
        "",
        "images",
        "without boxes",
        "boxes",
        "ignore regions",
        "classes",
    ];
    let mut rows = table(&header, 1);
    for set in &health.sets {
        let numbers = [
            set.images,
            set.images_without_boxes,
            set.boxes,
            set.ignore_regions,
            set.classes.len(),
        ];
        let cells = numbers.iter().map(usize::to_string);
        rows.add_row(std::iter::once(set.name.clone()).chain(cells));
    }
    print(rows)?;
    for finding in &health.findings {
        print(format_args!("{}: {finding}", word(finding.severity)))?;
    }
    let counts = [Severity::Error, Severity::Warning, Severity::Note].map(|severity| {
        let of = health.findings.iter().filter(|f| f.severity == severity);
        let count = of.count();
        let plural = if count == 1 { "" } else { "s" };
        format!("{count} {}{plural}", word(severity))
    });
    print(counts.join(", "))
}

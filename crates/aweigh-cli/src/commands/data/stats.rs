//! `aweigh data stats`: a dataset in numbers.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use aweigh_data::{CocoDataset, DatasetConfig, Purpose};
use aweigh_train::Experiment;
use aweigh_train::statistics::{Census, Quantiles, Statistics};
use clap::Args;
use serde::Serialize;

use super::figure;
use super::sources::{Source, SourceOptions};
use crate::draw::save;
use crate::output::{print, table};

const HELP: &str = "\
Examples:
  aweigh data stats --annotations train.json --images pictures
  aweigh data stats --config fcos_r18_bccd.toml --out sizes.png
  aweigh data stats --config my.toml --set data.transform.short_edge=512";

/// Show a dataset in numbers, and which level of the pyramid learns which boxes
///
/// Sizes are square roots of areas, in pixels. With a configuration, boxes are assigned at the
/// network's input size as training does it: how many each level learns, and how many nothing can.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct StatsArgs {
    #[command(flatten)]
    source: SourceOptions,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Draw sizes of boxes and numbers of classes to this picture (.png or .jpg)
    #[arg(long, value_name = "FIGURE")]
    out: Option<PathBuf>,
}

#[derive(Serialize)]
struct Report {
    dataset: Statistics,
    pyramid: Option<Census>,
}

impl StatsArgs {
    pub(super) fn run(self) -> Result<()> {
        if let Some(out) = &self.out
            && out.exists()
        {
            bail!("{} exists already; choose another name", out.display());
        }
        let report = self.report()?;
        if self.json {
            print(serde_json::to_string_pretty(&report).context("the report is not JSON")?)?;
        } else {
            print_dataset(&report.dataset)?;
            if let Some(census) = &report.pyramid {
                print_census(census)?;
            }
        }
        if let Some(out) = &self.out {
            save(&figure::draw(&report.dataset, report.pyramid.as_ref()), out)?;
            tracing::info!("{}", out.display());
        }
        Ok(())
    }

    fn report(&self) -> Result<Report> {
        Ok(match self.source.open()? {
            Source::Experiment(experiment) => of_config(&experiment)?,
            Source::Files(config) => {
                // Nothing is left out: the numbers are those of the file.
                let config = DatasetConfig {
                    filter_empty: false,
                    min_size: 0,
                    ..config
                };
                Report {
                    dataset: Statistics::of(&CocoDataset::open(&config, Purpose::Train)?),
                    pyramid: None,
                }
            }
        })
    }
}

fn of_config(experiment: &Experiment) -> Result<Report> {
    let dataset = CocoDataset::open_all(&experiment.data.train_sets(), Purpose::Train)?;
    Ok(Report {
        dataset: Statistics::of(&dataset),
        pyramid: Some(Census::take(experiment, &dataset)?),
    })
}

/// Quantiles as cells.
fn cells(quantiles: Option<Quantiles>) -> Vec<String> {
    let values = quantiles.map(|q| [q.min, q.p10, q.median, q.p90, q.max]);
    let cell = |value: f32| {
        if value < 10.0 {
            format!("{value:.1}")
        } else {
            format!("{value:.0}")
        }
    };
    values.map_or(vec![String::new(); 5], |values| values.map(cell).to_vec())
}

fn print_dataset(dataset: &Statistics) -> Result<()> {
    print(format_args!(
        "{}: {} images, {} boxes, {} ignore regions\n",
        dataset.annotations.display(),
        dataset.images,
        dataset.boxes,
        dataset.ignore_regions
    ))?;
    let mut rows = table(&["", "min", "10 %", "median", "90 %", "max"], 1);
    for (name, quantiles) in [
        ("shorter side of images", dataset.short_side),
        ("longer side of images", dataset.long_side),
        ("boxes of an image", dataset.boxes_per_image),
        ("size of boxes", dataset.size),
        ("width / height of boxes", dataset.aspect_ratio),
    ] {
        rows.add_row(std::iter::once(name.to_owned()).chain(cells(quantiles)));
    }
    print(format_args!("{rows}\n"))?;
    let mut rows = table(
        &[
            "class",
            "boxes",
            "images",
            "size: min",
            "10 %",
            "median",
            "90 %",
            "max",
        ],
        1,
    );
    for class in &dataset.classes {
        let counts = [class.boxes, class.images].map(|count| count.to_string());
        let cells = counts.into_iter().chain(cells(class.size));
        rows.add_row(std::iter::once(class.name.clone()).chain(cells));
    }
    print(rows)
}

fn print_census(census: &Census) -> Result<()> {
    let [short, long] = census.input;
    print(format_args!(
        "\n{} boxes of {} images as the network sees them (short_edge {short}, long_edge {long}):\n",
        census.boxes, census.looked_at
    ))?;
    let points = format!("{}s of a box", census.learner);
    let header = [
        "level",
        "stride",
        "boxes",
        &points,
        "size: min",
        "10 %",
        "median",
        "90 %",
        "max",
    ];
    let mut rows = table(&header, 1);
    for level in &census.levels {
        let points = level
            .points_per_box
            .map_or(String::new(), |q| format!("{:.0}", q.median));
        let counts = [level.stride.to_string(), level.boxes.to_string(), points];
        let cells = counts.into_iter().chain(cells(level.size));
        rows.add_row(std::iter::once(level.name.clone()).chain(cells));
    }
    print(rows)?;
    if census.unlearnt == 0 {
        return print(format_args!(
            "each box is learnt by some {}",
            census.learner
        ));
    }
    let classes = census.unlearnt_by_class.iter();
    let classes: Vec<String> = classes
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    print(format_args!(
        "{} boxes are learnt by no {} at this input size: {}",
        census.unlearnt,
        census.learner,
        classes.join(", ")
    ))
}

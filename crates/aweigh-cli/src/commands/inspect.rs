//! `aweigh inspect`: a model as a table.

use anyhow::Result;
use aweigh_train::inspect::{Inspection, inspect};
use clap::Args;
use comfy_table::Table;
use indicatif::HumanCount;

use crate::options::{ConfigOptions, input_size};
use crate::output::{print, table};

const HELP: &str = "\
Examples:
  aweigh inspect --config fcos_r50.toml --set detector.num_classes=80
  aweigh inspect --config fcos_r50.toml --set detector.num_classes=80 --layers --size 512";

/// Print a model with its parameters and multiply-adds
///
/// Without detector.num_classes the classes are counted in the training annotations.
/// Multiply-adds are those of the convolutions for one image.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct InspectArgs {
    #[command(flatten)]
    config: ConfigOptions,
    /// Input in pixels: one side, or HEIGHTxWIDTH
    #[arg(long, value_name = "SIZE", default_value = "800x1344", value_parser = input_size)]
    size: [usize; 2],
    /// Print every layer instead of the larger parts
    #[arg(long)]
    layers: bool,
}

/// One line of the table: a layer, or several that belong together.
#[derive(Debug, Default, PartialEq, Eq)]
struct Part {
    name: String,
    output: [usize; 3],
    params: usize,
    trainable: usize,
    macs: u64,
}

impl InspectArgs {
    pub(super) fn run(self) -> Result<()> {
        let inspection = inspect(&self.config.load()?, self.size)?;
        // `backbone.layer1`, `neck.lateral_convs`, `bbox_head.cls_convs`, ...
        let depth = if self.layers { usize::MAX } else { 2 };
        print(rows(&inspection, &parts(&inspection, depth)))?;
        let [height, width] = inspection.input;
        print(format_args!(
            "{} parameters, {} of them trained; {:.2} billion multiply-adds for one image of \
             {height} x {width}; {} classes",
            HumanCount(inspection.parameters as u64),
            HumanCount(inspection.trainable as u64),
            inspection.macs as f64 / 1e9,
            inspection.classes,
        ))
    }
}

/// Sums up neighbouring layers whose names begin with the same `depth` parts.
fn parts(inspection: &Inspection, depth: usize) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    for layer in &inspection.layers {
        let name = layer
            .name
            .split('.')
            .take(depth)
            .collect::<Vec<_>>()
            .join(".");
        if parts.last().is_none_or(|part| part.name != name) {
            parts.push(Part {
                name,
                ..Part::default()
            });
        }
        let part = parts.last_mut().expect("pushed a moment ago");
        part.output = layer.output;
        part.params += layer.params;
        part.trainable += if layer.trainable { layer.params } else { 0 };
        part.macs += layer.macs;
    }
    parts
}

fn rows(inspection: &Inspection, parts: &[Part]) -> Table {
    let header = ["layer", "output", "parameters", "trained", "multiply-adds"];
    let count = |number: u64| HumanCount(number).to_string();
    let mut rows = table(&header, 2);
    for part in parts {
        let [channels, height, width] = part.output;
        rows.add_row([
            part.name.clone(),
            format!("{channels} x {height} x {width}"),
            count(part.params as u64),
            count(part.trainable as u64),
            count(part.macs),
        ]);
    }
    rows.add_row([
        "total".to_owned(),
        String::new(),
        count(inspection.parameters as u64),
        count(inspection.trainable as u64),
        count(inspection.macs),
    ]);
    rows
}

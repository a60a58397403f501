//! `aweigh eval`: COCO's figures of a model, or of detections in a file.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use aweigh_train::config::{EvalConfig, SplitConfig};
use aweigh_train::evaluate::Validation;
use aweigh_train::evaluation::{EvalOptions, Evaluation, evaluate, save_results};
use clap::{ArgGroup, Args};

use crate::options::{Model, ModelOptions};
use crate::output::{make_folder, print};
use crate::progress::Bars;

const HELP: &str = "\
Examples:
  aweigh eval --run runs/quickstart
  aweigh eval --model cells.safetensors --annotations mine.json --images pictures
  aweigh eval --config fcos_r50.toml --weights model.safetensors
  aweigh eval --annotations instances_val2017.json --results detections.json";

/// Score a model or a file of detections on COCO annotations
///
/// Prints COCO's twelve figures as pycocotools does, and a table per class.
/// A model is run on data.val of its configuration, or on --annotations and --images. Classes are
/// matched by name. With --run the detections and the figures are
/// saved in the run's folder eval.
#[derive(Debug, Args)]
#[command(
    after_help = HELP,
    group(ArgGroup::new("what").required(true).multiple(true).args([
        "run",
        "model",
        "config",
        "results",
    ])),
)]
pub(crate) struct EvalArgs {
    /// COCO annotations to score on [default: data.val of the model's configuration]
    #[arg(long, value_name = "FILE")]
    annotations: Option<PathBuf>,
    /// Folder of the images of --annotations, for a model
    #[arg(
        long,
        value_name = "FOLDER",
        requires = "annotations",
        conflicts_with = "results"
    )]
    images: Option<PathBuf>,
    /// Detections in COCO's result format, or detections.json of 'aweigh predict', in place of a
    /// model
    #[arg(
        long,
        value_name = "FILE",
        requires = "annotations",
        conflicts_with_all = ["run", "model", "config"],
    )]
    results: Option<PathBuf>,
    /// Detections of an image and a class that count, the best first [default: 100, as COCO has it,
    /// or eval.max_dets of the configuration]
    #[arg(long, value_name = "N", value_parser = max_dets)]
    max_dets: Option<usize>,
    /// Folder for the detections and the figures as JSON
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    #[command(flatten)]
    model: ModelOptions,
}

impl EvalArgs {
    pub(super) fn run(self) -> Result<()> {
        match (&self.annotations, &self.results) {
            (Some(annotations), Some(results)) => self.score_file(annotations, results),
            _ => self.score_model(),
        }
    }

    /// The annotations and images of the command line.
    fn split(&self) -> Result<Option<SplitConfig>> {
        match (&self.annotations, &self.images) {
            (Some(annotations), Some(images)) => {
                // Later, the key of the configuration would be blamed.
                if !annotations.is_file() {
                    bail!(
                        "--annotations {}: there is no such file",
                        annotations.display()
                    );
                }
                if !images.is_dir() {
                    bail!("--images {}: there is no such folder", images.display());
                }
                Ok(Some(SplitConfig::new(annotations, images)))
            }
            (Some(_), None) => bail!("--annotations need --images, the folder of their images"),
            (None, _) => Ok(None),
        }
    }

    fn score_file(&self, annotations: &Path, results: &Path) -> Result<()> {
        self.model.set_threads()?;
        let limit = self.max_dets.unwrap_or(EvalConfig::default().max_dets);
        let evaluation = evaluate(annotations, results, &EvalOptions::up_to(limit))?;
        show(&evaluation)?;
        if let Some(out) = &self.out {
            let file = make_folder(out)?.join("metrics.json");
            evaluation.save(&file)?;
            tracing::info!("figures in {}", file.display());
        }
        Ok(())
    }

    fn score_model(&self) -> Result<()> {
        let Model {
            mut experiment,
            mut trained,
            device,
            run,
            ..
        } = self.model.open()?;
        if let Some(limit) = self.max_dets {
            experiment.eval.max_dets = limit;
        }
        if let Some(split) = self.split()? {
            experiment.data.val = Some(split);
        }
        let validation = Validation::for_model(&experiment, &mut trained)?;
        let mut bars = Bars::default();
        let scored = validation.run(&trained.detector, &device, &mut bars)?;
        drop(bars);
        show(&scored.evaluation)?;
        let (out, suffix) = match (&self.out, &run) {
            (Some(out), _) => (out.clone(), String::new()),
            (None, Some((run, checkpoint))) => {
                (run.evaluations(), format!("-{}", checkpoint.as_str()))
            }
            (None, None) => return Ok(()),
        };
        let file = |kind: &str| out.join(format!("{kind}{suffix}.json"));
        make_folder(&out)?;
        save_results(&file("detections"), &scored.results)?;
        scored.evaluation.save(&file("metrics"))?;
        tracing::info!(
            "detections in {}, figures in {}",
            file("detections").display(),
            file("metrics").display()
        );
        Ok(())
    }
}

/// pycocotools' twelve lines, and the classes where there are several.
fn show(evaluation: &Evaluation) -> Result<()> {
    print(evaluation.summary())?;
    print(format_args!("\n{}", evaluation.class_table()))
}

fn max_dets(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(limit) if limit > 0 => Ok(limit),
        _ => Err("expected a whole number of at least 1".to_owned()),
    }
}

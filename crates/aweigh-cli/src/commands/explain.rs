//! `aweigh explain`: which points each box trains.

mod summary;

use std::path::PathBuf;

use anyhow::{Result, bail};
use aweigh_train::config::Experiment;
use aweigh_train::explain::{AnnotatedImage, ExplainedImage, level_names};
use clap::{ArgGroup, Args};

use crate::draw::{load, save};
use crate::options::{AnyModel, AnyModelOptions};
use crate::output::{make_folder, print};
use crate::sheet::Sheets;

const HELP: &str = "\
Examples:
  aweigh explain --run runs/quickstart datasets/shapes/val/000001.png \\
      --annotations datasets/shapes/annotations/instances_val.json
  aweigh explain --config fcos_r50.toml street.jpg --annotations mine.json --out why --level P3

For each stage of the method one picture: every level with the image, its boxes and the points of
the level, in the colour of the box that each of them learns. FCOS, FoveaBox, FSAF and RetinaNet
have one stage, RepPoints two (init, refine), FSAF joint with RetinaNet two (anchor-based,
anchor-free). Where losses choose the level of a box, as in FSAF, the losses are in the table.
The same as numbers is in a JSON file.

With --config alone weights are random. That changes nothing where geometry alone assigns points
to boxes (FCOS, FoveaBox, RetinaNet, the init stage of RepPoints). The refine stage of RepPoints
and the levels of FSAF depend on predictions: there --run shows what the model does, random weights
show how training began.";

/// Draw which points of which level each box of an image trains
///
/// Shows the targets of a training step for one annotated image: positive, background and ignored
/// points of every pyramid level, at the size that the configuration evaluates at.
#[derive(Debug, Args)]
#[command(
    after_help = HELP,
    group(ArgGroup::new("model").required(true).args(["run", "config"])),
)]
pub(crate) struct ExplainArgs {
    /// The image
    #[arg(value_name = "IMAGE")]
    image: PathBuf,
    /// COCO annotations that the image is in
    #[arg(long, value_name = "FILE")]
    annotations: PathBuf,
    /// Folder for the pictures and the JSON file
    #[arg(long, value_name = "FOLDER", default_value = "explained")]
    out: PathBuf,
    /// Draw this level only, such as P3; may be repeated
    #[arg(long = "level", value_name = "NAME")]
    levels: Vec<String>,
    #[command(flatten)]
    model: AnyModelOptions,
}

impl ExplainArgs {
    pub(super) fn run(self) -> Result<()> {
        let image = AnnotatedImage::open(&self.annotations, &self.image)?;
        let (explained, levels) = self.explain(&image)?;
        let picture = load(&image.file())?;
        let sheets = Sheets {
            explained: &explained,
            picture: &picture,
            levels: &levels,
        };
        let stem = self.image.file_stem().unwrap_or_default();
        let file = |end: &str| self.out.join(format!("{}{end}", stem.to_string_lossy()));
        make_folder(&self.out)?;
        for stage in &explained.explanation.stages {
            let target = file(&format!("_{}.png", stage.name));
            save(&sheets.draw(stage), &target)?;
            print(summary::text(&explained, stage))?;
            summary::warn(&explained, stage);
            tracing::info!("drawn in {}", target.display());
        }
        let json = file(".json");
        summary::save(&explained, &json)?;
        tracing::info!("listed in {}", json.display());
        Ok(())
    }

    /// What to draw, and of which levels.
    fn explain(&self, image: &AnnotatedImage) -> Result<(ExplainedImage, Vec<usize>)> {
        match self.model.open()? {
            AnyModel::Trained(model) => {
                image.check(&model.trained)?;
                let levels = self.indices(&model.experiment)?;
                let detector = &model.trained.detector;
                let explained = image.explain(detector, &model.experiment, &model.device)?;
                Ok((explained, levels))
            }
            AnyModel::Untrained { experiment, device } => {
                let levels = self.indices(&experiment)?;
                let detector = image.untrained(&experiment, &device)?;
                match detector.method().assigns_by_predictions() {
                    true => tracing::warn!(
                        "random weights, and {} assigns by predictions: this is how training \
                         begins, --run or --weights show a trained model",
                        detector.method().title()
                    ),
                    false => tracing::info!(
                        "random weights: {} assigns by geometry alone, any weights give the same",
                        detector.method().title()
                    ),
                }
                Ok((image.explain(&detector, &experiment, &device)?, levels))
            }
        }
    }

    /// The levels to draw.
    fn indices(&self, experiment: &Experiment) -> Result<Vec<usize>> {
        let known = level_names(experiment)?;
        if self.levels.is_empty() {
            return Ok((0..known.len()).collect());
        }
        let mut chosen = Vec::new();
        for name in &self.levels {
            match known
                .iter()
                .position(|level| level.eq_ignore_ascii_case(name))
            {
                Some(index) => chosen.push(index),
                None => bail!(
                    "--level {name}: this model has the levels {}",
                    known.join(", ")
                ),
            }
        }
        chosen.sort_unstable();
        chosen.dedup();
        Ok(chosen)
    }
}

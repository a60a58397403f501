//! `aweigh explain`: which points each box trains.

mod summary;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use aweigh_train::config::Experiment;
use aweigh_train::explain::{AnnotatedImage, ExplainedImage, level_names};
use clap::{ArgGroup, Args};

use crate::draw::{save, to_picture};
use crate::names;
use crate::options::{AnyModel, AnyModelOptions, ChosenModel};
use crate::output::{make_folder, print};
use crate::sheet::Sheets;
use crate::text::Fonts;

/// What the name of the image is followed by in that of the JSON file: a file `IMAGE.json` may well
/// be there, with the annotations.
const JSON_END: &str = "_explained.json";

const HELP: &str = "\
Examples:
  aweigh explain --run runs/quickstart datasets/shapes/val/000001.png \\
      --annotations datasets/shapes/annotations/instances_val.json
  aweigh explain --config fcos_r50.toml street.jpg --annotations mine.json --out why --level P3

For each stage of the method one picture: every level with the image, its boxes and the points of
the level, in the colour of the box that each of them learns. FCOS, FoveaBox, FSAF and RetinaNet
have one stage, RepPoints two (init, refine), FSAF joint with RetinaNet two (anchor-based,
anchor-free). Where losses choose the level of a box, as in FSAF, the losses are in the table.
The same as numbers is in IMAGE_explained.json, where the loss of a box on a level that it reaches
no point of is null.

Where FILE is an annotation file of the configuration, IMAGE must lie in the folder that the
configuration has for it: images of training and validation may share their names.

With --config alone weights are random. That changes nothing where geometry alone assigns points
to boxes (FCOS, FoveaBox, RetinaNet, the init stage of RepPoints). The refine stage of RepPoints
and the levels of FSAF depend on predictions: there --run or --model shows what the model does,
random weights show how training began. Weights that have no classes are taken to be for those
of FILE.";

/// Draw which points of which level each box of an image trains
///
/// Shows the targets of a training step for one annotated image: positive, background and ignored
/// points of every pyramid level, at the size that the configuration evaluates at.
#[derive(Debug, Args)]
#[command(
    after_help = HELP,
    group(ArgGroup::new("which").required(true).args(["run", "model", "config"])),
)]
pub(crate) struct ExplainArgs {
    /// The image
    #[arg(value_name = "IMAGE")]
    image: PathBuf,
    /// COCO annotations that the image is in
    #[arg(long, value_name = "FILE")]
    annotations: PathBuf,
    /// Folder for the pictures, IMAGE_STAGE.png, and for IMAGE_explained.json
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
        // First of all: reading annotations would start threads, one per core.
        let model = self.model.choose()?;
        let image = AnnotatedImage::open(&self.annotations, &self.image)?;
        self.check_targets(make_folder(&self.out)?)?;
        let (explained, levels) = self.explain(model, image)?;
        self.save(&explained, &levels)?;
        // After all files are there: whoever reads the texts may stop at any time.
        for stage in &explained.explanation.stages {
            print(summary::text(&explained, stage))?;
            summary::warn(&explained, stage);
        }
        Ok(())
    }

    /// Refuses a folder in which the image or the annotations would be written over. How many
    /// pictures there will be depends on the method: every file of such a name counts.
    fn check_targets(&self, out: &Path) -> Result<()> {
        let inputs = [&self.image, &self.annotations].into_iter();
        let inputs: Vec<_> = inputs.filter_map(|file| file.canonicalize().ok()).collect();
        let is_input = |file: &Path| file.canonicalize().is_ok_and(|file| inputs.contains(&file));
        let unreadable = || format!("{}: the folder cannot be read", out.display());
        for entry in std::fs::read_dir(out).with_context(unreadable)? {
            let target = entry.with_context(unreadable)?.path();
            if self.is_target(&target) && is_input(&target) {
                bail!(
                    "{} would be overwritten: choose another --out",
                    target.display()
                );
            }
        }
        Ok(())
    }

    /// Whether a file has the name of a picture or of the JSON file.
    fn is_target(&self, file: &Path) -> bool {
        // Lower case: some file systems take `A.png` and `a.png` for the same file.
        let lower = |name: &OsStr| name.to_string_lossy().to_lowercase();
        let name = lower(file.file_name().unwrap_or_default());
        let stem = lower(self.image.file_stem().unwrap_or_default());
        let end = name.strip_prefix(&stem);
        end.is_some_and(|end| end == JSON_END || end.starts_with('_') && end.ends_with(".png"))
    }

    /// Writes the pictures of all stages, and the numbers.
    fn save(&self, explained: &ExplainedImage, levels: &[usize]) -> Result<()> {
        let picture = to_picture(aweigh_data::decode(
            &explained.meta.file,
            &explained.decoding,
        )?);
        let fonts = Fonts::new();
        let sheets = Sheets {
            explained,
            picture: &picture,
            levels,
            names: &names::on_pictures(&explained.classes, &fonts),
            fonts: &fonts,
        };
        let stem = self.image.file_stem().unwrap_or_default();
        let file = |end: &str| self.out.join(format!("{}{end}", stem.to_string_lossy()));
        for stage in &explained.explanation.stages {
            let target = file(&format!("_{}.png", stage.name));
            save(&sheets.draw(stage), &target)?;
            tracing::info!("drawn in {}", target.display());
        }
        let json = file(JSON_END);
        summary::save(explained, &json)?;
        tracing::info!("listed in {}", json.display());
        Ok(())
    }

    /// What to draw, and of which levels.
    fn explain(
        &self,
        model: ChosenModel<'_>,
        image: AnnotatedImage,
    ) -> Result<(ExplainedImage, Vec<usize>)> {
        match model.load(&image)? {
            AnyModel::Trained(model) => {
                let mut image = image.within(&model.experiment.data)?;
                image.match_classes(&model.trained)?;
                let levels = self.indices(&model.experiment)?;
                let detector = &model.trained.detector;
                let explained = image.explain(detector, &model.experiment, &model.device)?;
                Ok((explained, levels))
            }
            AnyModel::Untrained { experiment, device } => {
                let image = image.within(&experiment.data)?;
                let levels = self.indices(&experiment)?;
                let detector = image.untrained(&experiment, &device)?;
                if detector.method().assigns_by_predictions() {
                    tracing::warn!(
                        "random weights, and {} assigns by predictions: this is how training \
                         begins, --run or --weights show a trained model",
                        detector.method().title()
                    )
                } else {
                    tracing::info!(
                        "random weights: {} assigns by geometry alone, any weights give the same",
                        detector.method().title()
                    )
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

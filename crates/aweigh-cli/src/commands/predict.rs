//! `aweigh predict`: boxes on pictures.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use aweigh_data::Exif;
use aweigh_train::checkpoint::Class;
use aweigh_train::evaluation::CocoResult;
use aweigh_train::files::replace_file;
use aweigh_train::predict::{Prediction, Predictor};
use clap::{ArgGroup, Args};
use indicatif::HumanCount;
use serde::Serialize;

use crate::draw::{LabelledBox, draw_boxes, save, to_picture};
use crate::inputs::{Inputs, output_names};
use crate::names;
use crate::options::ModelOptions;
use crate::output::{describe, make_folder, print};
use crate::progress::bar;
use crate::text::Fonts;

/// The file with all detections, in the output folder.
const JSON_FILE: &str = "detections.json";

const HELP: &str = "\
Examples:
  aweigh predict --run runs/quickstart datasets/shapes/val
  aweigh predict --run runs/quickstart 'holiday/**/*.jpg' portrait.png --out drawn --score 0.5
  aweigh predict --model cells.safetensors slides

detections.json is a COCO file with images, categories and annotations, each with a score.";

/// Draw the objects that a model finds on pictures
#[derive(Debug, Args)]
#[command(
    after_help = HELP,
    group(ArgGroup::new("which").required(true).args(["run", "model", "config"])),
)]
pub(crate) struct PredictArgs {
    /// Pictures, folders of pictures, or patterns such as 'folder/*.jpg'
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<String>,
    /// Folder for the pictures with their boxes, and for detections.json
    #[arg(long, value_name = "FOLDER", default_value = "predictions")]
    out: PathBuf,
    /// Smallest score of an object, between 0 and 1
    #[arg(long, value_name = "S", default_value_t = 0.3, value_parser = probability)]
    score: f32,
    #[command(flatten)]
    model: ModelOptions,
}

impl PredictArgs {
    pub(super) fn run(self) -> Result<ExitCode> {
        let inputs = Inputs::find(&self.inputs)?;
        if let Some(left_out) = inputs.left_out() {
            tracing::warn!("{left_out}");
        }
        let pictures = inputs.pictures;
        let targets = targets(&pictures, make_folder(&self.out)?)?;
        let model = self.model.open()?;
        let predictor = Predictor::new(model.trained, &model.experiment, &model.device);
        let labels = Labels::new(predictor.classes());
        let mut file = CocoFile::new(predictor.classes());
        let mut failed = 0;
        let bar = bar("predict", pictures.len());
        for (picture, target) in pictures.iter().zip(&targets) {
            match self.picture(&predictor, &labels, picture, target) {
                Ok(prediction) => {
                    bar.suspend(|| print(summary(&prediction, predictor.classes())))?;
                    file.add(&prediction, predictor.classes());
                }
                // One bad file must not cost the results of a thousand good ones.
                Err(error) => {
                    tracing::error!("{}", describe(&error));
                    failed += 1;
                }
            }
            bar.inc(1);
        }
        bar.finish_and_clear();
        let json = self.out.join(JSON_FILE);
        file.save(&json)?;
        tracing::info!(
            "{} objects in {} pictures: drawn in {}, listed in {}",
            HumanCount(file.annotations.len() as u64),
            file.images.len(),
            self.out.display(),
            json.display()
        );
        if failed == 0 {
            return Ok(ExitCode::SUCCESS);
        }
        tracing::error!("{failed} of {} pictures failed", pictures.len());
        Ok(ExitCode::FAILURE)
    }

    /// Finds the objects of a picture and draws them.
    fn picture(
        &self,
        predictor: &Predictor,
        labels: &Labels,
        picture: &Path,
        target: &Path,
    ) -> Result<Prediction> {
        let decoded = predictor.read(picture)?;
        let prediction = predictor.predict(&decoded, picture, self.score);
        let stored = decoded.stored;
        // A person sees the picture upright, whatever pixels the model sees.
        let turn = predictor.decoding().exif == Exif::Ignore;
        let bbox = |bbox| if turn { stored.upright(bbox) } else { bbox };
        let mut drawn = to_picture(if turn {
            decoded.turned_upright()
        } else {
            decoded
        });
        let boxes = prediction.detections.iter().map(|detection| LabelledBox {
            bbox: bbox(detection.bbox),
            class: detection.label,
            name: labels.names[detection.label].clone(),
            detail: format!("{:.2}", detection.score),
        });
        draw_boxes(&mut drawn, &boxes.collect::<Vec<_>>(), &labels.fonts);
        save(&drawn, target)?;
        Ok(prediction)
    }
}

/// What the labels of boxes are written in.
#[derive(Debug)]
struct Labels {
    fonts: Fonts,
    /// The names of the classes.
    names: Vec<String>,
}

impl Labels {
    fn new(classes: &[Class]) -> Self {
        let fonts = Fonts::new();
        let names = names::on_pictures(classes, &fonts);
        Self { fonts, names }
    }
}

/// Where each picture is drawn.
fn targets(pictures: &[PathBuf], out: &Path) -> Result<Vec<PathBuf>> {
    let targets = output_names(pictures)
        .into_iter()
        .map(|name| out.join(name));
    let targets: Vec<_> = targets.collect();
    let originals: Vec<_> = pictures
        .iter()
        .filter_map(|p| p.canonicalize().ok())
        .collect();
    let same = |target: &&PathBuf| target.canonicalize().is_ok_and(|t| originals.contains(&t));
    match targets.iter().find(same) {
        Some(target) => bail!(
            "{} would be overwritten: choose another --out",
            target.display()
        ),
        None => Ok(targets),
    }
}

/// `a.jpg: 3 objects (1 WBC, 2 RBC)`.
fn summary(prediction: &Prediction, classes: &[Class]) -> String {
    let mut counts = BTreeMap::new();
    for detection in &prediction.detections {
        *counts.entry(detection.label).or_insert(0_usize) += 1;
    }
    let counted = counts
        .iter()
        .map(|(label, n)| format!("{n} {}", classes[*label].name));
    let file = prediction.file.display();
    match prediction.detections.len() {
        0 => format!("{file}: nothing found"),
        1 => format!("{file}: {}", counted.collect::<String>()),
        n => format!(
            "{file}: {n} objects ({})",
            counted.collect::<Vec<_>>().join(", ")
        ),
    }
}

fn probability(text: &str) -> Result<f32, String> {
    match text.parse() {
        Ok(score) if (0.0..=1.0).contains(&score) => Ok(score),
        _ => Err("expected a number between 0 and 1".to_owned()),
    }
}

/// Detections in the layout of a COCO annotation file, so that every COCO tool reads them.
#[derive(Debug, Serialize)]
struct CocoFile {
    images: Vec<CocoImage>,
    categories: Vec<Class>,
    annotations: Vec<CocoAnnotation>,
}

#[derive(Debug, Serialize)]
struct CocoImage {
    id: i64,
    file_name: String,
    width: usize,
    height: usize,
}

#[derive(Debug, Serialize)]
struct CocoAnnotation {
    id: i64,
    #[serde(flatten)]
    result: CocoResult,
    area: f64,
    iscrowd: u8,
}

impl CocoFile {
    fn new(classes: &[Class]) -> Self {
        Self {
            images: Vec::new(),
            categories: classes.to_vec(),
            annotations: Vec::new(),
        }
    }

    fn add(&mut self, prediction: &Prediction, classes: &[Class]) {
        let [height, width] = prediction.size;
        // Ids start at 1: pycocotools takes a matched annotation 0 for no match.
        let id = self.images.len() as i64 + 1;
        let file_name = prediction.file.display().to_string();
        self.images.push(CocoImage {
            id,
            file_name,
            width,
            height,
        });
        for detection in &prediction.detections {
            let category = classes[detection.label].id;
            let result = CocoResult::from_corners(id, category, detection.bbox, detection.score);
            self.annotations.push(CocoAnnotation {
                id: self.annotations.len() as i64 + 1,
                area: result.bbox[2] * result.bbox[3],
                result,
                iscrowd: 0,
            });
        }
    }

    fn save(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string(self).context("the detections are not JSON")?;
        replace_file(path, text.as_bytes())
            .with_context(|| format!("{}: the detections cannot be written", path.display()))
    }
}

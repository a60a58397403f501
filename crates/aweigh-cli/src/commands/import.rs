//! `aweigh import`: weights of other programs, as a model file.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use aweigh_train::config::{ConvConfig, DeviceConfig, Experiment};
use aweigh_train::device;
use aweigh_train::import::{ImportOptions, Partial, import};
use aweigh_weights::{ChannelOrder, Normalization, Part, Style};
use clap::{Args, ValueEnum};

use crate::options::Overrides;
use crate::output::{print, shell};
use crate::target::TargetFile;

const HELP: &str = "\
Reads files of PyTorch (.pth, zip or legacy) and safetensors: classifiers of torchvision (ResNet,
ResNeXt, MobileNetV2), its FCOS and RetinaNet, FCOS, FSAF, FoveaBox, RepPoints and RetinaNet of
mmdetection, FCOS of AdelaiDet, backbones of Detectron and Detectron2, and what Aweigh writes.
Nothing in a file is run.

Examples:
  aweigh import resnet50-0676ba61.pth --out resnet50.safetensors
  aweigh import fcos_r50_caffe_fpn_gn-head_1x_coco.pth --out fcos.safetensors
  aweigh import mine.pth --config fcos_r18_bccd.toml --out mine.safetensors";

/// Make a model file of somebody's weights
///
/// A backbone is there to train from (model.weights.backbone), a whole detector for that too
/// (model.weights.detector), and for predict, eval and export.
/// The folder of a run stands for its best checkpoint.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct ImportArgs {
    /// File of weights, or folder of a checkpoint or of a run
    #[arg(value_name = "SOURCE")]
    source: PathBuf,
    #[command(flatten)]
    out: TargetFile,
    /// Configuration of the network, where the file does not say it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    overrides: Overrides,
    /// What the network expects of pixels, where file and configuration do not say it
    #[arg(long, value_name = "NAME")]
    normalization: Option<Preset>,
    /// Text file with the name of a class in each line, in the order of the outputs
    #[arg(long, value_name = "FILE")]
    classes: Option<PathBuf>,
    /// Accept tensors that do not fit: they are listed, and what is missing stays random
    #[arg(long)]
    allow_partial: bool,
    /// Write the configuration of a detector, too, which starts from the written weights
    #[arg(long, value_name = "FILE")]
    write_config: Option<PathBuf>,
}

/// Published normalisations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Preset {
    /// RGB, mean 123.675 116.28 103.53, deviation 58.395 57.12 57.375, stride in 3x3
    Torchvision,
    /// BGR, mean 102.9801 115.9465 122.7717, deviation 1, stride in 1x1
    Detectron,
    /// BGR, mean 103.53 116.28 123.675, deviation 1, stride in 1x1
    Detectron2,
    /// BGR, mean 103.53 116.28 123.675, deviation 57.375 57.12 58.395, stride in 3x3
    Detectron2X101,
}

impl Preset {
    fn normalization(self) -> Normalization {
        let source = "chosen at import";
        match self {
            Self::Torchvision => Normalization::torchvision(source),
            Self::Detectron => Normalization::detectron(source),
            Self::Detectron2 => Normalization::detectron2(source),
            // `FAIR/X-101-32x8d.pkl` in Detectron2's model zoo.
            Self::Detectron2X101 => Normalization {
                mean: [103.53, 116.28, 123.675],
                std: [57.375, 57.12, 58.395],
                order: ChannelOrder::Bgr,
                style: Some(Style::Pytorch),
                source: source.to_owned(),
            },
        }
    }
}

impl ImportArgs {
    pub(super) fn run(self) -> Result<()> {
        self.check()?;
        if let Some(path) = &self.write_config {
            self.out.check_other(path)?;
        }
        let device = device::select(&DeviceConfig::default(), &ConvConfig::default())?;
        let imported = import(&self.source, &self.options()?, &device)?;
        let text = imported.config_text(self.out.path());
        if text.is_none() {
            self.check_backbone()?;
        }
        self.out.write_model(&imported.model)?;
        if let (Some(path), Some(text)) = (&self.write_config, &text) {
            self.out.write_other(path, text.as_bytes())?;
        }
        print(imported.report.to_string().trim_end())?;
        tracing::info!("model in {}", shell(self.out.path()));
        self.say_what_next(imported.model.metadata.part)
    }

    /// Refuses options that would do nothing, and a name that no command would take.
    fn check(&self) -> Result<()> {
        self.out.check()?;
        let out = self.out.path();
        if out.extension().is_none_or(|end| end != "safetensors") {
            bail!(
                "{}: expected a name that ends in .safetensors, which is what is written",
                out.display()
            );
        }
        if self.config.is_none() && !self.overrides.set.is_empty() {
            bail!("--set changes the configuration of --config, and there is none");
        }
        Ok(())
    }

    /// Refuses options that a backbone alone has no use for.
    fn check_backbone(&self) -> Result<()> {
        let source = self.source.display();
        if self.write_config.is_some() {
            bail!("{source}: a backbone alone has no configuration for --write-config");
        }
        if self.classes.is_some() {
            bail!("{source}: a backbone alone has no classes for --classes to name");
        }
        Ok(())
    }

    fn say_what_next(&self, part: Part) -> Result<()> {
        let out = shell(self.out.path());
        let key = match part {
            Part::Detector => "model.weights.detector",
            Part::Backbone => "model.weights.backbone",
        };
        let train = match &self.write_config {
            Some(config) => format!("--config {}", shell(config)),
            None => format!("--config CONFIG --set {key}={out}"),
        };
        let predict = match part {
            Part::Detector => format!("\n  aweigh predict --model {out} PICTURES"),
            Part::Backbone => String::new(),
        };
        print(format_args!("next:{predict}\n  aweigh train {train}"))
    }

    fn options(&self) -> Result<ImportOptions> {
        let load = |config: &PathBuf| Experiment::load(config, &self.overrides.set);
        Ok(ImportOptions {
            config: self.config.as_ref().map(load).transpose()?,
            normalization: self.normalization.map(Preset::normalization),
            classes: self.classes.as_deref().map(class_names).transpose()?,
            partial: if self.allow_partial {
                Partial::Allowed
            } else {
                Partial::Refused
            },
        })
    }
}

/// The lines of a file.
fn class_names(path: &Path) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("{}: the names of classes cannot be read", path.display()))?;
    let lines = text.lines().map(str::trim);
    let names: Vec<String> = lines.filter(|l| !l.is_empty()).map(str::to_owned).collect();
    if names.is_empty() {
        bail!(
            "{}: expected the name of a class in each line",
            path.display()
        );
    }
    Ok(names)
}

//! `aweigh export`: a model as one file.

use anyhow::Result;
use aweigh_train::model_file::ExportOptions;
use aweigh_weights::{FileLayout, Precision};
use clap::{ArgGroup, Args, ValueEnum};

use crate::options::{Model, ModelOptions};
use crate::output::shell;
use crate::target::TargetFile;

const HELP: &str = "\
Examples:
  aweigh export --run runs/cells --out cells.safetensors
  aweigh export --run runs/cells --out cells-f16.safetensors --precision f16
  aweigh export --model cells.safetensors --layout mmdet --out cells-mmdet.safetensors
  aweigh export --run runs/cells --out cells.onnx --size 192x256 --with-nms

A model file holds the weights, the configuration, the classes and how pixels are normalised:
'aweigh predict --model' and 'aweigh eval --model' need nothing else.";

/// Hand on a model as one file: safetensors or ONNX
#[derive(Debug, Args)]
#[command(
    after_help = HELP,
    group(ArgGroup::new("which").required(true).args(["run", "model", "config"])),
)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    out: TargetFile,
    /// What to write [default: what the name of the file ends in]
    #[arg(long, value_name = "NAME")]
    format: Option<Format>,
    #[command(flatten)]
    safetensors: SafetensorsOptions,
    #[command(flatten)]
    model: ModelOptions,
}

/// A kind of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Weights and what is known about them
    Safetensors,
    /// The network with its decoding, for ONNX Runtime and others
    Onnx,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Safetensors")]
struct SafetensorsOptions {
    /// Bits of each weight
    #[arg(long, value_name = "NAME", default_value = "f32")]
    precision: PrecisionName,
    /// Whose names the weights get, for other programs to load
    #[arg(long, value_name = "NAME", default_value = "aweigh")]
    layout: LayoutName,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum PrecisionName {
    /// 32 bits
    F32,
    /// 16 bits: half the file, weights rounded to 11 bits
    F16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LayoutName {
    /// Ours
    Aweigh,
    /// mmdetection's
    Mmdet,
    /// torchvision's: FCOS and RetinaNet
    Torchvision,
}

impl From<PrecisionName> for Precision {
    fn from(name: PrecisionName) -> Self {
        match name {
            PrecisionName::F32 => Self::F32,
            PrecisionName::F16 => Self::F16,
        }
    }
}

impl From<LayoutName> for FileLayout {
    fn from(name: LayoutName) -> Self {
        match name {
            LayoutName::Aweigh => Self::Aweigh,
            LayoutName::Mmdet => Self::Mmdet,
            LayoutName::Torchvision => Self::Torchvision,
        }
    }
}

impl ExportArgs {
    pub(super) fn run(self) -> Result<()> {
        self.out.check()?;
        let model = self.model.open()?;
        self.write_safetensors(&model)?;
        tracing::info!("model in {}", shell(self.out.path()));
        Ok(())
    }

    fn write_safetensors(&self, model: &Model) -> Result<()> {
        let options = ExportOptions {
            layout: self.safetensors.layout.into(),
            precision: self.safetensors.precision.into(),
            history: model.history.clone(),
        };
        let file = model.trained.to_model_file(&model.experiment, options)?;
        self.out.write_model(&file)
    }
}

//! `aweigh export`: a model as one file.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use aweigh_onnx::{DeformConv, InputSize, OnnxOptions, Outputs, RawOutputs};
use aweigh_train::config::Experiment;
use aweigh_train::model_file::ExportOptions;
use aweigh_weights::{FileLayout, Precision};
use clap::{ArgGroup, Args, ValueEnum};

use crate::options::{Model, ModelOptions, input_size};
use crate::output::shell;
use crate::target::TargetFile;

const HELP: &str = "\
Examples:
  aweigh export --run runs/cells --out cells.safetensors
  aweigh export --run runs/cells --out cells-f16.safetensors --precision f16
  aweigh export --model cells.safetensors --layout mmdet --out cells-mmdet.safetensors
  aweigh export --run runs/cells --out cells.onnx --size 192x256 --with-nms

A model file holds the weights, the configuration, the classes and how pixels are normalised:
'aweigh predict --model' and 'aweigh eval --model' need nothing else.

An ONNX model (operator set 21) takes images [B, 3, H, W], normalised and padded as its metadata
says. It gives boxes [B, N, 4] in pixels of that input and scores [B, N, C] of every point, or, with
NMS, boxes [n, 4], scores [n] and labels [n] of one image.";

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
    onnx: OnnxArgs,
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
    /// Bits of each weight [default: f32]
    #[arg(long, value_name = "NAME")]
    precision: Option<PrecisionName>,
    /// Whose names the weights get, for other programs to load [default: aweigh]
    #[arg(long, value_name = "NAME")]
    layout: Option<LayoutName>,
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

#[derive(Debug, Args)]
#[command(next_help_heading = "ONNX")]
struct OnnxArgs {
    /// Pixels of the input, such as 512 or 800x1344 [default: what evaluation pads a picture of
    /// the usual shape to]
    #[arg(long, value_name = "SIZE", value_parser = input_size)]
    size: Option<[usize; 2]>,
    /// Take inputs of any size
    #[arg(long, conflicts_with = "size")]
    dynamic: bool,
    /// Threshold, NMS and limits inside of the model, for one image at a time
    #[arg(long)]
    with_nms: bool,
    /// Give the outputs of the head, too
    #[arg(long)]
    with_raw: bool,
    /// Write deformable convolutions as GridSample, for runtimes without DeformConv
    #[arg(long)]
    decompose_deform_conv: bool,
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
        let format = self.format()?;
        self.check(format)?;
        let model = self.model.open()?;
        match format {
            Format::Safetensors => self.write_safetensors(&model)?,
            Format::Onnx => self.write_onnx(&model)?,
        }
        tracing::info!("model in {}", shell(self.out.path()));
        Ok(())
    }

    fn format(&self) -> Result<Format> {
        if let Some(format) = self.format {
            return Ok(format);
        }
        let end = self.out.path().extension().unwrap_or_default();
        match end.to_str() {
            Some("safetensors") => Ok(Format::Safetensors),
            Some("onnx") => Ok(Format::Onnx),
            _ => bail!(
                "{}: expected a name that ends in .safetensors or .onnx, or --format",
                self.out.path().display()
            ),
        }
    }

    /// Refuses options of the other kind of file, which would do nothing.
    fn check(&self, format: Format) -> Result<()> {
        let (given, other) = match format {
            Format::Safetensors => (self.onnx.given(), "ONNX"),
            Format::Onnx => (self.safetensors.given(), "safetensors"),
        };
        match given.first() {
            Some(option) => bail!(
                "{}: {option} is an option of {other} files alone",
                self.out.path().display()
            ),
            None => Ok(()),
        }
    }

    fn write_safetensors(&self, model: &Model) -> Result<()> {
        let options = ExportOptions {
            layout: self.safetensors.layout.map(Into::into).unwrap_or_default(),
            precision: self
                .safetensors
                .precision
                .map(Into::into)
                .unwrap_or_default(),
            history: model.history()?,
        };
        let file = model.trained.to_model_file(&model.experiment, options)?;
        self.out.write_model(&file)
    }

    fn write_onnx(&self, model: &Model) -> Result<()> {
        let Model {
            experiment,
            trained,
            ..
        } = model;
        let input = self.onnx.input(experiment);
        let metadata = trained
            .metadata(experiment, model.history()?)
            .to_properties();
        let config = trained.complete(experiment).detector;
        let onnx = aweigh_onnx::export(
            &trained.detector,
            &config,
            &self.onnx.options(input, metadata),
        )?;
        for note in &onnx.notes {
            tracing::info!("{note}");
        }
        self.out.write_other(self.out.path(), &onnx.to_bytes())
    }
}

impl SafetensorsOptions {
    /// Names of the options that are given.
    fn given(&self) -> Vec<&'static str> {
        let options = [
            ("--precision", self.precision.is_some()),
            ("--layout", self.layout.is_some()),
        ];
        names(&options)
    }
}

fn names(options: &[(&'static str, bool)]) -> Vec<&'static str> {
    let given = options.iter().filter(|(_, given)| *given);
    given.map(|(name, _)| *name).collect()
}

impl OnnxArgs {
    /// Names of the options that are given.
    fn given(&self) -> Vec<&'static str> {
        names(&[
            ("--size", self.size.is_some()),
            ("--dynamic", self.dynamic),
            ("--with-nms", self.with_nms),
            ("--with-raw", self.with_raw),
            ("--decompose-deform-conv", self.decompose_deform_conv),
        ])
    }

    /// Pixels of the input.
    fn input(&self, experiment: &Experiment) -> InputSize {
        if self.dynamic {
            return InputSize::Dynamic;
        }
        InputSize::Fixed(self.size.unwrap_or_else(|| {
            let [height, width] = experiment.data.transform.usual_input();
            tracing::info!(
                "the input is {height}x{width}, what evaluation pads a picture of the usual shape to; \
                 --size takes another, --dynamic any"
            );
            [height, width]
        }))
    }

    fn options(&self, input: InputSize, metadata: BTreeMap<String, String>) -> OnnxOptions {
        OnnxOptions {
            input,
            outputs: if self.with_nms {
                Outputs::Detections
            } else {
                Outputs::Decoded
            },
            raw: if self.with_raw {
                RawOutputs::With
            } else {
                RawOutputs::Without
            },
            deform_conv: if self.decompose_deform_conv {
                DeformConv::Decomposed
            } else {
                DeformConv::Standard
            },
            metadata,
        }
    }
}

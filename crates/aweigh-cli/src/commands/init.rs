//! `aweigh init`: a configuration for somebody's dataset.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use aweigh_data::Existing;
use aweigh_data::formats::prepare;
use aweigh_train::config::{ConvConfig, DeviceConfig};
use aweigh_train::device;
use aweigh_train::files::replace_file;
use aweigh_train::propose::{Proposal, ProposedMethod, Wishes, propose};
use clap::Args;

use crate::options::DeviceOptions;
use crate::output::{print, shell};

const HELP: &str = "\
Examples:
  aweigh init --data my/dataset
  aweigh init --data my/dataset --minutes 20 --method fovea --out cells.toml
  aweigh init --data my/dataset --weights weights/mobilenet_v2.safetensors

Datasets: COCO (annotations/ and images/, train/ and valid/ with _annotations.coco.json as of
Roboflow, one JSON file and one folder), Pascal VOC and YOLO ('aweigh data convert --help').";

/// Propose a configuration for a dataset
///
/// Input, levels and length of the run follow from sizes of images and boxes, from the device and
/// from --minutes, for which a few steps are timed; each choice has a comment. Nothing is written
/// into the dataset: what has to be converted or split off goes into a folder beside the
/// configuration.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct InitArgs {
    /// Folder of the dataset
    #[arg(long, value_name = "FOLDER")]
    data: PathBuf,
    /// Configuration to write
    #[arg(long, value_name = "FILE", default_value = "config.toml")]
    out: PathBuf,
    #[command(flatten)]
    wishes: WishOptions,
    /// Replace the configuration, and keep a folder that was made for it as FOLDER.old
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    device: DeviceOptions,
}

/// What a configuration is proposed for.
#[derive(Debug, Args)]
pub(crate) struct WishOptions {
    /// fcos, fovea, fsaf, reppoints or retina [default: fcos, or that of the weights]
    #[arg(long, value_name = "NAME")]
    method: Option<ProposedMethod>,
    /// How long training may take, in minutes [default: as long as the small recipes]
    #[arg(long, value_name = "N", value_parser = minutes)]
    minutes: Option<f64>,
    /// Weights to start from: of a backbone, or a model file of a detector
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
}

fn minutes(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(minutes) if f64::is_finite(minutes) && minutes > 0.0 => Ok(minutes),
        _ => Err("expected a number of minutes above 0".to_owned()),
    }
}

impl WishOptions {
    /// Whether nothing is wished.
    pub(crate) fn are_none(&self) -> bool {
        self.method.is_none() && self.minutes.is_none() && self.weights.is_none()
    }

    /// Proposes an experiment for a dataset; what has to be made of it goes into `made`.
    ///
    /// # Errors
    /// When dataset, weights or device cannot be used.
    pub(crate) fn propose(
        &self,
        data: &Path,
        made: &Path,
        existing: Existing,
        device: DeviceOptions,
    ) -> Result<Proposal> {
        let choice = device.apply(&DeviceConfig::default());
        let device = device::select(&choice, &ConvConfig::default())?;
        let prepared = prepare(data, made, existing)?;
        for note in &prepared.notes {
            tracing::info!("{note}");
        }
        let wishes = Wishes {
            method: self.method.unwrap_or_default(),
            minutes: self.minutes,
            backend: choice.backend,
            weights: self.weights.clone(),
        };
        let proposal = propose(&prepared, &wishes, &device);
        if proposal.is_err() {
            // Of use to nobody; where nothing had to be made, there is no such folder.
            let _ = std::fs::remove_dir_all(made);
        }
        Ok(proposal?)
    }
}

impl InitArgs {
    pub(super) fn run(self) -> Result<()> {
        let made = made_for(&self.out);
        if !self.force {
            for path in [&self.out, &made] {
                ensure!(
                    path.symlink_metadata().is_err(),
                    "{} exists already: choose another name with --out, or use --force",
                    path.display()
                );
            }
        }
        if self.out.is_dir() {
            bail!(
                "{}: expected a file, but this is a folder",
                self.out.display()
            );
        }
        let existing = if self.force {
            Existing::SetAside
        } else {
            Existing::Refuse
        };
        let proposal = self
            .wishes
            .propose(&self.data, &made, existing, self.device)?;
        replace_file(&self.out, proposal.text.as_bytes())
            .with_context(|| format!("{}: cannot be written", self.out.display()))?;
        let config = shell(&self.out);
        print(format_args!(
            "{}\nnext:\n  aweigh data check --config {config}\n  aweigh data show --config \
             {config}\n  aweigh train --config {config}",
            self.out.display()
        ))
    }
}

/// The folder for what is made of a dataset for a configuration: `cells_data` of `cells.toml`.
fn made_for(config: &Path) -> PathBuf {
    let stem = config.file_stem().unwrap_or_default().to_string_lossy();
    config.with_file_name(format!("{stem}_data"))
}

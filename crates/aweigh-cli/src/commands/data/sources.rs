//! Which dataset a command looks at: that of a configuration, or files.

use std::path::PathBuf;

use anyhow::{Result, bail};
use aweigh_data::DatasetConfig;
use aweigh_train::Experiment;
use clap::Args;

use crate::options::Overrides;

/// A dataset.
#[derive(Debug, Args)]
pub(super) struct SourceOptions {
    /// Configuration file, or the name of one in configs/
    #[arg(long, value_name = "FILE", conflicts_with = "annotations")]
    config: Option<PathBuf>,
    #[command(flatten)]
    overrides: Overrides,
    /// Annotation file of COCO's layout, in place of a configuration
    #[arg(long, value_name = "FILE", requires = "images")]
    annotations: Option<PathBuf>,
    /// Folder of its images
    #[arg(long, value_name = "FOLDER", requires = "annotations")]
    images: Option<PathBuf>,
}

/// Where a dataset comes from.
pub(super) enum Source {
    /// A configuration.
    Experiment(Box<Experiment>),
    /// An annotation file and a folder.
    Files(DatasetConfig),
}

impl SourceOptions {
    /// # Errors
    /// When the configuration is wrong, or nothing is named.
    pub(super) fn open(&self) -> Result<Source> {
        match (&self.config, &self.annotations, &self.images) {
            (Some(config), ..) => {
                let experiment = Experiment::load(config, &self.overrides.set)?;
                Ok(Source::Experiment(Box::new(experiment)))
            }
            (None, Some(_), _) if !self.overrides.set.is_empty() => {
                bail!("--set changes a configuration: name one with --config")
            }
            (None, Some(annotations), Some(images)) => {
                Ok(Source::Files(DatasetConfig::new(annotations, images)))
            }
            _ => bail!("name a dataset: --config, or --annotations and --images"),
        }
    }
}

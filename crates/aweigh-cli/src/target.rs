//! A file that a command writes, and never over another one unasked.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use aweigh_train::files::replace_file;
use aweigh_weights::{ModelFile, Overwrite, write_model};
use clap::Args;

/// Where a file goes.
#[derive(Debug, Args)]
pub(crate) struct TargetFile {
    /// File to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Replace files that are there
    #[arg(long)]
    force: bool,
}

impl TargetFile {
    pub(crate) fn path(&self) -> &Path {
        &self.out
    }

    /// Refuses early what writing would refuse.
    ///
    /// # Errors
    /// When there is a file and it is not to be replaced, or there is no folder for it.
    pub(crate) fn check(&self) -> Result<()> {
        self.check_other(&self.out)
    }

    /// As [`check`](Self::check), for a file that is written beside.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn check_other(&self, path: &Path) -> Result<()> {
        if path.is_dir() {
            bail!("{}: expected a file, but this is a folder", path.display());
        }
        if path.exists() && !self.force {
            bail!("{}: is there already; --force replaces it", path.display());
        }
        let folder = path.parent().filter(|f| !f.as_os_str().is_empty());
        if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
            bail!(
                "{}: there is no folder {}",
                path.display(),
                folder.display()
            );
        }
        Ok(())
    }

    /// Writes the model.
    ///
    /// # Errors
    /// When the file has come up meanwhile, or the system refuses.
    pub(crate) fn write_model(&self, model: &ModelFile) -> Result<()> {
        let overwrite = if self.force {
            Overwrite::Yes
        } else {
            Overwrite::No
        };
        Ok(write_model(&self.out, model, overwrite)?)
    }

    /// Writes the content of a file that is no model.
    ///
    /// # Errors
    /// As of [`write_model`](Self::write_model).
    pub(crate) fn write_other(&self, path: &Path, content: &[u8]) -> Result<()> {
        self.check_other(path)?;
        replace_file(path, content)
            .with_context(|| format!("{}: cannot be written", path.display()))
    }
}

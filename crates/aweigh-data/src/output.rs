//! Files and folders that appear under their names only when they are complete.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::DataError;

/// What becomes of output that is there already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Existing {
    /// It is an error.
    #[default]
    Refuse,
    /// It is kept under its name with `.old` at the end.
    SetAside,
}

/// Lets `fill` fill a folder next to `out`, then gives it the name `out`; removes it on failure.
pub(crate) fn atomically<T>(
    out: &Path,
    existing: Existing,
    fill: impl FnOnce(&Path) -> Result<T, DataError>,
) -> Result<T, DataError> {
    if existing == Existing::Refuse {
        refuse(out)?;
    }
    let partial = beside(out, &format!(".partial-{}", std::process::id()));
    create_folder(&partial)?;
    let result = fill(&partial).and_then(|value| {
        set_aside(out)?;
        let renamed = fs::rename(&partial, out);
        renamed
            .map(|()| value)
            .map_err(|reason| failed(out, reason))
    });
    if result.is_err() {
        // The first error is the one to report; a left-over folder does no harm.
        let _ = fs::remove_dir_all(&partial);
    }
    result
}

/// # Errors
/// If there is something under the name of the output.
pub(crate) fn refuse(out: &Path) -> Result<(), DataError> {
    if out.symlink_metadata().is_err() {
        return Ok(());
    }
    Err(DataError::Exists {
        path: out.to_path_buf(),
    })
}

/// Gives what is there another name, of which the first is free: `out.old`, `out.old-2`, ...
fn set_aside(out: &Path) -> Result<(), DataError> {
    if out.symlink_metadata().is_err() {
        return Ok(());
    }
    let numbered = (2..).map(|number| format!(".old-{number}"));
    let names = std::iter::once(".old".to_owned()).chain(numbered);
    let free = names
        .map(|ending| beside(out, &ending))
        .find(|path| path.symlink_metadata().is_err());
    let Some(free) = free else { return Ok(()) };
    tracing::info!("{} is now {}", out.display(), free.display());
    fs::rename(out, &free).map_err(|reason| failed(out, reason))
}

/// A path with more at the end of its name.
fn beside(path: &Path, ending: &str) -> PathBuf {
    // Also of `.` and of paths with a slash at the end, whose last component is what is meant.
    let path = path.components().as_path();
    let mut name = path.file_name().map_or_else(OsString::new, OsString::from);
    name.push(ending);
    path.with_file_name(name)
}

pub(crate) fn create_folder(path: &Path) -> Result<(), DataError> {
    fs::create_dir_all(path).map_err(|reason| failed(path, reason))
}

/// Writes a file and the folders above it.
pub(crate) fn write_file(path: &Path, content: impl AsRef<[u8]>) -> Result<(), DataError> {
    create_folder(path.parent().unwrap_or(path))?;
    fs::write(path, content).map_err(|reason| failed(path, reason))
}

pub(crate) fn failed(path: &Path, reason: io::Error) -> DataError {
    DataError::Write {
        path: path.to_path_buf(),
        reason,
    }
}

//! Files that are there whole or not at all.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// Writes a file such that a reader finds the old or the new content, never a part.
///
/// # Errors
///
/// When writing fails; then the old content is still there.
pub(crate) fn replace_file(path: &Path, content: &[u8]) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}.tmp"));
    let written = write(&temporary, content).and_then(|()| fs::rename(&temporary, path));
    if let Err(error) = written {
        // The write has failed already; a rest that cannot be removed adds nothing to that.
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    path.parent().map_or(Ok(()), sync_dir)
}

/// Writes a file and waits until it is on disk.
///
/// # Errors
///
/// When writing fails.
pub(crate) fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// Makes renames in a folder survive a loss of power, where the system has such a thing.
///
/// # Errors
///
/// When the system cannot.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    if cfg!(unix) {
        // The parent of a bare file name has no name.
        let dir = match dir.as_os_str().is_empty() {
            true => Path::new("."),
            false => dir,
        };
        File::open(dir)?.sync_all()?;
    }
    Ok(())
}

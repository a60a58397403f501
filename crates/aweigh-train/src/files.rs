//! Files that are there whole or not at all.
//!
//! Of our own: a file of `tempfile` is for its owner alone unless a mode is set, which Unix has, and
//! writing through to the disk and renaming would stay here.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process;

/// How the name of a file ends that is being written.
const TEMPORARY: &str = "tmp";

/// Writes a file such that a reader finds the old or the new content, never a part.
///
/// # Errors
///
/// When writing fails; then the old content is still there.
pub fn replace_file(path: &Path, content: &[u8]) -> io::Result<()> {
    replace_file_with(path, |file| file.write_all(content))
}

/// As [`replace_file`], with content that `fill` writes piece by piece.
///
/// # Errors
///
/// When `fill` fails or writing does; then the old content is still there.
pub(crate) fn replace_file_with(
    path: &Path,
    fill: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> io::Result<()> {
    // Two processes may write a file of the same name: the last one wins, with a whole file.
    let temporary = beside(path, &format!("{}.{TEMPORARY}", process::id()));
    let written = write_with(&temporary, fill).and_then(|()| fs::rename(&temporary, path));
    if let Err(error) = written {
        // The write has failed already; a rest that cannot be removed adds nothing to that.
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    sync_parent(path)
}

/// Adds text to the end of a file, which is made if it is not there.
///
/// # Errors
///
/// When the file cannot be written.
pub(crate) fn append(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    file.write_all(text.as_bytes())
}

/// Whether a file is one that [`replace_file`] had not finished.
pub(crate) fn is_temporary(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with('.') && path.extension().is_some_and(|end| end == TEMPORARY) && path.is_file()
}

/// Whether two paths lead to the same file, which exists.
pub(crate) fn same_file(a: &Path, b: &Path) -> bool {
    same_file::is_same_file(a, b).unwrap_or(false)
}

/// A hidden name in the same folder: `.NAME.SUFFIX`.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{suffix}"))
}

/// Writes a file and waits until it is on disk.
///
/// # Errors
///
/// When writing fails.
pub(crate) fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    write_with(path, |file| file.write_all(content))
}

fn write_with(
    path: &Path,
    fill: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> io::Result<()> {
    let mut writer = BufWriter::new(File::create(path)?);
    fill(&mut writer)?;
    writer.into_inner()?.sync_all()
}

/// Makes a rename to `path` survive a loss of power, where the system has such a thing.
///
/// # Errors
///
/// When the system cannot.
pub(crate) fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        // The parent of a bare file name has no name.
        Some(parent) if parent.as_os_str().is_empty() => sync_dir(Path::new(".")),
        Some(parent) => sync_dir(parent),
        None => Ok(()),
    }
}

/// Makes the names in a folder survive a loss of power, where the system has such a thing.
///
/// # Errors
///
/// When the system cannot.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    if cfg!(unix) {
        File::open(dir)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap();
        let name = |entry: fs::DirEntry| entry.file_name().into_string().unwrap();
        entries.map(|entry| name(entry.unwrap())).collect()
    }

    #[test]
    fn a_file_is_replaced_as_a_whole_or_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        replace_file(&path, b"old").unwrap();
        let failed = replace_file_with(&path, |file| {
            file.write_all(b"ne")?;
            Err(io::Error::other("the disk is full"))
        });
        assert_eq!(failed.unwrap_err().to_string(), "the disk is full");
        assert_eq!(fs::read(&path).unwrap(), b"old");
        replace_file(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(names(dir.path()), ["a.json"]);
    }
}

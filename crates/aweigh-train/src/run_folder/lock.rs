//! One writer per run folder, by the standard library's file locks.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::Path;
use std::process;

use super::{RunError, failed};

/// The file that is locked; it holds the writer's process id.
///
/// It stays when the run ends: whether somebody writes is a matter of the lock, which the system
/// releases with the process however that ends. Removing the file could take the lock of the next.
const LOCK_FILE: &str = "run.lock";

/// The right to write to a run folder, as long as it lives.
#[derive(Debug)]
pub struct RunLock {
    /// Open, and by that locked.
    _file: File,
}

impl RunLock {
    /// Locks a folder that exists.
    ///
    /// # Errors
    ///
    /// When another process writes to it, or the file cannot be made.
    pub(super) fn take(dir: &Path) -> Result<Self, RunError> {
        let path = dir.join(LOCK_FILE);
        let mut options = OpenOptions::new();
        options.create(true).truncate(false);
        let mut file = open(&path, &mut options).map_err(failed("write", &path))?;
        lock(dir, &mut file)?;
        let id = process::id().to_string();
        let written = file.set_len(0).and_then(|()| file.write_all(id.as_bytes()));
        written.map_err(failed("write", &path))?;
        Ok(Self { _file: file })
    }

    /// Checks that nobody writes to a folder, which need not exist, and leaves no trace.
    ///
    /// # Errors
    ///
    /// When another process writes to it.
    pub(super) fn check(dir: &Path) -> Result<(), RunError> {
        let path = dir.join(LOCK_FILE);
        match open(&path, &mut OpenOptions::new()) {
            Ok(mut file) => lock(dir, &mut file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(failed("write", &path)(error)),
        }
    }
}

fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    options.read(true).write(true).open(path)
}

fn lock(dir: &Path, file: &mut File) -> Result<(), RunError> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(RunError::Locked {
            dir: dir.into(),
            process: holder(file),
        }),
        Err(TryLockError::Error(error)) => {
            tracing::warn!(
                "{} cannot be locked ({error}): see to it that no other process writes to it",
                dir.display()
            );
            Ok(())
        }
    }
}

/// The process that has the lock, in words; its id may not be written yet, or not be readable.
fn holder(file: &mut File) -> String {
    let mut id = String::new();
    match file.read_to_string(&mut id) {
        Ok(_) if id.parse::<u32>().is_ok() => format!("process {id}"),
        _ => "another process".to_owned(),
    }
}

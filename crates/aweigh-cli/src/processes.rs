//! Several processes as one command: who speaks, and how all end together.

use anyhow::{Result, anyhow, bail};
use aweigh_distributed::{Failure, Group, ProcessGroup};

use crate::{logging, output};

/// Joins the processes that were started together. All but the first say nothing from here on but
/// what ends them.
///
/// # Errors
/// When this build cannot work in several processes.
pub(crate) fn join() -> Result<Group> {
    let group = aweigh_distributed::join()?;
    if !group.is_first() {
        logging::speak_as(group.rank());
    }
    Ok(group)
}

/// Refuses to do in several processes what one does: they would write the same files.
///
/// # Errors
/// When a launcher started several.
pub(crate) fn expect_one() -> Result<()> {
    match aweigh_distributed::launched_processes() {
        Some(count) if count > 1 => bail!(
            "a launcher started {count} processes, and `aweigh train` alone works in several: start \
             this command without mpirun"
        ),
        _ => Ok(()),
    }
}

/// The result of this process, if every process has one.
///
/// # Errors
/// That of this process, or what another one says.
pub(crate) fn together<T>(group: &dyn ProcessGroup, own: Result<T>) -> Result<T> {
    let own = own.map_err(Described);
    aweigh_distributed::together(group, own).map_err(|failure| match failure {
        Failure::Own(Described(error)) => error,
        Failure::Other(other) => anyhow!(other),
    })
}

/// Does what only the first process does, and has all fail if it does.
///
/// # Errors
/// Those of `work`, on all processes.
pub(crate) fn in_first(group: &dyn ProcessGroup, work: impl FnOnce() -> Result<()>) -> Result<()> {
    let done = if group.is_first() { work() } else { Ok(()) };
    together(group, done)
}

/// An error as its user reads it.
struct Described(anyhow::Error);

impl std::fmt::Display for Described {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&output::describe(&self.0))
    }
}

//! Ctrl-C: the first one asks the run to stop at the next step, or in an evaluation at its next
//! batch; the second one ends it at once.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};

/// Exit code of a run that Ctrl-C stopped, as shells report it (128 + SIGINT).
pub(crate) const EXIT_CODE: u8 = 130;

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// Installs the handler of Ctrl-C (and of SIGTERM, which schedulers send before they kill).
///
/// The flag that it returns becomes true at the first signal.
///
/// # Errors
/// When the operating system refuses the handler.
pub(crate) fn install() -> Result<&'static AtomicBool> {
    ctrlc::set_handler(|| {
        if REQUESTED.swap(true, Ordering::SeqCst) {
            std::process::exit(i32::from(EXIT_CODE));
        }
        tracing::warn!("stopping soon, with a checkpoint; Ctrl-C again stops at once");
    })
    .context("the handler of Ctrl-C cannot be installed")?;
    Ok(&REQUESTED)
}

//! Log lines: on standard error for the user, in `log.txt` for the record.
//!
//! Standard error shows what concerns the user of a command line: no time, no target, no level
//! unless it is a warning. `log.txt` keeps everything with its time. Progress lines
//! ([`PROGRESS`]) stay off a terminal, where a bar shows the same.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};

use anyhow::{Context, Result};
use indicatif::MultiProgress;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets, filter_fn};
use tracing_subscriber::fmt::format::{self, FormatEvent, FormatFields};
use tracing_subscriber::fmt::{self as fmt_layer, FmtContext};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

/// Target of the lines that report the progress of training.
pub(crate) const PROGRESS: &str = "aweigh::progress";

/// The bars on the terminal; log lines are printed above them.
pub(crate) static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// One more than the number of the process of several that does not speak for all; 0 in one that does.
static OTHER: AtomicUsize = AtomicUsize::new(0);

/// Whether this process shows every level that was asked for, or warnings, or errors only.
static SHOWN: AtomicU8 = AtomicU8::new(ALL);
const ALL: u8 = 2;
const WARNINGS: u8 = 1;
const ERRORS: u8 = 0;

static LOG: Mutex<Log> = Mutex::new(Log::Waiting(Vec::new()));

/// Where the record of a run goes.
#[derive(Debug)]
enum Log {
    /// The run folder is not known yet; these are the first lines.
    Waiting(Vec<u8>),
    /// Nowhere: another process writes the record.
    Elsewhere,
    /// The log of the run folder.
    File(File),
}

/// What standard error shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verbosity {
    /// Warnings and errors.
    Quiet,
    /// Also what a command does.
    Normal,
    /// Also details, and messages of the libraries below.
    Verbose,
}

impl Verbosity {
    /// Which targets pass.
    fn filter(self) -> Targets {
        let ours = match self {
            Self::Quiet => LevelFilter::WARN,
            Self::Normal => LevelFilter::INFO,
            Self::Verbose => LevelFilter::DEBUG,
        };
        let others = match self {
            Self::Quiet => LevelFilter::ERROR,
            Self::Normal => LevelFilter::WARN,
            Self::Verbose => LevelFilter::INFO,
        };
        Targets::new()
            .with_default(others)
            .with_target("aweigh", ours)
    }
}

/// Starts logging to standard error.
///
/// # Errors
/// When logging has been started before.
pub(crate) fn init(verbosity: Verbosity) -> Result<()> {
    let mut shown = verbosity.filter();
    if io::stderr().is_terminal() {
        // A bar shows the progress.
        shown = shown.with_target(PROGRESS, LevelFilter::OFF);
    }
    let terminal = fmt_layer::layer()
        .event_format(TerminalLine)
        .with_writer(|| Stderr)
        .with_filter(shown)
        .with_filter(filter_fn(|line| match SHOWN.load(Ordering::Relaxed) {
            ERRORS => *line.level() <= Level::ERROR,
            WARNINGS => *line.level() <= Level::WARN,
            _ => true,
        }));
    let file = fmt_layer::layer()
        .with_ansi(false)
        .with_writer(|| Record)
        .with_filter(
            Targets::new()
                .with_default(LevelFilter::WARN)
                .with_target("aweigh", Level::DEBUG),
        );
    let subscriber = tracing_subscriber::registry().with(terminal).with(file);
    tracing::subscriber::set_global_default(subscriber).context("logging was started twice")
}

/// Has this process, which is not the first of several, show errors only, with its number. It keeps no
/// record.
pub(crate) fn speak_as(process: usize) {
    OTHER.store(process + 1, Ordering::Relaxed);
    SHOWN.store(ERRORS, Ordering::Relaxed);
    *LOG.lock().unwrap_or_else(PoisonError::into_inner) = Log::Elsewhere;
}

/// Has it show warnings again: what all processes see alike has been said.
pub(crate) fn show_warnings() {
    if OTHER.load(Ordering::Relaxed) > 0 {
        SHOWN.store(WARNINGS, Ordering::Relaxed);
    }
}

/// Appends every line to `path`, those before this call included.
///
/// # Errors
/// When the file cannot be written.
pub(crate) fn log_to(path: &Path) -> Result<()> {
    let mut log = LOG.lock().unwrap_or_else(PoisonError::into_inner);
    let open = || {
        let mut file = OpenOptions::new().create(true).append(true).open(path)?;
        if let Log::Waiting(lines) = &*log {
            file.write_all(lines)?;
        }
        io::Result::Ok(file)
    };
    let file = open().with_context(|| format!("{}: the log cannot be written", path.display()))?;
    *log = Log::File(file);
    Ok(())
}

/// `message` for information, `warning: message` for what needs attention.
struct TerminalLine;

impl<S, N> FormatEvent<S, N> for TerminalLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: format::Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        match *event.metadata().level() {
            Level::ERROR => writer.write_str("error: ")?,
            Level::WARN => writer.write_str("warning: ")?,
            Level::INFO => {}
            Level::DEBUG | Level::TRACE => writer.write_str("debug: ")?,
        }
        let other = OTHER.load(Ordering::Relaxed);
        if other > 0 {
            write!(writer, "process {}: ", other - 1)?;
        }
        context.format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}

/// Standard error, above the progress bars. One write is one line.
struct Stderr;

impl Write for Stderr {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        BARS.suspend(|| io::stderr().write_all(line))?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// The log of the run.
struct Record;

impl Write for Record {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match &mut *LOG.lock().unwrap_or_else(PoisonError::into_inner) {
            Log::File(file) => file.write(line),
            Log::Waiting(lines) => lines.write(line),
            Log::Elsewhere => Ok(line.len()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

//! What the commands print on standard output.

use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, Result, bail};
use comfy_table::{CellAlignment, LineStyle, Table, TableStyle};

/// A line under the header and nothing else.
const STYLE: TableStyle =
    TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));

/// Prints `text` and a line end on standard output.
///
/// # Errors
/// When standard output is closed; [`is_broken_pipe`] recognises it.
pub(crate) fn print(text: impl std::fmt::Display) -> Result<()> {
    writeln!(io::stdout().lock(), "{text}").context("standard output cannot be written")
}

/// Whether the reader of a pipe went away (`aweigh devices | head -1`), which is no failure.
pub(crate) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}

/// Makes a folder and those above it, unless it is there.
///
/// # Errors
/// When there is a file of that name, or the system refuses.
pub(crate) fn make_folder(folder: &Path) -> Result<&Path> {
    if folder.is_file() {
        bail!(
            "{}: expected a folder, but this is a file",
            folder.display()
        );
    }
    std::fs::create_dir_all(folder)
        .with_context(|| format!("{}: the folder cannot be made", folder.display()))?;
    Ok(folder)
}

/// A path as an argument of a shell command. `shlex`, a dependency of build scripts only, quotes
/// `=` too, which names of runs often have.
pub(crate) fn shell(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:+=@".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

/// The message of an error with its causes; a cause that is in the message already is left out.
pub(crate) fn describe(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

/// An empty table of the house style; the columns from `numbers_from` on are right-aligned.
pub(crate) fn table(header: &[&str], numbers_from: usize) -> Table {
    let mut table = Table::new();
    table.load_style(STYLE).set_header(header.to_vec());
    for (index, column) in table.column_iter_mut().enumerate() {
        if index >= numbers_from {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// Seconds as `1:02:03` or `2:03`; `indicatif` always writes the hours, `00:02:03`.
pub(crate) fn clock(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    let (hours, minutes, seconds) = (whole / 3600, whole / 60 % 60, whole % 60);
    match hours {
        0 => format!("{minutes}:{seconds:02}"),
        _ => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_like_a_clock() {
        assert_eq!([0.4, 59.6, 3723.0].map(clock), ["0:00", "1:00", "1:02:03"]);
    }

    #[test]
    fn paths_are_quoted_where_a_shell_needs_it() {
        let paths = ["runs/a-1", "my runs/a", "it's", ""];
        let quoted = paths.map(|path| shell(Path::new(path)));
        assert_eq!(quoted, ["runs/a-1", "'my runs/a'", "'it'\\''s'", "''"]);
    }

    #[test]
    fn a_cause_is_not_said_twice() {
        let error = anyhow::anyhow!("no such file").context("a.json: no such file");
        assert_eq!(
            describe(&error.context("reading")),
            "reading: a.json: no such file"
        );
    }

    #[test]
    fn a_closed_pipe_is_recognised_below_a_context() {
        let error = anyhow::Error::new(io::Error::from(io::ErrorKind::BrokenPipe));
        assert!(is_broken_pipe(
            &error.context("standard output cannot be written")
        ));
        assert!(!is_broken_pipe(&anyhow::anyhow!("something else")));
    }
}

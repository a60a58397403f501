//! The `aweigh` command line: arguments, progress bars, pictures, exit codes.
//!
//! Everything that a command does lives in `aweigh-train` and `aweigh-data`; this crate parses
//! arguments, shows progress, prints results and draws boxes. Results go to standard output, all
//! the rest to standard error. Exit codes: 0 success, 1 failure, 2 wrong usage, 130 stopped by
//! Ctrl-C.

mod colour;
mod commands;
mod draw;
mod inputs;
mod interrupt;
mod logging;
mod names;
mod options;
mod output;
mod pen;
mod plates;
mod processes;
mod progress;
mod sheet;
mod target;
mod text;

use std::process::ExitCode;

use aweigh_conv::allocator::PoolAllocator;
use clap::Parser;

use crate::commands::Command;
use crate::logging::Verbosity;

#[global_allocator]
static ALLOCATOR: PoolAllocator = PoolAllocator;

const AFTER_HELP: &str = "\
Examples:
  aweigh train --config quickstart.toml
  aweigh eval --run runs/quickstart
  aweigh predict --run runs/quickstart my/pictures --out drawn

Exit codes: 0 success, 1 failure, 2 wrong usage, 130 stopped by Ctrl-C";

/// Trains, evaluates and runs anchor-free object detectors.
#[derive(Debug, Parser)]
#[command(name = "aweigh", version, after_help = AFTER_HELP, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Show warnings and errors only
    #[arg(long, short, global = true, conflicts_with = "verbose")]
    quiet: bool,
    /// Show more detail of what happens
    #[arg(long, short, global = true)]
    verbose: bool,
}

impl Cli {
    fn verbosity(&self) -> Verbosity {
        match (self.quiet, self.verbose) {
            (true, _) => Verbosity::Quiet,
            (false, false) => Verbosity::Normal,
            (false, true) => Verbosity::Verbose,
        }
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = logging::init(cli.verbosity()).and_then(|()| cli.command.run());
    match done {
        Ok(code) => code,
        Err(error) if output::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{}", output::describe(&error));
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn arguments_are_consistent() {
        super::Cli::command().debug_assert();
    }
}

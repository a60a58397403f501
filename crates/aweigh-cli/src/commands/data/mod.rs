//! `aweigh data`: datasets.

mod check;
mod convert;
mod figure;
mod show;
mod sources;
mod split;
mod stats;
mod synth;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};

/// Convert, check, count, show, split and make datasets
#[derive(Debug, Args)]
pub(crate) struct DataArgs {
    #[command(subcommand)]
    command: DataCommand,
}

#[derive(Debug, Subcommand)]
enum DataCommand {
    Convert(convert::ConvertArgs),
    Check(check::CheckArgs),
    Stats(stats::StatsArgs),
    Show(show::ShowArgs),
    Split(split::SplitArgs),
    Synth(synth::SynthArgs),
}

impl DataArgs {
    pub(super) fn run(self) -> Result<ExitCode> {
        match self.command {
            DataCommand::Convert(args) => args.run()?,
            DataCommand::Check(args) => return Ok(args.run()),
            DataCommand::Stats(args) => args.run()?,
            DataCommand::Show(args) => args.run()?,
            DataCommand::Split(args) => args.run()?,
            DataCommand::Synth(args) => args.run()?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

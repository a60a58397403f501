//! One file per subcommand.

mod bench;
mod check;
mod data;
mod devices;
mod eval;
mod explain;
mod export;
mod import;
mod init;
mod inspect;
mod predict;
mod train;

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

use crate::processes;

/// What `aweigh` can do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Init(init::InitArgs),
    Train(train::TrainArgs),
    Eval(eval::EvalArgs),
    Predict(predict::PredictArgs),
    Explain(explain::ExplainArgs),
    Import(import::ImportArgs),
    Export(export::ExportArgs),
    Inspect(inspect::InspectArgs),
    Bench(bench::BenchArgs),
    Check(check::CheckArgs),
    Devices(devices::DevicesArgs),
    Data(data::DataArgs),
}

impl Command {
    /// Does it.
    ///
    /// # Errors
    /// Whatever stopped the command, in words for its user.
    pub(crate) fn run(self) -> Result<ExitCode> {
        if !matches!(self, Self::Train(_)) {
            processes::expect_one()?;
        }
        match self {
            Self::Train(args) => return args.run(),
            Self::Predict(args) => return args.run(),
            Self::Check(args) => return args.run(),
            Self::Data(args) => return args.run(),
            Self::Init(args) => args.run()?,
            Self::Eval(args) => args.run()?,
            Self::Explain(args) => args.run()?,
            Self::Import(args) => args.run()?,
            Self::Export(args) => args.run()?,
            Self::Inspect(args) => args.run()?,
            Self::Bench(args) => args.run()?,
            Self::Devices(args) => args.run()?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

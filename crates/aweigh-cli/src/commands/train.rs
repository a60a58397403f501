//! `aweigh train`: a run from its start, or from where it stopped.

mod rehearsal;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;

use anyhow::{Context, Result, anyhow};
use aweigh_data::Existing;
use aweigh_distributed::{Group, ProcessGroup};
use aweigh_train::Experiment;
use aweigh_train::checkpoint::{Best, Checkpoint};
use aweigh_train::config::Span;
use aweigh_train::device;
use aweigh_train::files::replace_file;
use aweigh_train::placement::place;
use aweigh_train::progress::Silent;
use aweigh_train::run_folder::RunFolder;
use aweigh_train::trainer::{Ended, Outcome, Trainer};
use burn::tensor::Device;
use clap::error::ErrorKind;
use clap::{Args, CommandFactory};

use super::init::WishOptions;
use crate::options::{DeviceOptions, Overrides};
use crate::output::{make_folder, print, shell};
use crate::progress::Bars;
use crate::{Cli, interrupt, logging, processes};

const HELP: &str = "\
Examples:
  aweigh train --config quickstart.toml
  aweigh train --config fcos_r50.toml --backend cuda --set train.batch_size=8 --set train.lr=0.005
  aweigh train --config fcos_r50.toml --dry-run
  aweigh train --data my/dataset --minutes 20
  aweigh train --resume runs/fcos_r50

Ctrl-C finishes the step or leaves the evaluation, writes a checkpoint and says how to resume; a
second one stops at once.";

/// Train a detector
///
/// The run folder holds the configuration with every default, log.txt, metrics.jsonl, the
/// checkpoints and the evaluations. A resumed run continues exactly where its latest checkpoint
/// was written. One process at a time writes to a run folder.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct TrainArgs {
    /// Configuration file, or the name of one in configs/
    #[arg(
        long,
        value_name = "FILE",
        required_unless_present_any = ["resume", "data"]
    )]
    config: Option<PathBuf>,
    /// Folder of a dataset, in place of a configuration: one is proposed as by 'aweigh init', and
    /// kept in the run folder as proposal.toml
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["config", "resume"])]
    data: Option<PathBuf>,
    #[command(flatten, next_help_heading = "With --data")]
    wishes: WishOptions,
    #[command(flatten)]
    overrides: Overrides,
    /// Folder of the run [default: runs/ and the name of the configuration]
    #[arg(long, value_name = "FOLDER")]
    run_dir: Option<PathBuf>,
    /// Continue the run in this folder, or the run of --config
    #[arg(long, value_name = "RUN", num_args = 0..=1)]
    resume: Option<Option<PathBuf>>,
    /// Check everything, do two steps, evaluate a few images, say what the run would be, write
    /// nothing
    #[arg(long, conflicts_with_all = ["resume", "data"])]
    dry_run: bool,
    /// Devices of several processes on one machine, the first for the first: 0,1,3
    /// [default: one after the other]
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        conflicts_with = "device",
        help_heading = "Device"
    )]
    devices: Vec<usize>,
    #[command(flatten)]
    device: DeviceOptions,
}

impl TrainArgs {
    pub(super) fn run(self) -> Result<ExitCode> {
        if self.data.is_none() && !self.wishes.are_none() {
            wrong_usage("--method, --minutes and --weights are for a proposal: give --data FOLDER");
        }
        let group = processes::join()?;
        if group.size() > 1 && (self.dry_run || self.data.is_some()) {
            let reason = "--dry-run and --data work in one process: start it without mpirun";
            return if_first(&*group, Err(anyhow!(reason)));
        }
        if self.dry_run {
            self.rehearse()?;
            return Ok(ExitCode::SUCCESS);
        }
        if_first(&*group, self.train(&group))
    }

    fn train(&self, group: &Group) -> Result<ExitCode> {
        let trainer = match &self.resume {
            None => self.start(group)?,
            Some(folder) => self.resume(folder.as_deref(), group)?,
        };
        processes::in_first(&**group, || {
            record(trainer.folder())?;
            logging::log_to(&trainer.folder().log_file())
        })?;
        logging::show_warnings();
        // Until here nothing would be lost: Ctrl-C just ends the program.
        let interrupted = interrupt::install()?;
        if !group.is_first() {
            return Ok(match trainer.run(&mut Silent, interrupted).outcome? {
                Outcome::Finished { .. } => ExitCode::SUCCESS,
                Outcome::Interrupted { .. } => ExitCode::from(interrupt::EXIT_CODE),
            });
        }
        let mut bars = Bars::default();
        let Ended {
            outcome, folder, ..
        } = trainer.run(&mut bars, interrupted);
        drop(bars);
        match outcome {
            Ok(Outcome::Finished { best, early }) => {
                if early {
                    tracing::info!(
                        "ended early, since the run got no better (train.early_stopping)"
                    );
                }
                report(&folder, best)?;
                Ok(ExitCode::SUCCESS)
            }
            Ok(Outcome::Interrupted {
                iteration,
                checkpoint,
            }) => {
                say_how_to_continue(&folder, iteration, &checkpoint);
                Ok(ExitCode::from(interrupt::EXIT_CODE))
            }
            Err(error) => {
                // Without a checkpoint there is nothing to continue.
                if let Ok(checkpoint) = folder.last_checkpoint()
                    && let Ok(state) = checkpoint.state()
                {
                    say_how_to_continue(&folder, state.iteration, &checkpoint);
                }
                Err(error.into())
            }
        }
    }

    fn rehearse(&self) -> Result<()> {
        let mut experiment = self.configured()?;
        let device = self.device.open(&mut experiment)?;
        let mut bars = Bars::default();
        let rehearsal = Trainer::rehearse(experiment, &device, &mut bars)?;
        drop(bars);
        print(rehearsal::describe(&rehearsal))
    }

    fn start(&self, group: &Group) -> Result<Trainer> {
        let experiment = match &self.data {
            Some(data) => self.proposed(data),
            None => self.configured(),
        };
        let mut experiment = processes::together(&**group, experiment)?;
        let device = self.open(&mut experiment, &**group)?;
        let trainer = Trainer::new_among(experiment, &device, Rc::clone(group))?;
        tracing::info!("run folder {}", trainer.folder().dir().display());
        Ok(trainer)
    }

    /// Opens the device of this process.
    fn open(&self, experiment: &mut Experiment, group: &dyn ProcessGroup) -> Result<Device> {
        group.set_timeout(experiment.distributed.timeout());
        // What the run keeps is the choice for all processes.
        experiment.device = self.device.apply(&experiment.device);
        let placed = place(&experiment.device, group, &self.devices);
        let opened = placed.and_then(|placed| Ok(device::select(&placed, &experiment.conv)?));
        processes::together(group, opened.map_err(Into::into))
    }

    /// The experiment that is proposed for a dataset, in a run folder with the dataset's name.
    fn proposed(&self, data: &Path) -> Result<Experiment> {
        let absolute = std::path::absolute(data).unwrap_or_else(|_| data.to_path_buf());
        let name = absolute.file_name().unwrap_or_default();
        let folder = self.run_dir.clone();
        let folder = folder.unwrap_or_else(|| Path::new("runs").join(name));
        // A run that lies there already is not touched.
        RunFolder::vacant(&folder)?;
        let made = folder.join("data");
        let existing = Existing::SetAside;
        let proposal = self.wishes.propose(data, &made, existing, self.device)?;
        let file = make_folder(&folder)?.join("proposal.toml");
        replace_file(&file, proposal.text.as_bytes())
            .with_context(|| format!("{}: cannot be written", file.display()))?;
        tracing::info!("configuration {}", file.display());
        let mut experiment = Experiment::load(&file, &self.overrides.set)?;
        experiment.run.dir = Some(folder);
        Ok(experiment)
    }

    /// The experiment of `--config`.
    fn configured(&self) -> Result<Experiment> {
        let Some(config) = &self.config else {
            wrong_usage(
                "--resume without a folder continues the run of --config: name one of them",
            );
        };
        let mut experiment = Experiment::load(config, &self.overrides.set)?;
        if let Some(folder) = &self.run_dir {
            experiment.run.dir = Some(folder.clone());
        }
        Ok(experiment)
    }

    fn resume(&self, folder: Option<&Path>, group: &Group) -> Result<Trainer> {
        let opened = self.stopped(folder);
        let (folder, mut experiment) = processes::together(&**group, opened)?;
        let device = self.open(&mut experiment, &**group)?;
        let trainer = Trainer::resume_among(experiment, folder, &device, Rc::clone(group))?;
        if trainer.at_end() {
            say_how_to_train_on(&trainer);
        }
        Ok(trainer)
    }

    /// The run that goes on, with its configuration.
    fn stopped(&self, folder: Option<&Path>) -> Result<(RunFolder, Experiment)> {
        let folder = match folder {
            None => RunFolder::open(self.configured()?.run_dir())?,
            Some(_) if self.config.is_some() || self.run_dir.is_some() => wrong_usage(
                "a run has its own configuration: give --resume RUN without --config and --run-dir",
            ),
            Some(folder) => RunFolder::open(folder)?,
        };
        let experiment = self.overrides.load_run(&folder)?;
        Ok((folder, experiment))
    }
}

/// An error of several processes is shown by the first of them alone: it has what the others say.
fn if_first(group: &dyn ProcessGroup, ended: Result<ExitCode>) -> Result<ExitCode> {
    match ended {
        Err(_) if !group.is_first() => Ok(ExitCode::FAILURE),
        ended => ended,
    }
}

/// Keeps the command line, for those who get the model.
fn record(folder: &RunFolder) -> Result<()> {
    let program = "aweigh".to_owned();
    let arguments = std::env::args_os().skip(1);
    let words = arguments.map(|argument| shell(Path::new(&argument)));
    let words: Vec<String> = std::iter::once(program).chain(words).collect();
    Ok(folder.append_command(&words.join(" "))?)
}

/// Ends the program with the exit code of wrong usage.
fn wrong_usage(message: &str) -> ! {
    Cli::command()
        .error(ErrorKind::ArgumentConflict, message)
        .exit()
}

fn say_how_to_continue(folder: &RunFolder, iteration: usize, checkpoint: &Checkpoint) {
    let run = shell(folder.dir());
    tracing::warn!(
        "stopped after iteration {iteration}, with a checkpoint in {}; continue with\n  \
         aweigh train --resume {run}",
        checkpoint.dir().display()
    );
}

/// A finished run has nothing to resume.
fn say_how_to_train_on(trainer: &Trainer) {
    let (done, key) = match trainer.experiment().train.length() {
        Span::Epochs(epochs) => (format!("{epochs} epochs"), "epochs"),
        Span::Iterations(iterations) => (format!("{iterations} iterations"), "iterations"),
    };
    tracing::warn!(
        "all {done} of this run are done; train on with\n  \
         aweigh train --resume {} --set train.{key}=N",
        shell(trainer.folder().dir())
    );
}

/// What came out, where it is, and what to do with it.
fn report(folder: &RunFolder, best: Option<Best>) -> Result<()> {
    let run = shell(folder.dir());
    match best {
        Some(Best {
            metric,
            value,
            iteration,
        }) => print(format_args!(
            "best {metric} {value:.3}, after iteration {iteration}\ncheckpoint {}",
            folder.best().display()
        ))?,
        None => print(format_args!("checkpoint {}", folder.last().display()))?,
    }
    print(format_args!(
        "next:\n  aweigh eval --run {run}\n  aweigh predict --run {run} PICTURES --out predictions"
    ))
}

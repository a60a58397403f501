//! `aweigh bench`: timing.

mod profile;

use anyhow::{Context, Result, ensure};
use aweigh_conv::{Algorithm, CONV_VARIABLE};
use aweigh_train::bench::{BenchMode, BenchOptions, bench};
use aweigh_train::config::{Backend, Experiment};
use clap::{Args, ValueEnum};

use crate::options::{ConfigOptions, DeviceOptions, input_size};
use crate::output::print;

const HELP: &str = "\
Examples:
  aweigh bench --config fcos_r50.toml --size 512 --batch 2 --mode train
  aweigh bench --config fcos_r50.toml --size 800x1333 --batch 1,2,8 --mode train,infer
  aweigh bench --config quickstart.toml --mode data | jq .images_per_s";

/// Time training, inference or loading; prints a line of JSON
///
/// Of several modes or sizes of a batch, each combination has its line, in the order given; the
/// program compiles a device's kernels once for all of them.
///
/// Times are milliseconds over the timed steps; each phase of a step is ended by waiting for the
/// device. Images and boxes are made up, weights are random, except that 'data' loads the training
/// set of the configuration.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct BenchArgs {
    #[command(flatten)]
    config: ConfigOptions,
    /// What is timed; several with commas
    #[arg(
        long,
        value_name = "MODE",
        default_value = "train",
        value_delimiter = ','
    )]
    mode: Vec<Mode>,
    /// Input in pixels: one side, or HEIGHTxWIDTH; ignored by 'data'
    #[arg(long, value_name = "SIZE", default_value = "512", value_parser = input_size)]
    size: [usize; 2],
    /// Images per step; several with commas
    #[arg(
        long,
        value_name = "N",
        default_value = "2",
        value_delimiter = ',',
        value_parser = at_least_one
    )]
    batch: Vec<usize>,
    /// Steps before timing starts; ignored by 'data'
    #[arg(long, value_name = "N", default_value_t = 2)]
    warmup: usize,
    /// Timed steps
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = at_least_one)]
    repeats: usize,
    /// Print the time of each convolution, normalisation, pooling and loss too (on the CPU)
    #[arg(long)]
    profile: bool,
    #[command(flatten)]
    device: DeviceOptions,
}

/// What is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// A training step: upload, backbone (with neck), head, assign, loss, backward, unscale (in f16), clip, optimizer
    Train,
    /// Inference: upload, backbone (with neck), head, postprocess
    Infer,
    /// Loading batches of the training set
    Data,
}

impl BenchArgs {
    pub(super) fn run(self) -> Result<()> {
        let mut experiment = self.config.load()?;
        if self.profile {
            self.check_profile(&experiment)?;
        }
        let device = self.device.open(&mut experiment)?;
        for mode in &self.mode {
            for batch in &self.batch {
                let report = bench(&experiment, &self.options(*mode, *batch), &device)?;
                if self.profile {
                    profile::show(&report)?;
                }
                print(serde_json::to_string(&report).context("the report is not JSON")?)?;
            }
        }
        Ok(())
    }

    fn options(&self, mode: Mode, batch: usize) -> BenchOptions {
        BenchOptions {
            mode: match mode {
                Mode::Train => BenchMode::Train,
                Mode::Infer => BenchMode::Infer,
                Mode::Data => BenchMode::Data,
            },
            size: self.size,
            batch,
            warmup: self.warmup,
            repeats: self.repeats,
            profile: self.profile,
        }
    }

    /// # Errors
    /// When nothing of what is timed would be recorded.
    fn check_profile(&self, experiment: &Experiment) -> Result<()> {
        let backend = self.device.backend(experiment);
        ensure!(
            backend == Backend::Cpu,
            "--profile times layers on the CPU, not on {backend}"
        );
        ensure!(
            !self.mode.contains(&Mode::Data),
            "--profile times the layers of a model, which --mode data does not run"
        );
        ensure!(
            Algorithm::from_environment()? != Some(Algorithm::Burn),
            "--profile times Aweigh's own layers, which {CONV_VARIABLE}=burn turns off"
        );
        Ok(())
    }
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err("expected a number of at least 1".to_owned()),
    }
}

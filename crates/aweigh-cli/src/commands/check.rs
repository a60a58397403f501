//! `aweigh check`: whether a device computes what the CPU computes.

use std::process::ExitCode;

use anyhow::{Context, Result};
use aweigh_train::agreement::{AgreementOptions, Arithmetic, Recipe, StageReport, agreement};
use aweigh_train::config::{Backend, ConvConfig, DeviceConfig};
use aweigh_train::device;
use clap::Args;

use crate::options::{DeviceOptions, input_size};
use crate::output::print;

const HELP: &str = "\
Examples:
  aweigh check --backend wgpu
  aweigh check --backend cuda --method fcos,reppoints --size 256 --channels 64
  aweigh check --backend cuda --json | jq 'select(.ok | not)'

Exit codes: 0 all agrees, 1 something differs or cannot be computed";

/// Check that a device computes what the CPU computes
///
/// A small network of each method, with weights of a fixed seed and a made-up batch of two images,
/// computes on both: its predictions, losses and gradients, and its weights after five steps of
/// training. The error is the largest difference over the largest value of the tensor (for weights:
/// over its largest change), the bound the largest error that rounding explains. The first stage
/// above its bound is where to look.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct CheckArgs {
    /// What is checked, of fcos, fovea, fovea_align, reppoints, fsaf, retina, retina_fsaf [default:
    /// all]
    #[arg(long = "method", value_name = "NAME,...", value_delimiter = ',')]
    methods: Vec<Recipe>,
    /// Input in pixels: one side, or HEIGHTxWIDTH
    #[arg(long, value_name = "SIZE", default_value = "128x160", value_parser = input_size)]
    size: [usize; 2],
    /// Width of the networks: channels of pyramid and towers, twice those of the first stage
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = channels)]
    channels: usize,
    /// How far results may be apart: f32, or tf32 for a device that multiplies with 11 bits of each
    /// number [default: tf32 on cuda, where Burn takes whichever is faster, f32 elsewhere]
    #[arg(long, value_name = "NAME")]
    arithmetic: Option<Arithmetic>,
    /// Print each stage as a line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    device: DeviceOptions,
}

impl CheckArgs {
    pub(super) fn run(self) -> Result<ExitCode> {
        let config = self.device.apply(&DeviceConfig::default());
        let device = device::select(&config, &ConvConfig::default())?;
        if config.backend == Backend::Cpu {
            tracing::warn!("this compares the CPU with itself: --backend names another device");
        }
        let options = AgreementOptions {
            size: self.size,
            channels: self.channels,
            arithmetic: (self.arithmetic).unwrap_or(Arithmetic::of(config.backend)),
        };
        let methods = match self.methods.as_slice() {
            [] => &Recipe::ALL,
            methods => methods,
        };
        let mut reports = Vec::new();
        for method in methods {
            let of_method = agreement(*method, &options, &device)?;
            of_method.iter().try_for_each(|report| self.show(report))?;
            reports.extend(of_method);
        }
        self.conclude(&reports)
    }

    fn show(&self, report: &StageReport) -> Result<()> {
        if self.json {
            return print(serde_json::to_string(report).context("the report is not JSON")?);
        }
        let StageReport {
            method,
            stage,
            error,
            bound,
            worst,
            ..
        } = report;
        let verdict = if report.ok { "ok" } else { "DIFFERS" };
        print(format_args!(
            "{method:<12} {:<10}  {error:>7.1e} of {bound:.0e}  {verdict:<7}  {worst}",
            stage.name()
        ))
    }

    /// Says which methods differ, and where first.
    fn conclude(&self, reports: &[StageReport]) -> Result<ExitCode> {
        let mut first: Vec<&StageReport> = reports.iter().filter(|report| !report.ok).collect();
        first.dedup_by_key(|report| report.method);
        if first.is_empty() {
            if !self.json {
                print("the device agrees with the CPU")?;
            }
            return Ok(ExitCode::SUCCESS);
        }
        let names = first.iter().map(|report| {
            let stage = report.stage.name();
            format!("{} ({stage}: {})", report.method, report.worst)
        });
        let names: Vec<String> = names.collect();
        tracing::error!("differs from the CPU: {}", names.join(", "));
        Ok(ExitCode::FAILURE)
    }
}

fn channels(text: &str) -> Result<usize, String> {
    const STEP: usize = AgreementOptions::CHANNEL_STEP;
    match text.parse::<usize>() {
        Ok(number) if number > 0 && number.is_multiple_of(STEP) => Ok(number),
        _ => Err(format!("expected a multiple of {STEP}")),
    }
}

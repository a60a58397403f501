//! `aweigh devices`: what there is to compute on.

use anyhow::Result;
use aweigh_train::config::Backend;
use aweigh_train::device::{self, DeviceInfo};
use clap::Args;

use crate::output::{print, table};

const HELP: &str = "\
Example:
  aweigh devices
  aweigh train --config quickstart.toml --backend wgpu --device 0";

/// List what this build and this machine can compute on
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct DevicesArgs {}

impl DevicesArgs {
    pub(super) fn run(self) -> Result<()> {
        let devices = device::available();
        let mut rows = table(&["--backend", "--device", "name"], usize::MAX);
        for device in &devices {
            let backend = device.backend.to_string();
            rows.add_row([backend, device.index.to_string(), device.name.clone()]);
        }
        print(rows)?;
        let (built, absent): (Vec<_>, Vec<_>) = Backend::ALL
            .into_iter()
            .filter(|backend| !has_device(&devices, *backend))
            .partition(|backend| device::built().contains(backend));
        print_names(
            "In this build, but without a device or its driver here",
            &built,
        )?;
        print_names(
            "Not in this build (cargo build --release --features NAME)",
            &absent,
        )
    }
}

fn has_device(devices: &[DeviceInfo], backend: Backend) -> bool {
    devices.iter().any(|device| device.backend == backend)
}

fn print_names(title: &str, backends: &[Backend]) -> Result<()> {
    if backends.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = backends.iter().map(|backend| backend.name()).collect();
    print(format_args!("{title}: {}", names.join(", ")))
}

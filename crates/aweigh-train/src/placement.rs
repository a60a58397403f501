//! Which device each of several processes computes on.

use aweigh_distributed::ProcessGroup;

use crate::TrainError;
use crate::config::{Backend, DeviceConfig};
use crate::device::DeviceError;

/// The device of this process: of a GPU backend the one with the number of the process on its
/// machine, counted from the configured one on, or the one of `devices` in that place. Processes on
/// CPUs share the cores that they may use, unless the configuration has a number of threads.
///
/// # Errors
///
/// When `devices` has fewer devices than the machine has processes. Whether there is such a device is
/// seen when it is opened.
pub fn place(
    config: &DeviceConfig,
    group: &dyn ProcessGroup,
    devices: &[usize],
) -> Result<DeviceConfig, TrainError> {
    let place = group.place();
    let neighbours = cores_of_neighbours(group);
    if !devices.is_empty() && devices.len() < place.local_size {
        return Err(TrainError::Device(DeviceError::TooFew {
            devices: devices.len(),
            processes: place.local_size,
            host: place.host,
        }));
    }
    let mut placed = config.clone();
    if let Some(device) = devices.get(place.local_rank) {
        placed.index = *device;
    } else if config.backend != Backend::Cpu {
        placed.index += place.local_rank;
    }
    if placed.threads == 0 && group.size() > 1 {
        placed.threads = share_of_cores(neighbours);
        warn_of_idle_cores(placed.threads, place.local_size);
    }
    Ok(placed)
}

/// How many processes of this machine may use the very cores that this one may.
fn cores_of_neighbours(group: &dyn ProcessGroup) -> usize {
    let own = format!("{}\n{}", group.place().host, allowed_cores());
    let all = group.gather(own.as_bytes());
    all.iter().filter(|cores| **cores == own.as_bytes()).count()
}

/// The cores that the system lets this process use, as it writes them; empty where it does not say.
fn allowed_cores() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mut lines = status.lines();
    let cores = lines.find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    cores.unwrap_or_default().trim().to_owned()
}

fn usable_cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn share_of_cores(neighbours: usize) -> usize {
    (usable_cores() / neighbours).max(1)
}

/// Launchers bind each process to a core or a socket unless they are told otherwise.
fn warn_of_idle_cores(threads: usize, processes: usize) {
    let online = std::fs::read_to_string("/sys/devices/system/cpu/online").unwrap_or_default();
    let cores = count_cores(online.trim());
    if threads * processes < cores && allowed_cores() != online.trim() {
        tracing::warn!(
            "{processes} processes with {threads} CPU threads each leave some of {cores} cores idle, \
             since each may use {} of them only; `mpirun --bind-to none` shares all",
            usable_cores()
        );
    }
}

/// The number of cores in a list such as `0-3,8`; 0 where it is something else.
fn count_cores(list: &str) -> usize {
    let range = |part: &str| -> Option<usize> {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        Some((last + 1).saturating_sub(first))
    };
    let counts: Option<Vec<usize>> = list.split(',').map(range).collect();
    counts.map_or(0, |counts| counts.iter().sum())
}

#[cfg(test)]
mod tests {
    use super::*;
    use aweigh_distributed::Alone;

    #[test]
    fn lists_of_cores_are_counted() {
        let check = |list: &str, expected| assert_eq!(count_cores(list), expected, "{list}");
        check("0", 1);
        check("0-3,8", 5);
        check("", 0);
        check("all", 0);
    }

    #[test]
    fn a_process_alone_keeps_its_device_or_takes_the_listed_one() {
        let config = DeviceConfig {
            backend: Backend::Wgpu,
            index: 1,
            threads: 0,
        };
        assert_eq!(place(&config, &Alone, &[]).unwrap(), config);
        assert_eq!(place(&config, &Alone, &[3]).unwrap().index, 3);
    }
}

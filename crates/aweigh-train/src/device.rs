//! Devices: what this build and this machine have, and the choice of one.
//!
//! A device is checked before anything is computed on it: Burn opens devices lazily, and a missing
//! one would panic at the first operation.

mod toolkit;

use std::fmt;
use std::sync::OnceLock;

use aweigh_conv::{Algorithm, InstructionSet, UnknownAlgorithm, UnknownInstructionSet};
use burn::tensor::{Device, DeviceType};
use thiserror::Error;

use crate::config::{Backend, ConvConfig, DeviceConfig};

/// A device that can be chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceInfo {
    /// Its backend.
    pub backend: Backend,
    /// Its number, for `--device`.
    pub index: usize,
    /// What it is called.
    pub name: String,
}

impl fmt::Display for DeviceInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({})", self.backend, self.index, self.name)
    }
}

/// Why a device cannot be used.
#[derive(Debug, Error)]
pub enum DeviceError {
    /// The program was built without this backend.
    #[error(
        "this build has no {backend} backend: build with `--features {backend}`; \
         it has {}", list(.available)
    )]
    NotBuilt {
        /// What was asked for.
        backend: Backend,
        /// What can be used.
        available: Vec<DeviceInfo>,
    },
    /// The machine has no such device.
    #[error("there is no {backend} device {index} on this machine; it has {}", list(.available))]
    Absent {
        /// What was asked for.
        backend: Backend,
        /// The number that was asked for.
        index: usize,
        /// What can be used.
        available: Vec<DeviceInfo>,
    },
    /// The device is there but does not start.
    #[error("{backend} device {index} cannot be opened: {reason}; this machine has {}",
        list(.available))]
    Unusable {
        /// What was asked for.
        backend: Backend,
        /// The number that was asked for.
        index: usize,
        /// What the driver says.
        reason: String,
        /// What can be used.
        available: Vec<DeviceInfo>,
    },
    /// A machine has more processes than devices were listed.
    #[error(
        "--devices lists {devices} devices for the {processes} processes on {host}: list one for each"
    )]
    TooFew {
        /// How many are listed.
        devices: usize,
        /// How many processes there are on the machine.
        processes: usize,
        /// The machine.
        host: String,
    },
    /// The environment asks for convolutions of an unknown kind.
    #[error(transparent)]
    Convolution(#[from] UnknownAlgorithm),
    /// The environment asks for instructions that the machine does not have.
    #[error(transparent)]
    Instructions(#[from] UnknownInstructionSet),
    /// The number of threads was fixed before.
    #[error("cannot use {requested} CPU threads: {current} were started before")]
    Threads {
        /// What was asked for.
        requested: usize,
        /// What is running.
        current: usize,
    },
}

fn list(available: &[DeviceInfo]) -> String {
    let names: Vec<String> = available.iter().map(DeviceInfo::to_string).collect();
    names.join(", ")
}

/// A choice on the command line or in the environment, on top of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DeviceOverrides {
    /// `--backend` or `AWEIGH_BACKEND`.
    pub backend: Option<Backend>,
    /// `--device` or `AWEIGH_DEVICE`.
    pub index: Option<usize>,
    /// `--threads` or `AWEIGH_THREADS`.
    pub threads: Option<usize>,
}

impl DeviceOverrides {
    /// `config` with these choices in place of its own.
    ///
    /// Another backend without a number means that backend's first device.
    pub fn apply(&self, config: &DeviceConfig) -> DeviceConfig {
        let backend = self.backend.unwrap_or(config.backend);
        let same = backend == config.backend;
        DeviceConfig {
            backend,
            index: self.index.unwrap_or(if same { config.index } else { 0 }),
            threads: self.threads.unwrap_or(config.threads),
        }
    }
}

/// Opens the device of a configuration, without autodiff, and sets the number of CPU threads and how
/// the CPU convolves.
///
/// # Errors
///
/// When the build has no such backend, the machine no such device, the device does not start,
/// another number of threads runs already, or the environment names convolutions or instructions
/// that there are not. Every message lists what there is.
pub fn select(config: &DeviceConfig, conv: &ConvConfig) -> Result<Device, DeviceError> {
    set_threads(config.threads)?;
    let set = InstructionSet::chosen()?;
    let algorithm = match Algorithm::from_environment()? {
        Some(forced) => forced,
        None => conv.algorithm.into(),
    };
    aweigh_conv::set_algorithm(algorithm);
    if config.backend == Backend::Cpu && algorithm != Algorithm::Fast {
        tracing::info!("convolutions on the CPU: {algorithm}");
    }
    tracing::debug!("instructions on the CPU: {set}");
    let DeviceConfig { backend, index, .. } = *config;
    let Some(filter) = device_type(backend) else {
        let available = available();
        return Err(DeviceError::NotBuilt { backend, available });
    };
    let mut devices = Device::enumerate(filter).into_vec();
    if index >= devices.len() {
        let available = available();
        return Err(DeviceError::Absent {
            backend,
            index,
            available,
        });
    }
    let device = devices.swap_remove(index);
    let complete = match backend {
        Backend::Cuda => toolkit::missing(std::env::var_os("CUDA_PATH").map(Into::into)),
        _ => None,
    };
    let opened = complete.map_or_else(|| open(&device).map(|_| ()), Err);
    opened.map_err(|reason| DeviceError::Unusable {
        backend,
        index,
        reason,
        available: available(),
    })?;
    Ok(device)
}

/// Every device that this build can use on this machine.
pub fn available() -> Vec<DeviceInfo> {
    let mut infos = Vec::new();
    for backend in Backend::ALL {
        let Some(filter) = device_type(backend) else {
            continue;
        };
        let devices = Device::enumerate(filter).into_vec();
        infos.extend(
            devices
                .iter()
                .enumerate()
                .map(|(index, device)| DeviceInfo {
                    backend,
                    index,
                    name: name(backend, device),
                }),
        );
    }
    infos
}

/// Backends of this build.
pub fn built() -> Vec<Backend> {
    let all = Backend::ALL.into_iter();
    all.filter(|backend| device_type(*backend).is_some())
        .collect()
}

/// Whether tensors of `device` lie in host memory, where reading them costs nothing.
///
/// There the optimiser and clipping have a form of their own, which passes over their values once;
/// each tensor operation is a pass of its own that fills newly allocated memory. With tensor
/// operations alone the two take twice as long, 2 to 4 % of a step of FCOS on ResNet-18 at 2 x 224
/// px and 1 % of FSAF on ResNet-50 at 2 x 512 px (`aweigh bench`, two threads).
pub(crate) fn is_host(device: &Device) -> bool {
    *device == Device::flex()
}

/// A device in a sentence.
pub(crate) fn label(device: &Device) -> String {
    if is_host(device) {
        return "the CPU".to_owned();
    }
    open(device).unwrap_or_else(|_| format!("{device:?}"))
}

fn device_type(backend: Backend) -> Option<DeviceType> {
    match backend {
        Backend::Cpu => Some(DeviceType::Flex),
        #[cfg(feature = "wgpu")]
        Backend::Wgpu => Some(DeviceType::Wgpu),
        #[cfg(feature = "vulkan")]
        Backend::Vulkan => Some(DeviceType::Vulkan),
        #[cfg(feature = "metal")]
        Backend::Metal => Some(DeviceType::Metal),
        #[cfg(feature = "cuda")]
        Backend::Cuda => Some(DeviceType::Cuda),
        #[cfg(feature = "rocm")]
        Backend::Rocm => Some(DeviceType::Rocm),
        #[allow(unreachable_patterns)]
        _ => None,
    }
}

fn name(backend: Backend, device: &Device) -> String {
    match backend {
        Backend::Cpu => match std::thread::available_parallelism() {
            Ok(cores) if cores.get() == 1 => "1 core".to_owned(),
            Ok(cores) => format!("{cores} cores"),
            Err(_) => "processor".to_owned(),
        },
        _ => open(device).unwrap_or_else(|reason| format!("cannot be opened: {reason}")),
    }
}

/// Starts the device, which Burn does not do before its first operation, and gives its name.
fn open(device: &Device) -> Result<String, String> {
    if is_host(device) {
        return Ok("processor".to_owned());
    }
    // A driver that fails panics on the thread that serves the device, and again here.
    let opened = std::panic::catch_unwind(|| identity(device));
    opened.map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or(panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        text.unwrap_or_else(|| "its driver failed".to_owned())
    })
}

#[cfg(any(feature = "wgpu", feature = "cuda", feature = "rocm"))]
fn identity(device: &Device) -> String {
    match device.identity() {
        Some(identity) if identity.physical.is_none() => format!("{}, software", identity.name),
        Some(identity) => identity.name,
        None => format!("{device:?}"),
    }
}

#[cfg(not(any(feature = "wgpu", feature = "cuda", feature = "rocm")))]
fn identity(device: &Device) -> String {
    format!("{device:?}")
}

/// Sets the size of the process's thread pool; 0 leaves the default of one thread per core.
///
/// The pool starts with whatever uses it first, reading annotations included: choose before that.
///
/// # Errors
///
/// When another number of threads runs already.
pub fn set_threads(threads: usize) -> Result<(), DeviceError> {
    static CHOSEN: OnceLock<usize> = OnceLock::new();
    if threads == 0 {
        return Ok(());
    }
    let chosen = *CHOSEN.get_or_init(|| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        match pool.build_global() {
            Ok(()) => threads,
            Err(_) => rayon::current_num_threads(),
        }
    });
    if chosen == threads {
        return Ok(());
    }
    Err(DeviceError::Threads {
        requested: threads,
        current: chosen,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(backend: Backend, index: usize) -> DeviceConfig {
        DeviceConfig {
            backend,
            index,
            threads: 0,
        }
    }

    #[test]
    fn the_processor_is_always_there() {
        assert_eq!(
            select(&config(Backend::Cpu, 0), &ConvConfig::default()).unwrap(),
            Device::flex()
        );
        let first = &available()[0];
        assert_eq!((first.backend, first.index), (Backend::Cpu, 0));
    }

    #[test]
    fn what_is_absent_is_an_error_that_lists_what_is_there() {
        let message = select(&config(Backend::Cpu, 3), &ConvConfig::default())
            .unwrap_err()
            .to_string();
        assert!(
            message.starts_with("there is no cpu device 3 on this machine"),
            "{message}"
        );
        assert!(message.contains("it has cpu 0 ("), "{message}");
        let missing = Backend::ALL.into_iter().find(|b| !built().contains(b));
        if let Some(backend) = missing {
            let message = select(&config(backend, 0), &ConvConfig::default())
                .unwrap_err()
                .to_string();
            assert!(
                message.contains(&format!("--features {backend}")),
                "{message}"
            );
            assert!(message.contains("cpu 0 ("), "{message}");
        }
    }

    #[test]
    fn overrides_replace_the_configuration() {
        let check = |backend, index, expected: (Backend, usize)| {
            let overrides = DeviceOverrides {
                backend,
                index,
                threads: None,
            };
            let got = overrides.apply(&config(Backend::Wgpu, 2));
            assert_eq!((got.backend, got.index), expected);
        };
        check(None, None, (Backend::Wgpu, 2));
        check(Some(Backend::Wgpu), None, (Backend::Wgpu, 2));
        check(Some(Backend::Cpu), None, (Backend::Cpu, 0));
        check(None, Some(1), (Backend::Wgpu, 1));
    }
}

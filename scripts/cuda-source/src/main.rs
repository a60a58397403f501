//! Writes the CUDA C++ source of every kernel of the deformable convolution.
//!
//! ```text
//! cuda-source FOLDER
//! ```
//!
//! CubeCL's C++ compiler needs neither a GPU nor the CUDA toolkit, only a description of the
//! device. Every variant goes to `FOLDER/sm_NN/NAME.cu`; `scripts/check_cuda_kernels.py` compiles
//! them.

mod device;
mod memory;
mod variants;
mod writer;

// Kernels are written against CubeCL alone, so they are taken as they are, without Burn.
#[path = "../../../crates/aweigh-deform-conv/src/cube/kernels/mod.rs"]
mod kernels;

use std::path::Path;
use std::process::ExitCode;

use device::Architecture;
use writer::Writer;

fn main() -> ExitCode {
    let Some(folder) = std::env::args_os().nth(1) else {
        eprintln!("usage: cuda-source FOLDER");
        return ExitCode::FAILURE;
    };
    let failed: usize = Architecture::ALL
        .into_iter()
        .map(|architecture| {
            let mut writer = Writer::new(architecture, Path::new(&folder));
            variants::write_all(&mut writer);
            writer.failed
        })
        .sum();
    match failed {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

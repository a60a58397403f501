//! From a kernel to a file.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cubecl::ir::{DeviceProperties, TargetProperties};
use cubecl::prelude::{CubeKernel, ExecutionMode};
use cubecl::{Compiler, define_kernel};
use cubecl_cpp::shared::CppCompiler;
use cubecl_cpp::target::Cuda;

use crate::device::Architecture;

/// Writes the sources of one architecture.
pub struct Writer {
    pub architecture: Architecture,
    pub device: Arc<DeviceProperties>,
    pub target: Arc<TargetProperties>,
    folder: PathBuf,
    /// Kernels that could not be compiled or written.
    pub failed: usize,
}

impl Writer {
    pub fn new(architecture: Architecture, folder: &Path) -> Self {
        Self {
            architecture,
            device: Arc::new(architecture.properties()),
            target: Arc::default(),
            folder: folder.join(format!("sm_{}", architecture.version)),
            failed: 0,
        }
    }

    /// Compiles a kernel to CUDA C++ and writes it to `NAME.cu`.
    pub fn write(&mut self, name: &str, kernel: impl CubeKernel) {
        if let Err(error) = self.try_write(name, &kernel) {
            eprintln!("sm_{} {name}: {error}", self.architecture.version);
            self.failed += 1;
        }
    }

    fn try_write(&self, name: &str, kernel: &impl CubeKernel) -> Result<(), Box<dyn Error>> {
        let mut definition = define_kernel(kernel).map_err(|error| format!("{error:?}"))?;
        // `create_dummy_kernel` asks for bounds checks; Aweigh launches without.
        definition.settings.execution_mode = ExecutionMode::Unchecked;
        let source = CppCompiler::<Cuda>::default()
            .compile(definition, &self.architecture.options())
            .map_err(|error| format!("{error:?}"))?;
        fs::create_dir_all(&self.folder)?;
        let shared = source.shared_memory_size;
        let text = format!("// dynamic shared memory: {shared} bytes\n{source}");
        fs::write(self.folder.join(format!("{name}.cu")), text)?;
        Ok(())
    }
}

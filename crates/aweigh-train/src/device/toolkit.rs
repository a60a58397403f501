//! What CUDA's kernels need besides a driver.
//!
//! Kernels are compiled on the machine that runs them. Exponentials and logarithms come from NVIDIA's
//! libdevice, a file of the CUDA toolkit; without it the first kernel that has one would panic.

use std::path::{Path, PathBuf};

/// Where CubeCL looks for a toolkit when `CUDA_PATH` is not set.
const USUAL: [&str; 4] = ["/usr/local/cuda", "/opt/cuda", "/usr/lib/cuda", "/usr"];

/// What is missing, if libdevice is.
///
/// `cuda_path` is the value of `CUDA_PATH`.
pub(super) fn missing(cuda_path: Option<PathBuf>) -> Option<String> {
    let libdevice = |root: &Path| root.join("nvvm/libdevice/libdevice.10.bc").is_file();
    let (found, place) = match cuda_path {
        Some(path) => (libdevice(&path), format!("CUDA_PATH is {}", path.display())),
        None => (
            USUAL.iter().any(|root| libdevice(Path::new(root))),
            "CUDA_PATH is not set".to_owned(),
        ),
    };
    (!found).then(|| {
        format!(
            "its kernels need nvvm/libdevice/libdevice.10.bc of the CUDA toolkit, and {place}; set it \
             to the folder of a toolkit, or to nvidia/cuda_nvcc in that of \
             `pip install --target FOLDER nvidia-cuda-nvcc-cu12`"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_without_libdevice_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let message = missing(Some(folder.path().into())).expect("nothing is there");
        assert!(message.contains(&format!("CUDA_PATH is {}", folder.path().display())));
        let library = folder.path().join("nvvm/libdevice");
        std::fs::create_dir_all(&library).expect("a folder");
        std::fs::write(library.join("libdevice.10.bc"), "").expect("a file");
        assert_eq!(missing(Some(folder.path().into())), None);
    }
}

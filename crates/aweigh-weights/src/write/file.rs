//! Writing a model file.
//!
//! The header is written here: the crate keeps metadata in a hash map, whose order changes from run
//! to run, and one file should have one checksum.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process;

use half::f16;
use safetensors::Dtype;
use safetensors::tensor::TensorInfo;
use serde::Serialize;
use serde_json::{Map, Value};
use thiserror::Error;

use super::ModelMetadata;
use crate::Tensor;

/// Elements of a written file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Precision {
    /// 32 bits, as they are.
    #[default]
    F32,
    /// 16 bits, rounded to the nearest.
    F16,
}

/// What to do with a file that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overwrite {
    /// It is replaced.
    Yes,
    /// It is an error.
    No,
}

/// Tensors and what is known about them.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelFile {
    /// The tensors, under the names of the metadata's layout.
    pub tensors: BTreeMap<String, Tensor>,
    /// What is known about them.
    pub metadata: ModelMetadata,
    /// Elements of the file.
    pub precision: Precision,
}

/// Why a model file was not written.
#[derive(Debug, Error)]
pub enum WriteError {
    /// The file is there already.
    #[error("{path}: is there already and is not replaced", path = .path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The system does not write it.
    #[error("{path}: cannot write the weights: {source}", path = .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A value is too large for 16 bits.
    #[error("{path}: `{name}` has the value {value}, beyond the 65504 of 16 bits; write 32 bits", path = .path.display())]
    Overflow {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Its value.
        value: f32,
    },
    /// A tensor has no values.
    #[error("{path}: `{name}` holds integers, which are not written", path = .path.display())]
    Integer {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
    },
}

/// Writes a model file of safetensors: to a temporary file beside it, which is renamed when it is on
/// the disk. The same model gives the same bytes.
///
/// # Errors
///
/// When the file is there and is not to be replaced, cannot be written, or its values do not fit its
/// elements. Then nothing is left of it.
pub fn write_model(path: &Path, model: &ModelFile, overwrite: Overwrite) -> Result<(), WriteError> {
    if overwrite == Overwrite::No && path.exists() {
        return Err(WriteError::Exists { path: path.into() });
    }
    check_values(path, model)?;
    let failed = |source| WriteError::Io {
        path: path.into(),
        source,
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}.{}.tmp", process::id()));
    let written = write(&temporary, model).and_then(|()| fs::rename(&temporary, path));
    if let Err(error) = written {
        // The write has failed already; a rest that cannot be removed adds nothing to that.
        let _ = fs::remove_file(&temporary);
        return Err(failed(error));
    }
    sync_parent(path).map_err(failed)
}

fn check_values(path: &Path, model: &ModelFile) -> Result<(), WriteError> {
    for (name, tensor) in &model.tensors {
        let (path, name) = (path.to_owned(), name.clone());
        let Some(values) = tensor.floats() else {
            return Err(WriteError::Integer { path, name });
        };
        let overflows = |value: &&f32| value.is_finite() && f16::from_f32(**value).is_infinite();
        if model.precision == Precision::F16
            && let Some(value) = values.iter().find(overflows)
        {
            let value = *value;
            return Err(WriteError::Overflow { path, name, value });
        }
    }
    Ok(())
}

fn write(path: &Path, model: &ModelFile) -> io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    let header = header(model)?;
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(&header)?;
    for tensor in model.tensors.values() {
        let values = tensor.floats().unwrap_or_default();
        for value in values {
            match model.precision {
                Precision::F32 => file.write_all(&value.to_le_bytes())?,
                Precision::F16 => file.write_all(&f16::from_f32(*value).to_le_bytes())?,
            }
        }
    }
    file.into_inner()?.sync_all()
}

/// Metadata, then the tensors in the order of their names, filled up with spaces to a multiple of 8
/// bytes.
fn header(model: &ModelFile) -> io::Result<Vec<u8>> {
    let (dtype, size) = match model.precision {
        Precision::F32 => (Dtype::F32, 4),
        Precision::F16 => (Dtype::F16, 2),
    };
    let mut entries = Map::new();
    entries.insert("__metadata__".to_owned(), json(&model.metadata.to_map())?);
    let mut start = 0;
    for (name, tensor) in &model.tensors {
        let end = start + size * tensor.floats().unwrap_or_default().len();
        let info = TensorInfo {
            dtype,
            shape: tensor.shape.clone(),
            data_offsets: (start, end),
        };
        entries.insert(name.clone(), json(&info)?);
        start = end;
    }
    let mut header = serde_json::to_vec(&entries)?;
    header.resize(header.len().next_multiple_of(8), b' ');
    Ok(header)
}

fn json(value: &impl Serialize) -> io::Result<Value> {
    Ok(serde_json::to_value(value)?)
}

/// Makes a rename to `path` survive a loss of power, where the system has such a thing.
fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    if cfg!(unix) {
        File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    Ok(())
}

//! Reading: what kind of file it is, its tensors, and what else is in it.

mod container;
mod foreign;
mod pickle;
mod safe;
mod torch;
mod zipped;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde_json::Value;
use sha2::{Digest, Sha256};
use thiserror::Error;

pub use foreign::Foreign;

use crate::Tensor;
use foreign::Kind;

/// How many bytes tensors may unpack to for each byte of their file. `torch.save` and safetensors
/// store values as they are, so that the sum is the file's length; tensors that share their values
/// (an expanded buffer, one head under several names) and compressed archives need some more.
const EXPANSION: u64 = 8;

/// What small files may unpack to whatever their length: 1 MiB.
const EXPANSION_FREE: u64 = 1 << 20;

/// Why a file of weights could not be read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The file is missing, or the system does not let it be read.
    #[error("{path}: cannot read the weights: {source}", path = .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file is something else than weights that can be read.
    #[error("{path}: {foreign}", path = .path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What it is, with what to do.
        foreign: Foreign,
    },
    /// The file contradicts itself or ends early.
    #[error("{path}: damaged file of weights: {problem}", path = .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The place, what was found and what was expected.
        problem: String,
    },
    /// The file is of a kind that only an attack has.
    #[error("{path}: refused: {problem}", path = .path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// What it holds.
        problem: String,
    },
}

/// Why, without the file: the readers of each format know no path.
#[derive(Debug)]
pub(crate) enum Trouble {
    Io(io::Error),
    Foreign(Foreign),
    Damaged(String),
    Refused(String),
}

impl Trouble {
    fn at(self, path: &Path) -> ReadError {
        let path = path.to_owned();
        match self {
            Self::Io(source) => ReadError::Io { path, source },
            Self::Foreign(foreign) => ReadError::Foreign { path, foreign },
            Self::Damaged(problem) => ReadError::Damaged { path, problem },
            Self::Refused(problem) => ReadError::Refused { path, problem },
        }
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A tensor of a file that is not one of the model's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beside {
    /// Its path through the file's dictionaries.
    pub name: String,
    /// Why it is not the model's.
    pub reason: String,
}

/// What a file of weights holds.
#[derive(Debug, Clone)]
pub struct WeightsFile {
    /// Where it was read from.
    pub path: PathBuf,
    /// The tensors of the model by name, without the names of the dictionaries around them.
    pub tensors: BTreeMap<String, Tensor>,
    /// The dictionary that they were taken from (`state_dict`), if it is not the file's outermost.
    pub container: Option<String>,
    /// Tensors in other dictionaries: the optimiser's, other copies of the model. Their values are
    /// not read.
    pub beside: Vec<Beside>,
    /// `__metadata__` of a safetensors file.
    pub metadata: BTreeMap<String, String>,
    /// Everything in a file of PyTorch that is no tensor, such as `meta` of mmdetection. Objects of
    /// Python that are no plain data are `{"python": TYPE}`, bytes their number.
    pub python: Option<Value>,
    /// SHA-256 of the file, in hexadecimal digits.
    pub sha256: String,
}

/// What the reader of a format gives.
#[derive(Debug, Default)]
pub(crate) struct Content {
    tensors: BTreeMap<String, Tensor>,
    container: Option<String>,
    beside: Vec<Beside>,
    metadata: BTreeMap<String, String>,
    python: Option<Value>,
}

impl WeightsFile {
    /// Reads a file of PyTorch (`.pth`, `.pt`, `.bin`, `.ckpt`, `.pkl`: zip, legacy, tar) or
    /// safetensors. The content says which, not the name.
    ///
    /// Of nested dictionaries the model's is taken: the first of `state_dict`,
    /// `model_state_dict`, `model_state`, `model`, `net`, `network`, `module`, `weights`, `params`,
    /// `teacher`, `student`, `ema_state_dict`, `state_dict_ema`, `model_ema`, `ema`, `params_ema`
    /// that holds tensors, and in it again. What lies in others is [`beside`](Self::beside).
    ///
    /// Nothing in the file is run. A pickle that would run code in Python is refused where it
    /// shows; objects of other classes are data without meaning here.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, is something else, is damaged, or claims more tensors than it
    /// can hold (more than 8 times its length and 1 MiB).
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        let read = || {
            let kind = foreign::kind(path)?;
            let content = match kind {
                Kind::Torch => torch::read(path)?,
                Kind::Safetensors => safe::read(path)?,
            };
            if content.tensors.is_empty() {
                return Err(Trouble::Foreign(Foreign::NoTensors));
            }
            Ok((content, sha256(path)?))
        };
        let (content, sha256) = read().map_err(|trouble: Trouble| trouble.at(path))?;
        Ok(Self {
            path: path.into(),
            tensors: content.tensors,
            container: content.container,
            beside: content.beside,
            metadata: content.metadata,
            python: content.python,
            sha256,
        })
    }

    /// The tensors that hold infinite values or ones that are no number, with how many.
    pub fn non_finite(&self) -> Vec<(&str, usize)> {
        let counted = self.tensors.iter();
        let counted = counted.map(|(name, tensor)| (name.as_str(), tensor.non_finite()));
        counted.filter(|(_, count)| *count > 0).collect()
    }
}

/// Whether tensors of `claimed` bytes can come from a file of `length` bytes.
fn check_claim(what: &str, claimed: u64, length: u64) -> Result<(), Trouble> {
    let allowed = length
        .saturating_mul(EXPANSION)
        .saturating_add(EXPANSION_FREE);
    if claimed <= allowed {
        return Ok(());
    }
    Err(Trouble::Refused(format!(
        "{what} claims {claimed} bytes, the file has {length}; at most {EXPANSION} times its length \
         and 1 MiB are read"
    )))
}

fn sha256(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    // Large enough that reading costs little beside hashing.
    let mut buffer = vec![0; 1 << 18];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            read => hash.update(&buffer[..read]),
        }
    }
    Ok(format!("{:x}", hash.finalize()))
}

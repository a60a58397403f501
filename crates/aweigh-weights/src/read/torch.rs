//! Files of `torch.save`.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use pytorch_reader::{DType, PickleError, PickleValue, PytorchError, PytorchReader};

use super::container::{beside, container};
use super::pickle::{holds_numpy, hostile, hostile_start, to_json};
use super::{Content, Foreign, Trouble, check_claim, zipped};
use crate::Tensor;
use crate::tensor::Element;

/// Reads a file of `torch.save`.
///
/// # Errors
///
/// When the file is damaged, hostile or holds no dictionary of tensors.
pub(super) fn read(path: &Path) -> Result<Content, Trouble> {
    let start = start(path)?;
    if start.starts_with(b"PK") {
        zipped::check(path)?;
    }
    if let Some(global) = hostile_start(&start) {
        return Err(runs_code(&global));
    }
    let root = PytorchReader::read_pickle_data(path, None).map_err(trouble)?;
    if let Some(global) = hostile(&root) {
        return Err(runs_code(global));
    }
    let PickleValue::Dict(dict) = &root else {
        return Err(Trouble::Foreign(Foreign::Object(kind(&root))));
    };
    let tensors = PytorchReader::new(path).map_err(trouble)?.into_tensors();
    if tensors.is_empty() && holds_numpy(&root) {
        return Err(Trouble::Foreign(Foreign::PickledNumPy));
    }
    let mut content = collect(
        tensors,
        &container(dict).join("."),
        File::open(path)?.metadata()?.len(),
    )?;
    content.python = to_json(root);
    Ok(content)
}

fn runs_code(global: &str) -> Trouble {
    Trouble::Refused(format!(
        "the pickle calls `{global}`, which runs code when Python loads the file; nothing of it was \
         run, and no weights are taken from it"
    ))
}

/// Enough of a file to know its container, or the first call of a pickle of text.
fn start(path: &Path) -> io::Result<Vec<u8>> {
    const LOOKED_AT: u64 = 128;
    let mut start = Vec::new();
    File::open(path)?.take(LOOKED_AT).read_to_end(&mut start)?;
    Ok(start)
}

/// The tensors below `container`, read, and the names of the others.
fn collect(
    tensors: HashMap<String, pytorch_reader::Tensor>,
    container: &str,
    length: u64,
) -> Result<Content, Trouble> {
    let inside = |name: &str| match container {
        "" => Some(name.to_owned()),
        _ => name
            .strip_prefix(container)?
            .strip_prefix('.')
            .map(str::to_owned),
    };
    let mut content = Content {
        container: (!container.is_empty()).then(|| container.to_owned()),
        ..Content::default()
    };
    let mut model = Vec::new();
    for (path, tensor) in tensors {
        match inside(&path) {
            Some(name) => model.push((name, tensor)),
            None => content.beside.push(beside(&path, container)),
        }
    }
    content.beside.sort_by(|a, b| a.name.cmp(&b.name));
    let bytes = model.iter().map(|(_, tensor)| tensor.byte_len() as u64);
    let claimed = bytes.fold(0, u64::saturating_add);
    check_claim("the sum of the tensors", claimed, length)?;
    for (name, tensor) in model {
        content.tensors.insert(name, read_tensor(&tensor)?);
    }
    Ok(content)
}

fn read_tensor(tensor: &pytorch_reader::Tensor) -> Result<Tensor, Trouble> {
    let element = match tensor.dtype() {
        DType::F64 => Element::F64,
        DType::F32 => Element::F32,
        DType::F16 => Element::F16,
        DType::BF16 => Element::Bf16,
        _ => Element::Integer,
    };
    let shape = tensor.shape().to_vec();
    if element == Element::Integer {
        let values = element.decode(&[]);
        return Ok(Tensor { shape, values });
    }
    let mut bytes = tensor
        .read()
        .map_err(|error| Trouble::Damaged(error.to_string()))?;
    // The reader gives the machine's own order.
    if cfg!(target_endian = "big") {
        bytes
            .chunks_exact_mut(element.size())
            .for_each(<[u8]>::reverse);
    }
    let values = element.decode(&bytes);
    Ok(Tensor { shape, values })
}

/// The type of an outermost object that is no dictionary.
fn kind(value: &PickleValue) -> String {
    match value {
        PickleValue::None => "None",
        PickleValue::Bool(_) => "bool",
        PickleValue::Int(_) => "int",
        PickleValue::Float(_) => "float",
        PickleValue::String(_) => "str",
        PickleValue::List(_) => "list",
        PickleValue::Dict(_) => "dict",
        PickleValue::Bytes(_) => "bytes",
        PickleValue::Unsupported(kind) => kind,
    }
    .to_owned()
}

/// What the reader says, as what it means here.
fn trouble(error: PytorchError) -> Trouble {
    match error {
        PytorchError::Io(error) if error.raw_os_error().is_some() => Trouble::Io(error),
        PytorchError::Pickle(PickleError::UnsupportedType(kind)) => Trouble::Damaged(format!(
            "tensors inside a `{kind}` cannot be read; in Python, save `model.state_dict()`"
        )),
        PytorchError::Pickle(PickleError::Io(error))
            if error.kind() == io::ErrorKind::UnexpectedEof =>
        {
            Trouble::Damaged(format!(
                "the pickle ends early ({error}); is the download complete?"
            ))
        }
        other => Trouble::Damaged(other.to_string()),
    }
}

//! Files of safetensors.
//!
//! The header is read here, tensor by tensor: the crate keeps the last of two entries of one name,
//! and wants the whole file in memory.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

use super::{Content, Trouble};
use crate::Tensor;
use crate::tensor::Element;

/// Longest header that the format allows.
const MAX_HEADER: u64 = 100_000_000;

/// The header of a file.
#[derive(Debug, Default)]
struct Header {
    tensors: Vec<(String, TensorInfo)>,
    metadata: BTreeMap<String, String>,
}

/// Reads a file of safetensors.
///
/// # Errors
///
/// When the file is damaged or has types of elements that are no weights.
pub(super) fn read(path: &Path) -> Result<Content, Trouble> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut file = BufReader::new(file);
    let (header, data_start) = read_header(&mut file, length)?;
    check_extents(&header.tensors, length - data_start)?;
    let mut tensors = BTreeMap::new();
    for (name, info) in header.tensors {
        let element = element(&name, info.dtype)?;
        let (start, end) = info.data_offsets;
        let values = if element == Element::Integer {
            element.decode(&[])
        } else {
            file.seek(SeekFrom::Start(data_start + start as u64))?;
            // The extents were checked against the file's length.
            let mut bytes = vec![0; end - start];
            file.read_exact(&mut bytes)?;
            element.decode(&bytes)
        };
        let shape = info.shape;
        tensors.insert(name, Tensor { shape, values });
    }
    Ok(Content {
        tensors,
        metadata: header.metadata,
        ..Content::default()
    })
}

/// The header, and where the data start.
fn read_header(file: &mut impl Read, length: u64) -> Result<(Header, u64), Trouble> {
    let mut size = [0; 8];
    file.read_exact(&mut size)?;
    let size = u64::from_le_bytes(size);
    let rest = length - 8;
    if size > rest || size > MAX_HEADER {
        return Err(Trouble::Damaged(format!(
            "the header claims {size} bytes, {rest} follow (a header has at most {MAX_HEADER}); is the \
             download complete?"
        )));
    }
    let mut json = vec![0; size as usize];
    file.read_exact(&mut json)?;
    let header = serde_json::from_slice(&json).map_err(|error| {
        Trouble::Damaged(format!("the header is no JSON of safetensors: {error}"))
    })?;
    Ok((header, 8 + size))
}

/// Checks that the tensors fill the `available` bytes one after the other, each as its shape says.
fn check_extents(tensors: &[(String, TensorInfo)], available: u64) -> Result<(), Trouble> {
    let mut ordered: Vec<_> = tensors.to_vec();
    ordered.sort_by_key(|(_, info)| info.data_offsets);
    for (name, info) in &ordered {
        let (start, end) = info.data_offsets;
        let elements = info
            .shape
            .iter()
            .try_fold(1usize, |n, dim| n.checked_mul(*dim));
        let expected = elements.and_then(|n| n.checked_mul(info.dtype.bitsize()));
        let found = end.checked_sub(start).and_then(|n| n.checked_mul(8));
        if expected.is_none() || expected != found {
            return Err(Trouble::Damaged(format!(
                "tensor `{name}` of {:?} elements of type {} has bytes {start} to {end}",
                info.shape, info.dtype
            )));
        }
        if end as u64 > available {
            return Err(Trouble::Damaged(format!(
                "tensor `{name}` ends at byte {end} of {available}; is the download complete?"
            )));
        }
    }
    let metadata = Metadata::new(None, ordered).map_err(|e| Trouble::Damaged(e.to_string()))?;
    if metadata.data_len() as u64 == available {
        return Ok(());
    }
    Err(Trouble::Damaged(format!(
        "the tensors have {} bytes, the file {available}",
        metadata.data_len()
    )))
}

fn element(name: &str, dtype: Dtype) -> Result<Element, Trouble> {
    match dtype {
        Dtype::F64 => Ok(Element::F64),
        Dtype::F32 => Ok(Element::F32),
        Dtype::F16 => Ok(Element::F16),
        Dtype::BF16 => Ok(Element::Bf16),
        Dtype::BOOL
        | Dtype::U8
        | Dtype::I8
        | Dtype::I16
        | Dtype::U16
        | Dtype::I32
        | Dtype::U32
        | Dtype::I64
        | Dtype::U64 => Ok(Element::Integer),
        other => Err(Trouble::Damaged(format!(
            "tensor `{name}` has elements of type {other}, expected F64, F32, F16, BF16 or integers"
        ))),
    }
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Entries)
    }
}

/// Reads every entry, and refuses a second one of the same name.
struct Entries;

impl<'de> Visitor<'de> for Entries {
    type Value = Header;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors by name")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Header, A::Error> {
        let mut tensors = BTreeMap::new();
        let mut metadata = None;
        while let Some(name) = entries.next_key::<String>()? {
            let again = if name == "__metadata__" {
                metadata.replace(entries.next_value::<Pairs>()?.0).is_some()
            } else {
                tensors
                    .insert(name.clone(), entries.next_value::<TensorInfo>()?)
                    .is_some()
            };
            if again {
                return Err(A::Error::custom(format!("`{name}` is there twice")));
            }
        }
        Ok(Header {
            tensors: tensors.into_iter().collect(),
            metadata: metadata.unwrap_or_default(),
        })
    }
}

/// The entries of `__metadata__`.
struct Pairs(BTreeMap<String, String>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(PairsVisitor)
    }
}

struct PairsVisitor;

impl<'de> Visitor<'de> for PairsVisitor {
    type Value = Pairs;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of strings")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Pairs, A::Error> {
        let mut pairs = BTreeMap::new();
        while let Some((key, value)) = entries.next_entry::<String, String>()? {
            if pairs.insert(key.clone(), value).is_some() {
                return Err(A::Error::custom(format!(
                    "`__metadata__` has `{key}` twice"
                )));
            }
        }
        Ok(Pairs(pairs))
    }
}

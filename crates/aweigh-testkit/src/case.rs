//! One golden case: its tensors and its note.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Int, Tensor, TensorData};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde_json::Value;

/// Name of the environment variable that points the parity tests at another folder of cases.
const FOLDER_VARIABLE: &str = "AWEIGH_GOLDENS";

/// A tensor as stored, widened to the type that tests compare in.
#[derive(Debug, Clone)]
enum Values {
    F32(Vec<f32>),
    F64(Vec<f64>),
    I64(Vec<i64>),
}

#[derive(Debug, Clone)]
struct Stored {
    shape: Vec<usize>,
    values: Values,
}

/// A case of the reference implementation.
#[derive(Debug, Clone)]
pub struct Case {
    /// File stem, such as `head_fcos_improved`.
    pub name: String,
    /// Folder of the case, for files that lie beside it.
    pub dir: PathBuf,
    /// The JSON note: options, layout, versions.
    pub meta: Value,
    tensors: BTreeMap<String, Stored>,
}

/// Every case whose note satisfies `keep`, in order of name.
///
/// The folder is `$AWEIGH_GOLDENS` if set (relative paths start at the workspace), otherwise
/// `tests/goldens` of the crate whose `CARGO_MANIFEST_DIR` is `manifest_dir`.
///
/// # Panics
///
/// When a file cannot be read, or when the crate's own folder holds no such case: a parity test
/// without cases would pass without testing anything.
pub fn cases(manifest_dir: &str, keep: impl Fn(&Value) -> bool) -> Vec<Case> {
    let (dir, own) = folder(manifest_dir);
    let mut names: Vec<PathBuf> = std::fs::read_dir(&dir)
        .unwrap_or_else(|e| panic!("cannot list goldens in {}: {e}", dir.display()))
        .map(|entry| entry.expect("a readable folder").path())
        .filter(|path| path.extension().is_some_and(|e| e == "safetensors"))
        .collect();
    names.sort();
    let found: Vec<Case> = names
        .iter()
        .filter_map(|path| {
            let meta = note(path);
            keep(&meta).then(|| Case::load(path, meta))
        })
        .collect();
    assert!(
        !found.is_empty() || !own,
        "no case of this group in {}",
        dir.display()
    );
    if found.is_empty() {
        println!("no case of this group in {}", dir.display());
    }
    found
}

fn folder(manifest_dir: &str) -> (PathBuf, bool) {
    let crate_dir = Path::new(manifest_dir);
    match std::env::var_os(FOLDER_VARIABLE) {
        // Cargo runs tests in the crate's folder; users name folders from the workspace root.
        Some(given) => (crate_dir.join("../..").join(given), false),
        None => (crate_dir.join("tests/goldens"), true),
    }
}

fn note(tensors: &Path) -> Value {
    let path = tensors.with_extension("json");
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|e| panic!("cannot read {}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Fails when `object` has a key that the test does not interpret: an option that is silently
/// skipped would compare two different models.
///
/// # Panics
///
/// When `object` is not an object or has a key outside `known`.
pub fn understand(case: &Case, object: &Value, known: &[&str]) {
    let Some(map) = object.as_object() else {
        panic!("{}: expected an object of options, got {object}", case.name);
    };
    for key in map.keys() {
        assert!(
            known.contains(&key.as_str()),
            "{}: option `{key}` is not understood by this test (known: {known:?})",
            case.name
        );
    }
}

impl Case {
    fn load(path: &Path, meta: Value) -> Self {
        let bytes =
            std::fs::read(path).unwrap_or_else(|e| panic!("cannot read {}: {e}", path.display()));
        let file =
            SafeTensors::deserialize(&bytes).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let tensors = file
            .tensors()
            .into_iter()
            .map(|(name, view)| {
                let stored = Stored {
                    shape: view.shape().to_vec(),
                    values: widen(&name, view.dtype(), view.data()),
                };
                (name, stored)
            })
            .collect();
        Self {
            name: path
                .file_stem()
                .expect("a file name")
                .to_string_lossy()
                .into(),
            dir: path.parent().expect("a folder").into(),
            meta,
            tensors,
        }
    }

    /// Whether the case stores a tensor of that name.
    pub fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// Names of all tensors that start with `prefix`, sorted.
    pub fn names(&self, prefix: &str) -> Vec<String> {
        let matching = self.tensors.keys().filter(|n| n.starts_with(prefix));
        matching.cloned().collect()
    }

    /// Shape as stored.
    pub fn shape(&self, name: &str) -> Vec<usize> {
        self.get(name).shape.clone()
    }

    /// Values as f32, row-major; f64 tensors are rounded.
    pub fn f32s(&self, name: &str) -> Vec<f32> {
        match &self.get(name).values {
            Values::F32(v) => v.clone(),
            Values::F64(v) => v.iter().map(|x| *x as f32).collect(),
            Values::I64(v) if v.is_empty() => Vec::new(),
            Values::I64(_) => panic!("{}: `{name}` holds integers", self.name),
        }
    }

    /// Values as f64, row-major.
    pub fn f64s(&self, name: &str) -> Vec<f64> {
        match &self.get(name).values {
            Values::F32(v) => v.iter().map(|x| f64::from(*x)).collect(),
            Values::F64(v) => v.clone(),
            Values::I64(v) if v.is_empty() => Vec::new(),
            Values::I64(_) => panic!("{}: `{name}` holds integers", self.name),
        }
    }

    /// Integer (or boolean, or byte) values, row-major. An empty list may be stored as any type.
    pub fn ints(&self, name: &str) -> Vec<i64> {
        match &self.get(name).values {
            Values::I64(v) => v.clone(),
            Values::F32(v) if v.is_empty() => Vec::new(),
            Values::F64(v) if v.is_empty() => Vec::new(),
            _ => panic!("{}: `{name}` holds floats", self.name),
        }
    }

    /// Boxes stored as `[N, 4]`.
    ///
    /// # Panics
    ///
    /// When the tensor does not hold whole boxes.
    pub fn boxes(&self, name: &str) -> Vec<[f32; 4]> {
        let values = self.f32s(name);
        let (rows, rest) = values.as_chunks::<4>();
        assert!(rest.is_empty(), "{}: `{name}` holds boxes", self.name);
        rows.to_vec()
    }

    /// A float tensor of rank `D` on `device`, as f32.
    ///
    /// # Panics
    ///
    /// When the stored rank differs; a stored scalar is given as `[1]`.
    pub fn tensor<const D: usize>(&self, name: &str, device: &Device) -> Tensor<D> {
        Tensor::from_data(
            TensorData::new(self.f32s(name), self.rank::<D>(name)),
            device,
        )
    }

    /// An integer tensor of rank `D` on `device`.
    ///
    /// # Panics
    ///
    /// When the stored rank differs.
    pub fn int_tensor<const D: usize>(&self, name: &str, device: &Device) -> Tensor<D, Int> {
        Tensor::from_data(
            TensorData::new(self.ints(name), self.rank::<D>(name)),
            device,
        )
    }

    /// The float tensors under `prefix` as a safetensors file, names without the prefix: a state
    /// dict to load into a module.
    pub fn state_dict(&self, prefix: &str) -> Vec<u8> {
        let stored: Vec<(String, Vec<usize>, Vec<u8>)> = self
            .names(prefix)
            .into_iter()
            .map(|name| {
                let bytes = self
                    .f32s(&name)
                    .iter()
                    .flat_map(|x| x.to_le_bytes())
                    .collect();
                let mut shape = self.shape(&name);
                if shape.is_empty() {
                    shape.push(1); // a scalar parameter of ours is a tensor of one element
                }
                (name[prefix.len()..].to_owned(), shape, bytes)
            })
            .collect();
        let views = stored.iter().map(|(name, shape, bytes)| {
            let view = TensorView::new(Dtype::F32, shape.clone(), bytes);
            (name.as_str(), view.expect("bytes of the stated shape"))
        });
        safetensors::serialize(views, None).expect("a state dict in memory")
    }

    fn rank<const D: usize>(&self, name: &str) -> [usize; D] {
        let mut shape = self.shape(name);
        if shape.is_empty() {
            shape.push(1);
        }
        shape
            .clone()
            .try_into()
            .unwrap_or_else(|_| panic!("{}: `{name}` has shape {shape:?}, not rank {D}", self.name))
    }

    fn get(&self, name: &str) -> &Stored {
        self.tensors
            .get(name)
            .unwrap_or_else(|| panic!("{}: no tensor `{name}`", self.name))
    }
}

fn widen(name: &str, dtype: Dtype, bytes: &[u8]) -> Values {
    match dtype {
        Dtype::F32 => Values::F32(chunks(bytes, f32::from_le_bytes)),
        Dtype::F64 => Values::F64(chunks(bytes, f64::from_le_bytes)),
        Dtype::I64 => Values::I64(chunks(bytes, i64::from_le_bytes)),
        Dtype::I32 => Values::I64(chunks(bytes, |b| i64::from(i32::from_le_bytes(b)))),
        Dtype::U8 | Dtype::BOOL => Values::I64(chunks(bytes, |b: [u8; 1]| i64::from(b[0]))),
        other => panic!("tensor `{name}` has the unsupported type {other:?}"),
    }
}

fn chunks<const N: usize, T>(bytes: &[u8], convert: impl Fn([u8; N]) -> T) -> Vec<T> {
    let (chunks, rest) = bytes.as_chunks::<N>();
    assert!(rest.is_empty(), "a tensor of whole elements");
    chunks.iter().map(|chunk| convert(*chunk)).collect()
}

//! Weights from files of other frameworks.
//!
//! Loading is strict: a file has exactly the tensors of the module, or an error lists what is
//! missing, unexpected or of another shape. Nothing is loaded from a file that does not fit. Only a
//! detector that is trained further may have other classes than the file
//! ([`StateDict::adopt_classes`]).

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use aweigh_weights::{Import, ImportError, ReadError, Tensor, Values};
use burn::module::Module;
use burn::store::{ApplyError, ModuleSnapshot, bridge};
use burn::tensor::TensorData;
use thiserror::Error;

/// Why reading a tensor of a module cannot fail.
const IN_MEMORY: &str = "a parameter of a module is in memory";

/// Why weights could not be loaded.
#[derive(Debug, Error)]
pub enum WeightsError {
    /// The file cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Its layout is not known.
    #[error(transparent)]
    Layout(#[from] ImportError),
    /// The file belongs to another network.
    #[error("{path}: the weights do not fit the model{differences}", path = .path.display())]
    Mismatch {
        /// The file.
        path: PathBuf,
        /// How they differ.
        differences: Box<Differences>,
    },
}

/// How the tensors of a file differ from those of a module, by module path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Differences {
    /// Tensors of the module that the file does not have.
    pub missing: Vec<String>,
    /// Tensors of the file that the module does not have.
    pub unexpected: Vec<String>,
    /// Tensors of another shape or type, with both.
    pub mismatched: Vec<String>,
}

impl fmt::Display for Differences {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Enough to recognise the network, short enough to read.
        const SHOWN: usize = 8;
        let groups = [
            ("missing in the file", &self.missing),
            ("unknown to the model", &self.unexpected),
            ("of another shape", &self.mismatched),
        ];
        for (what, names) in groups.iter().filter(|(_, names)| !names.is_empty()) {
            let shown = names[..names.len().min(SHOWN)].join(", ");
            write!(f, "; {} {what}: {shown}", names.len())?;
            if names.len() > SHOWN {
                f.write_str(", ...")?;
            }
        }
        Ok(())
    }
}

/// A layer whose outputs are scores of classes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassLayer {
    /// Its module path.
    pub name: String,
    /// Outputs for each class: 1, or the number of anchors.
    pub per_class: usize,
}

impl ClassLayer {
    /// A layer with `per_class` outputs for each class.
    pub fn new(name: &str, per_class: usize) -> Self {
        let name = name.to_owned();
        Self { name, per_class }
    }

    /// Whether a tensor is one of the layer's.
    fn holds(&self, tensor: &str) -> bool {
        let rest = tensor.strip_prefix(&self.name);
        rest.is_some_and(|rest| rest.starts_with('.'))
    }

    /// The numbers of classes of two shapes of a tensor of this layer, which must differ in nothing
    /// else.
    fn classes(&self, found: &[usize], own: &[usize]) -> Option<[usize; 2]> {
        let (found, found_rest) = found.split_first()?;
        let (own, own_rest) = own.split_first()?;
        let outputs = [*found, *own];
        let whole = outputs.iter().all(|n| n.is_multiple_of(self.per_class));
        let fits = whole && found_rest == own_rest;
        fits.then(|| outputs.map(|outputs| outputs / self.per_class))
    }

    /// The tensor `own` with the outputs of `found` for the classes that `rows` names. Outputs are
    /// ordered by anchor, then by class.
    fn adopt(&self, found: &TensorData, own: &TensorData, rows: &[Option<usize>]) -> TensorData {
        let values = |tensor: &TensorData| -> Vec<f32> { tensor.iter().collect() };
        let (source, mut values) = (values(found), values(own));
        let outputs = own.shape()[0];
        let (size, classes) = (values.len() / outputs, outputs / self.per_class);
        let found_classes = found.shape()[0] / self.per_class;
        for (row, target) in values.chunks_mut(size).enumerate() {
            let (anchor, class) = (row / classes, row % classes);
            if let Some(from) = rows[class] {
                let start = (anchor * found_classes + from) * size;
                target.copy_from_slice(&source[start..start + size]);
            }
        }
        TensorData::new(values, own.shape().to_vec())
    }
}

/// Which classes of a file the classes of a model go on from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdoptedClasses {
    /// Number of classes of the file.
    pub found: usize,
    /// For each class of the model that of the file; none for one that starts anew.
    pub rows: Vec<Option<usize>>,
}

/// The tensors of a file, by the names that they have here.
#[derive(Debug, Clone)]
pub struct StateDict {
    path: PathBuf,
    tensors: BTreeMap<String, TensorData>,
    /// Names of tensors that have no place in the layout of the file.
    left_over: Vec<String>,
}

impl StateDict {
    /// Tensors that do not come from a file; `origin` stands for it in messages.
    pub fn from_tensors(origin: &Path, tensors: BTreeMap<String, TensorData>) -> Self {
        Self {
            path: origin.into(),
            tensors,
            left_over: Vec::new(),
        }
    }

    /// The tensors of a whole detector, or of whatever a file holds.
    pub fn of_model(import: Import) -> Self {
        Self {
            path: import.path,
            left_over: import.left_over,
            tensors: to_data(import.tensors),
        }
    }

    /// The tensors of the backbone in a file.
    pub fn of_backbone(import: Import) -> Self {
        Self {
            path: import.path.clone(),
            left_over: import.left_over.clone(),
            tensors: to_data(import.into_backbone()),
        }
    }

    /// The names of the tensors.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// The tensors but for those that `leaves_out` names.
    pub(crate) fn without(mut self, leaves_out: impl Fn(&str) -> bool) -> Self {
        self.tensors.retain(|name, _| !leaves_out(name));
        self
    }

    /// Adds the offset convolutions of `module` if the file has none of its own.
    pub(crate) fn or_fresh_offsets<M: Module>(mut self, module: &M) -> Self {
        let moves_taps = |name: &str| name.contains(".conv_offset.");
        if self.tensors.keys().any(|name| moves_taps(name)) {
            return self;
        }
        let own = module.collect(None, None, true).into_iter();
        let offsets = own.filter(|tensor| moves_taps(&tensor.name));
        let read = offsets.map(|t| {
            let data = bridge::to_data(&t).expect(IN_MEMORY);
            (t.name, data)
        });
        self.tensors.extend(read);
        self
    }

    /// Gives the class layers of `module` their outputs: those of the file for classes that it has,
    /// the values that `module` has for others.
    ///
    /// `rows` says for each class of the module which class of the file, of this many, it goes on
    /// from. Gives what it said, or nothing where the layers differ in more than the number of
    /// classes or do not agree on it: that is left for [`load_into`](Self::load_into) to refuse.
    pub fn adopt_classes<M: Module>(
        &mut self,
        module: &M,
        layers: &[ClassLayer],
        rows: impl Fn(usize) -> Vec<Option<usize>>,
    ) -> Option<AdoptedClasses> {
        let mut numbers = None;
        let mut adopted = Vec::new();
        for tensor in module.collect(None, None, true) {
            let Some(layer) = layers.iter().find(|layer| layer.holds(&tensor.name)) else {
                continue;
            };
            let found = self.tensors.get(&tensor.name)?;
            let classes = layer.classes(found.shape(), &tensor.shape)?;
            if *numbers.get_or_insert(classes) != classes {
                return None;
            }
            let own = bridge::to_data(&tensor).expect(IN_MEMORY);
            let data = layer.adopt(found, &own, &rows(classes[0]));
            adopted.push((tensor.name, data));
        }
        let [found, _] = numbers?;
        self.tensors.extend(adopted);
        let rows = rows(found);
        Some(AdoptedClasses { found, rows })
    }

    /// Sets every parameter and running statistic of `module`.
    ///
    /// # Errors
    ///
    /// When the tensors are not exactly those of the module.
    pub fn load_into<M: Module>(self, module: M) -> Result<M, WeightsError> {
        let mut module = module;
        let tensors = self.tensors.into_iter();
        let tensors = tensors.map(|(name, data)| bridge::from_data(data, name, None));
        let result = module.apply(tensors.collect(), None, None, true);
        let differences = Differences {
            missing: result.missing.into_iter().map(|(name, _)| name).collect(),
            unexpected: [result.unused, self.left_over].concat(),
            mismatched: result.errors.iter().map(mismatch).collect(),
        };
        if differences == Differences::default() {
            return Ok(module);
        }
        Err(WeightsError::Mismatch {
            path: self.path,
            differences: Box::new(differences),
        })
    }
}

fn to_data(tensors: BTreeMap<String, Tensor>) -> BTreeMap<String, TensorData> {
    let floats = tensors.into_iter().filter_map(|(name, tensor)| {
        let Values::Float(values) = tensor.values else {
            return None;
        };
        Some((name, TensorData::new(values, tensor.shape)))
    });
    floats.collect()
}

fn mismatch(error: &ApplyError) -> String {
    match error {
        ApplyError::ShapeMismatch {
            path,
            expected,
            found,
        } => format!("{path} ({found} instead of {expected})"),
        other => other.to_string(),
    }
}

#[cfg(test)]
pub(crate) mod tests;

//! Modules by parameter path: load a golden's state dict, read gradients and values back.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleVisitor, Param};
use burn::store::{ModuleSnapshot, SafetensorsStore};
use burn::tensor::{Gradients, Tensor};

use crate::Case;

/// Path of every parameter (as in a PyTorch state dict, without enum variants) to its values.
pub type Named = BTreeMap<String, Vec<f64>>;

/// Fills `module` with the case's tensors under `prefix`; every parameter must be there.
///
/// # Panics
///
/// When a parameter of the module is missing, has another shape, or when a tensor of the case is
/// not in the module, except for names that end in one of `unused`.
pub fn load<M: Module>(module: &mut M, case: &Case, prefix: &str, unused: &[&str]) {
    let mut store = SafetensorsStore::from_bytes(Some(case.state_dict(prefix)))
        .skip_enum_variants(true)
        .map_indices_contiguous(false);
    let result = module
        .load_from(&mut store)
        .unwrap_or_else(|e| panic!("{}: {e}", case.name));
    let extra: Vec<&String> = result
        .unused
        .iter()
        .filter(|name| !unused.iter().any(|end| name.ends_with(end)))
        .collect();
    assert!(
        extra.is_empty(),
        "{}: not in the module: {extra:?}",
        case.name
    );
}

/// The gradient of every parameter that has one.
pub fn gradients<M: Module>(module: &M, gradients: &Gradients) -> Named {
    let mut collector = Collector {
        gradients: Some(gradients),
        path: Vec::new(),
        found: Named::new(),
    };
    module.visit(&mut collector);
    collector.found
}

/// The value of every float parameter.
pub fn parameters<M: Module>(module: &M) -> Named {
    let mut collector = Collector {
        gradients: None,
        path: Vec::new(),
        found: Named::new(),
    };
    module.visit(&mut collector);
    collector.found
}

struct Collector<'a> {
    gradients: Option<&'a Gradients>,
    /// Names from the root; `None` for an enum's variant, which no state dict names.
    path: Vec<Option<String>>,
    found: Named,
}

impl ModuleVisitor for Collector<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let tensor = match self.gradients {
            Some(gradients) => param.val().grad(gradients),
            None => Some(param.val()),
        };
        if let Some(tensor) = tensor {
            let names: Vec<&str> = self.path.iter().flatten().map(String::as_str).collect();
            let values = tensor.into_data().iter::<f64>().collect();
            self.found.insert(names.join("."), values);
        }
    }

    fn enter_module(&mut self, name: &str, container_type: &str) {
        let is_variant = container_type.starts_with("Enum:");
        self.path.push((!is_variant).then(|| name.to_owned()));
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }
}

//! Parameters of a module by name, and files of named tensors.
//!
//! A name is the path of fields, such as `neck.fpn_convs.0.conv.weight`; the variants of enums are
//! left out, so that names are those of the reference state dicts.

use std::collections::{BTreeMap, HashMap};

use burn::module::Module;
use burn::store::{ModuleSnapshot, bridge};
use burn::tensor::{DType, TensorData};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

/// The path of fields that a visitor or mapper of a module is at.
#[derive(Debug, Default)]
pub(crate) struct ModulePath {
    fields: Vec<String>,
    containers: Vec<String>,
}

/// The kind of layer that a parameter belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layer {
    /// Batch or group normalisation.
    Norm,
    /// Anything else.
    Other,
}

impl ModulePath {
    pub(crate) fn enter(&mut self, name: &str, container: &str) {
        self.fields.push(name.to_owned());
        self.containers.push(container.to_owned());
    }

    pub(crate) fn exit(&mut self) {
        self.fields.pop();
        self.containers.pop();
    }

    /// Name of the parameter that is visited now.
    pub(crate) fn name(&self) -> String {
        let fields = self.fields.iter().zip(&self.containers);
        let fields = fields.filter(|(_, container)| !container.starts_with("Enum:"));
        fields
            .map(|(name, _)| name.as_str())
            .collect::<Vec<_>>()
            .join(".")
    }

    /// Kind of the layer that holds the parameter.
    pub(crate) fn layer(&self) -> Layer {
        match self.containers.last() {
            Some(container) if container.ends_with("Norm") => Layer::Norm,
            _ => Layer::Other,
        }
    }
}

/// Tensors on the host by name.
pub(crate) type Tensors = BTreeMap<String, TensorData>;

/// Every parameter and running statistic of `module`, read back from its device.
pub fn named_tensors<M: Module>(module: &M) -> BTreeMap<String, TensorData> {
    let tensors = module.collect(None, None, true).into_iter();
    let read = tensors.map(|tensor| {
        let data = bridge::to_data(&tensor).expect("a parameter of a module is in memory");
        (tensor.name, data)
    });
    read.collect()
}

/// The content of a `.safetensors` file. Burn's own store writes entries of its own beside the
/// tensors, and files only.
pub(crate) fn to_safetensors(tensors: &Tensors) -> Vec<u8> {
    let views = tensors.iter().map(|(name, data)| {
        let dtype = match data.dtype() {
            DType::F32 => Dtype::F32,
            DType::I64 => Dtype::I64,
            other => panic!("tensor `{name}` has type {other:?}, expected f32 or i64"),
        };
        let view = TensorView::new(dtype, data.shape().to_vec(), data.as_bytes());
        (
            name,
            view.expect("a tensor holds as many bytes as its shape says"),
        )
    });
    // PyTorch's loaders ask for this entry.
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    safetensors::serialize(views, Some(metadata)).expect("the header has a sensible size")
}

/// The tensors in the content of a `.safetensors` file.
///
/// # Errors
///
/// When the content is truncated or of another format, or a tensor is neither f32 nor i64.
pub(crate) fn from_safetensors(bytes: &[u8]) -> Result<Tensors, String> {
    let file = SafeTensors::deserialize(bytes).map_err(|error| error.to_string())?;
    file.iter()
        .map(|(name, view)| {
            let dtype = match view.dtype() {
                Dtype::F32 => DType::F32,
                Dtype::I64 => DType::I64,
                other => return Err(format!("tensor `{name}` has type {other:?}")),
            };
            let data = TensorData::from_bytes_vec(view.data().to_vec(), view.shape(), dtype);
            Ok((name.to_owned(), data))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_survive_a_file() {
        let tensors = Tensors::from([
            (
                "a.weight".to_owned(),
                TensorData::new(vec![1.5_f32, -0.0, 1e-40], [3]),
            ),
            ("steps".to_owned(), TensorData::new(vec![7_i64], [1])),
        ]);
        let bytes = to_safetensors(&tensors);
        assert_eq!(from_safetensors(&bytes).unwrap(), tensors);
        assert!(from_safetensors(&bytes[..bytes.len() - 1]).is_err());
        assert!(from_safetensors(b"not a file of tensors").is_err());
    }

    #[test]
    fn names_leave_out_variants_and_norms_are_known_by_their_type() {
        let mut path = ModulePath::default();
        path.enter("bbox_head", "Struct:Detector");
        path.enter("Fcos", "Enum:BBoxHead");
        path.enter("weight", "Struct:Norm");
        assert_eq!(
            (path.name().as_str(), path.layer()),
            ("bbox_head.weight", Layer::Norm)
        );
        path.exit();
        assert_eq!(path.layer(), Layer::Other);
    }
}

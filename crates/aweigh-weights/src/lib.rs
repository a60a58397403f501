//! Files of weights: other people's, and our own.
//!
//! [`WeightsFile::open`] reads a file of PyTorch or safetensors, whatever its name ends in, and runs
//! nothing that is in it. [`recognise`] says whose layout its tensors have and gives them our names,
//! with what the tensors say about the network ([`Architecture`]). [`write_model`] writes tensors and
//! what is known about them ([`ModelMetadata`]) into one safetensors file, under our names or those
//! of mmdetection or torchvision ([`export_names`]).
//!
//! ```text
//! file -> WeightsFile -> recognise -> Import -> export_names -> ModelFile -> write_model -> file
//! ```
//!
//! Tensors live in host memory, and nothing here needs Burn. Our names are those of mmdetection 3.x
//! with one name for every norm of a backbone (`bn1`); MobileNetV2 keeps torchvision's
//! (`features.0.0.weight`). Those of a backbone alone have no `backbone.` in front.

mod architecture;
mod layout;
mod normalization;
mod read;
mod tensor;
mod write;

pub use architecture::{
    Architecture, BackboneKind, DeformableStage, HeadShape, Method, NeckShape, NormKind,
};
pub use layout::{Import, ImportError, Layout, Part, Skipped, Wanted, recognise};
pub use normalization::{ChannelOrder, Normalization, Style};
pub use read::{Beside, Foreign, ReadError, WeightsFile};
pub use tensor::{Tensor, Values};
pub use write::{
    Class, ExportError, FileLayout, MetadataError, ModelFile, ModelMetadata, Overwrite, Precision,
    WriteError, export_names, write_model,
};

//! Writing: model files of ours, under our names or others'.

mod file;
mod metadata;
mod names;

pub use file::{ModelFile, Overwrite, Precision, WriteError, write_model};
pub use metadata::{Class, FileLayout, MetadataError, ModelMetadata};
pub use names::{ExportError, export_names};

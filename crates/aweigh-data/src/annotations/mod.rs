//! COCO annotation files as people's tools write them.
//!
//! One reader serves training, evaluation and tools. It takes the few fields that a box detector
//! uses and ignores every other key, whatever it holds. The file is read as a stream: only these
//! fields are kept.

mod detections;
mod entry;
mod file;
mod json;
mod kind;
mod list;
mod raw;
mod record;
mod segmentation;
mod stream;
mod top;
mod value;

pub use detections::{DetectionEntry, DetectionFile};
pub use entry::{Annotation, Category, ImageEntry};
pub use file::AnnotationFile;
pub(crate) use raw::RawFile;

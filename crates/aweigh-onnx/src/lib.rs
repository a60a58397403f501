//! Detectors as ONNX models.
//!
//! [`export`] writes the graph of a detector by the same plans that build it (`aweigh-backbone`,
//! `aweigh-heads`), with the values of its parameters, and the decoding of `aweigh-detectors`: boxes
//! and scores of every point, or the detections after NMS.
//!
//! ```text
//! export      export.rs    the input, the outputs, metadata
//! Network     network/     backbone, neck, towers; batch norm folded; deformable convolution
//! heads       heads/       one file per method: raw outputs, boxes
//! decode      decode/      points and anchors, scores, candidates and NMS
//! Graph       graph/       nodes and constants with unique names
//! proto       proto.rs     the file's messages
//! ```
//!
//! Models are of operator set [`OPSET`] and IR version [`IR_VERSION`], with weights of single
//! precision.

mod decode;
mod error;
mod export;
mod graph;
mod heads;
mod network;
mod options;
mod parameters;
pub mod proto;

pub use error::OnnxError;
pub use export::{IR_VERSION, OPSET, OnnxModel, export};
pub use options::{DeformConv, InputSize, OnnxOptions, Outputs, RawOutputs};

//! Codecs between boxes and what a head regresses.
//!
//! The host functions serve post-processing, where few boxes are left; what targets and losses need
//! is on tensors.

mod host;
#[cfg(feature = "tensor")]
mod tensor;

pub use host::{MAX_GROWTH, TblrCodec, decode_delta_host, decode_distance_host};
#[cfg(feature = "tensor")]
pub use tensor::{encode_delta, encode_distance};

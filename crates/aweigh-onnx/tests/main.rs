//! What exported models are made of. That they compute the same is what `scripts/check_onnx.py`
//! shows, which needs ONNX Runtime.

mod errors;
mod recipes;
mod structure;

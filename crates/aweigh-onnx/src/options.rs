//! What an exported model is like.

use std::collections::BTreeMap;

/// Height and width of the images that a model takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InputSize {
    /// `[height, width]` in pixels.
    Fixed([usize; 2]),
    /// Any. Points are computed in the graph, from the sizes of the maps.
    Dynamic,
}

/// What a model gives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Outputs {
    /// `boxes` `[B, N, 4]` and `scores` `[B, N, C]` of every point or anchor, for any batch.
    #[default]
    Decoded,
    /// `boxes` `[n, 4]`, `scores` `[n]` and `labels` `[n]` of the detections of one image, best
    /// first: threshold, the best of each level, NMS and limit as the configuration has them.
    Detections,
}

/// Whether a model gives the outputs of the head, too.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RawOutputs {
    /// No.
    #[default]
    Without,
    /// `NAME_LEVEL` `[B, channels, H_l, W_l]` for every output and level, `cls_score_0` and so on.
    With,
}

/// How deformable convolutions are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DeformConv {
    /// The operator `DeformConv` of ONNX, which ONNX Runtime has on the CPU from version 1.25 on.
    #[default]
    Standard,
    /// `GridSample` at the taps, then a convolution of one pixel: the same values by operators that
    /// other runtimes and older versions have, for the memory of the samples.
    Decomposed,
}

/// What an exported model is like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnnxOptions {
    /// Height and width of the images that it takes.
    pub input: InputSize,
    /// What it gives.
    pub outputs: Outputs,
    /// Whether it gives the outputs of the head, too.
    pub raw: RawOutputs,
    /// How deformable convolutions are written.
    pub deform_conv: DeformConv,
    /// Texts for `metadata_props`: class names, normalisation, configuration. `aweigh.input_size`
    /// (`HEIGHTxWIDTH`) and `aweigh.notes` are added where they are not there.
    pub metadata: BTreeMap<String, String>,
}

impl OnnxOptions {
    /// Decoded predictions of images of this size, and nothing else.
    pub fn new(input: InputSize) -> Self {
        Self {
            input,
            outputs: Outputs::default(),
            raw: RawOutputs::default(),
            deform_conv: DeformConv::default(),
            metadata: BTreeMap::new(),
        }
    }
}

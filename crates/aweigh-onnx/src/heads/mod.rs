//! Heads: features in, raw outputs and what detections are made of out. One file per method.

mod fcos;
mod fovea;
mod fsaf;
mod reppoints;
mod retina;

use aweigh_detectors::{BBoxHead, Method};

use crate::OnnxError;
use crate::decode::{Levels, Predicted};
use crate::graph::Value;
use crate::network::Network;

/// Module path of a layer of the head.
pub(crate) fn path(layer: &str) -> String {
    format!("bbox_head.{layer}")
}

/// An output of the head: one map `[B, channels, H_l, W_l]` per level.
#[derive(Debug, Clone)]
pub(crate) struct RawOutput {
    /// As [`RawPredictions`](aweigh_heads::RawPredictions) name it.
    pub(crate) name: &'static str,
    pub(crate) channels: usize,
    pub(crate) maps: Vec<Value>,
}

/// What a head predicts.
#[derive(Debug, Clone, Default)]
pub(crate) struct HeadOutputs {
    pub(crate) raw: Vec<RawOutput>,
    /// Levels of the first branch, then those of the next.
    pub(crate) predicted: Vec<Predicted>,
}

impl HeadOutputs {
    /// Adds the map of the next level to the output of that name.
    fn push(&mut self, name: &'static str, channels: usize, map: &Value) {
        match self.raw.iter_mut().find(|output| output.name == name) {
            Some(output) => output.maps.push(map.clone()),
            None => self.raw.push(RawOutput {
                name,
                channels,
                maps: vec![map.clone()],
            }),
        }
    }
}

/// A method that can be exported.
pub(crate) trait ExportMethod: Method {
    /// Writes a head of the method, and the decoding of its boxes.
    fn export(
        &self,
        network: &mut Network,
        head: &<Self::Head as aweigh_heads::DenseHead>::Config,
        levels: &Levels,
    ) -> Result<HeadOutputs, OnnxError>;
}

/// Writes the head of any method.
pub(crate) fn export(
    network: &mut Network,
    head: &BBoxHead,
    num_classes: usize,
    levels: &Levels,
) -> Result<HeadOutputs, OnnxError> {
    match head {
        BBoxHead::Fcos(head) => of_method(network, head.method(), num_classes, levels),
        BBoxHead::Fovea(head) => of_method(network, head.method(), num_classes, levels),
        BBoxHead::RepPoints(head) => of_method(network, head.method(), num_classes, levels),
        BBoxHead::Fsaf(head) => of_method(network, head.method(), num_classes, levels),
        BBoxHead::Retina(head) => of_method(network, head.method(), num_classes, levels),
    }
}

fn of_method<M: ExportMethod>(
    network: &mut Network,
    method: &M,
    num_classes: usize,
    levels: &Levels,
) -> Result<HeadOutputs, OnnxError> {
    let head = method.head(num_classes, &levels.specs);
    method.export(network, &head, levels)
}

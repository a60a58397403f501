//! A learnable factor.

use aweigh_backbone::{LayerInfo, LayerKind};
use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};

/// Multiplies by one learnable number: each pyramid level of FCOS has its own (FCOS, section 3.2).
#[derive(Module, Debug)]
pub struct Scale {
    /// The factor, `[1]`.
    pub scale: Param<Tensor<1>>,
}

impl Scale {
    /// The factor 1.
    pub fn new(device: &Device) -> Self {
        let scale = Param::from_tensor(Tensor::ones([1], device));
        Self { scale }
    }

    pub(crate) fn layer(name: String, map: [usize; 3]) -> LayerInfo {
        LayerInfo {
            name,
            kind: LayerKind::Scale,
            params: 1,
            trainable: true,
            macs: 0,
            output: map,
        }
    }

    /// `scale * x`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        x * self.scale.val().reshape([1, 1, 1, 1])
    }
}

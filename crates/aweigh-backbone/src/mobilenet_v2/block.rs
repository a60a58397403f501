//! Inverted residual blocks.

use aweigh_conv::{Activation, add};
use burn::module::Module;
use burn::tensor::Tensor;

use super::plan::InvertedResidualPlan;
use crate::conv_norm::Start;
use crate::{Convolution, Norm, conv_norm};

/// A block that expands its channels, convolves each on its own and projects them back, without an
/// activation behind the projection.
#[derive(Module, Debug)]
pub(super) struct InvertedResidual {
    conv: Branch,
    /// Whether the input is added to the output.
    #[module(skip)]
    has_shortcut: bool,
}

/// The layers of a block; the reference numbers them through.
// A network has one without expansion.
#[allow(clippy::large_enum_variant)]
#[derive(Module, Debug)]
enum Branch {
    /// Depthwise convolution, projection and the projection's normalisation.
    Plain(((Convolution, Norm), Convolution, Norm)),
    /// Expansion, depthwise convolution, projection and the projection's normalisation.
    Expanded(((Convolution, Norm), (Convolution, Norm), Convolution, Norm)),
}

impl InvertedResidualPlan {
    pub(super) fn init(&self, start: &Start) -> InvertedResidual {
        let depthwise = start.init(&self.depthwise());
        let (project, norm) = start.init(&self.project());
        let conv = match self.expand() {
            Some(expand) => Branch::Expanded((start.init(&expand), depthwise, project, norm)),
            None => Branch::Plain((depthwise, project, norm)),
        };
        InvertedResidual {
            conv,
            has_shortcut: self.has_shortcut(),
        }
    }
}

impl InvertedResidual {
    /// `project(relu6(depthwise(relu6(expand(x)))))`, plus `x` if there is a shortcut; each layer
    /// normalised.
    pub(super) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let shortcut = self.has_shortcut.then(|| x.clone());
        let activated =
            |(conv, norm): &(Convolution, Norm), x| conv_norm(conv, norm, x, Activation::Relu6);
        let (y, project, norm) = match &self.conv {
            Branch::Plain((depthwise, project, norm)) => (activated(depthwise, x), project, norm),
            Branch::Expanded((expand, depthwise, project, norm)) => {
                (activated(depthwise, activated(expand, x)), project, norm)
            }
        };
        let y = conv_norm(project, norm, y, Activation::None);
        match shortcut {
            Some(x) => add(y, x, Activation::None),
            None => y,
        }
    }
}

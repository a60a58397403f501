//! Passes over all gradients of a model.

use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor};

/// The sum over all gradients of what `of` makes of one, flattened to `[N]`: `[1]`, on their device.
pub(crate) fn sum<M: Module>(
    model: &M,
    gradients: &GradientsParams,
    device: &Device,
    of: fn(Tensor<1>) -> Tensor<1>,
) -> Tensor<1> {
    let mut visitor = Sum {
        gradients,
        sum: Tensor::zeros([1], &device.clone().inner()),
        of,
    };
    model.visit(&mut visitor);
    visitor.sum
}

/// The gradients after `change` of each, flattened to `[N]`.
pub(crate) fn rewrite<M: Module>(
    model: &M,
    gradients: GradientsParams,
    change: impl FnMut(&mut Tensor<1>),
) -> GradientsParams {
    let mut visitor = Rewrite { gradients, change };
    model.visit(&mut visitor);
    visitor.gradients
}

struct Sum<'a> {
    gradients: &'a GradientsParams,
    sum: Tensor<1>,
    of: fn(Tensor<1>) -> Tensor<1>,
}

impl ModuleVisitor for Sum<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.get::<D>(param.id) {
            self.sum = self.sum.clone() + (self.of)(gradient.reshape([-1])).sum();
        }
    }
}

struct Rewrite<F: FnMut(&mut Tensor<1>)> {
    gradients: GradientsParams,
    change: F,
}

impl<F: FnMut(&mut Tensor<1>)> ModuleVisitor for Rewrite<F> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let id: ParamId = param.id;
        if let Some(gradient) = self.gradients.remove::<D>(id) {
            let shape = gradient.shape();
            let mut flat = gradient.reshape([-1]);
            (self.change)(&mut flat);
            self.gradients.register::<D>(id, flat.reshape(shape));
        }
    }
}

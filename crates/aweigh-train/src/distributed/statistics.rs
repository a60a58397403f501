//! Running statistics of batch norm, which each process updates by its own images.

use aweigh_distributed::ProcessGroup;
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Device, Tensor, TensorData};

use crate::parameters::ModulePath;

/// Gives all processes the running statistics of the first one, as PyTorch's
/// `DistributedDataParallel` does with `broadcast_buffers`: they have one model, whoever saves it.
pub(crate) fn share_statistics<M: Module>(group: &dyn ProcessGroup, model: M) -> M {
    let mut own = Collect::default();
    model.visit(&mut own);
    // What the others add is zero.
    let factor = f32::from(u8::from(group.is_first()));
    own.values.iter_mut().for_each(|value| *value *= factor);
    let mut values = Some(own.values);
    let sums = group.sum(1, &mut |_| values.take().unwrap_or_default());
    model.map(&mut Replace {
        values: sums.into_iter().flatten(),
        path: ModulePath::default(),
    })
}

fn is_statistic(path: &ModulePath) -> bool {
    let name = path.name();
    name.ends_with(".running_mean") || name.ends_with(".running_var")
}

#[derive(Default)]
struct Collect {
    values: Vec<f32>,
    path: ModulePath,
}

impl ModuleVisitor for Collect {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if is_statistic(&self.path) {
            self.values.extend(param.val().into_data().iter::<f32>());
        }
    }
}

struct Replace<V> {
    values: V,
    path: ModulePath,
}

impl<V: Iterator<Item = f32>> ModuleMapper for Replace<V> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if !is_statistic(&self.path) {
            return param;
        }
        param.map(|old| {
            let (shape, device): (_, Device) = (old.shape(), old.device().inner());
            let values = self.values.by_ref().take(shape.num_elements()).collect();
            Tensor::from_data(TensorData::new::<f32, _>(values, shape), &device)
        })
    }
}

//! Parts of a model that are not trained for some epochs.

use std::collections::BTreeSet;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::Tensor;

use crate::config::FreezeConfig;
use crate::parameters::ModulePath;

/// Freezes parameters by name and thaws them at an epoch.
///
/// A frozen parameter has no gradient, and so no step of the optimiser; what the network itself
/// never trains stays as it is.
#[derive(Debug)]
pub(crate) struct Freezer {
    rules: Vec<FreezeConfig>,
    /// The parameters that are frozen now.
    frozen: BTreeSet<String>,
}

impl Freezer {
    /// Nothing is frozen yet.
    pub(crate) fn new(rules: Vec<FreezeConfig>) -> Self {
        Self {
            rules,
            frozen: BTreeSet::new(),
        }
    }

    /// The model as epoch `epoch`, counted from 0, trains it. Says what is thawed.
    pub(crate) fn apply<M: Module>(&mut self, model: M, epoch: usize) -> M {
        if self.rules.is_empty() {
            return model;
        }
        let active: Vec<&FreezeConfig> = self
            .rules
            .iter()
            .filter(|rule| rule.until_epoch.is_none_or(|until| epoch < until))
            .collect();
        let before = self.frozen.len();
        let model = model.map(&mut Apply {
            active: &active,
            frozen: &mut self.frozen,
            path: ModulePath::default(),
        });
        let now = self.frozen.len();
        if now != before {
            tracing::info!("epoch {epoch}: {now} parameters are frozen by train.freeze");
        }
        model
    }
}

struct Apply<'a> {
    active: &'a [&'a FreezeConfig],
    frozen: &'a mut BTreeSet<String>,
    path: ModulePath,
}

impl ModuleMapper for Apply<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let name = self.path.name();
        let freeze = self.active.iter().any(|rule| rule.pattern.matches(&name));
        if freeze && param.is_require_grad() {
            self.frozen.insert(name);
            return param.set_require_grad(false);
        }
        if !freeze && self.frozen.remove(&name) {
            return param.set_require_grad(true);
        }
        param
    }
}

/// The names of the parameters that training changes.
pub(crate) fn trainable_names<M: Module>(model: &M) -> Vec<String> {
    #[derive(Default)]
    struct Names {
        names: Vec<String>,
        path: ModulePath,
    }
    impl ModuleVisitor for Names {
        fn enter_module(&mut self, name: &str, container: &str) {
            self.path.enter(name, container);
        }

        fn exit_module(&mut self, _: &str, _: &str) {
            self.path.exit();
        }

        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if param.is_require_grad() {
                self.names.push(self.path.name());
            }
        }
    }
    let mut names = Names::default();
    model.visit(&mut names);
    names.names
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::nn::{Linear, LinearConfig};
    use burn::tensor::Device;

    #[derive(Module, Debug)]
    struct Net {
        backbone: Linear,
        head: Linear,
    }

    #[test]
    fn parameters_are_frozen_until_their_epoch() {
        let device = Device::flex().autodiff();
        let layer = || LinearConfig::new(1, 1).init(&device);
        let mut net = Net {
            backbone: layer(),
            head: layer(),
        };
        // By nature, this one is never trained.
        net.backbone.bias = net.backbone.bias.map(|bias| bias.set_require_grad(false));
        let rule = |pattern: &str, until_epoch| FreezeConfig {
            pattern: pattern.to_owned().try_into().unwrap(),
            until_epoch,
        };
        let mut freezer = Freezer::new(vec![rule("backbone.*", Some(2)), rule("*.bias", None)]);
        for epoch in [0, 1, 2, 3] {
            net = freezer.apply(net, epoch);
            let expected: &[&str] = match epoch {
                0 | 1 => &["head.weight"],
                _ => &["backbone.weight", "head.weight"],
            };
            assert_eq!(trainable_names(&net), expected, "epoch {epoch}");
        }
    }
}

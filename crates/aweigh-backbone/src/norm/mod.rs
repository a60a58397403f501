//! Normalisation layers with PyTorch's parameter names.

mod config;
mod running;

use aweigh_conv::{Activation, BatchNorm, GroupNorm, Maps, activate, batch_norm, cast_like};
use burn::module::{Initializer, Module, Param};
use burn::tensor::{Device, Tensor};

pub use config::{Affine, NormConfig};
pub use running::RunningStatistic;

/// Added to a variance before its square root, in batch and group norm.
pub const EPSILON: f64 = 1e-5;
/// Share of a new batch in the running statistics.
const MOMENTUM: f64 = 0.1;

/// A normalisation of one of the kinds of [`NormConfig`].
///
/// The fields are named as in PyTorch's state dicts, for every kind.
#[derive(Module, Debug)]
pub struct Norm {
    /// Scale per channel, `[C]`.
    pub weight: Param<Tensor<1>>,
    /// Shift per channel, `[C]`.
    pub bias: Param<Tensor<1>>,
    /// Running mean per channel, `[C]`; none for group norm.
    pub running_mean: Option<RunningStatistic>,
    /// Running variance per channel, `[C]`; none for group norm.
    pub running_var: Option<RunningStatistic>,
    #[module(skip)]
    kind: Kind,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    FrozenBatch,
    Batch,
    Group { groups: usize },
}

/// A normalisation as a map of each channel: `y = scale * x + shift`, both `[C]`.
pub(crate) struct Folded {
    pub(crate) scale: Tensor<1>,
    pub(crate) shift: Tensor<1>,
}

impl NormConfig {
    /// A normalisation of `channels` channels with scale 1 and shift 0.
    ///
    /// # Panics
    ///
    /// When [`check`](Self::check) fails.
    pub fn init(&self, channels: usize, device: &Device) -> Norm {
        if let Err(error) = self.check(channels) {
            panic!("{error}");
        }
        let trained = self.affine() == Affine::Trainable;
        let param = |start: Initializer| start.init([channels], device).set_require_grad(trained);
        let kind = match *self {
            Self::FrozenBn { .. } => Kind::FrozenBatch,
            Self::BatchNorm => Kind::Batch,
            Self::GroupNorm { groups } => Kind::Group { groups },
        };
        let statistic = |start: Tensor<1>| match kind {
            Kind::Group { .. } => None,
            Kind::FrozenBatch | Kind::Batch => Some(RunningStatistic::new(start)),
        };
        Norm {
            weight: param(Initializer::Ones),
            bias: param(Initializer::Zeros),
            running_mean: statistic(Tensor::zeros([channels], device)),
            running_var: statistic(Tensor::ones([channels], device)),
            kind,
        }
    }

    /// The normalisation of a frozen part of a network: no gradients, no new statistics.
    ///
    /// # Panics
    ///
    /// When [`check`](Self::check) fails.
    pub fn init_frozen(&self, channels: usize, device: &Device) -> Norm {
        let affine = Affine::Frozen;
        match self {
            Self::FrozenBn { .. } | Self::BatchNorm => {
                Self::FrozenBn { affine }.init(channels, device)
            }
            Self::GroupNorm { .. } => self.init(channels, device).no_grad(),
        }
    }
}

impl Norm {
    /// Normalises maps on their own, then applies the activation; [`conv_norm`](crate::conv_norm) is
    /// cheaper after a convolution.
    ///
    /// Batch norm uses the statistics of the batch, and updates its running ones, while the module
    /// is on an autodiff device; `module.valid()` ends that.
    ///
    /// # Shapes
    ///
    /// Every map is `[B, C, H, W]` in and out.
    pub fn forward<M: Maps>(&self, x: M, activation: Activation) -> M {
        if let Some(Folded { scale, shift }) = self.folded() {
            let (scale, shift) = (per_channel(scale), per_channel(shift));
            return x.each(|x| {
                let scale = cast_like(scale.clone(), &x);
                let shift = cast_like(shift.clone(), &x);
                activate(x * scale + shift, activation)
            });
        }
        match self.kind {
            Kind::Group { groups } => {
                let norm = GroupNorm {
                    groups,
                    epsilon: EPSILON,
                    activation,
                    layer: Some(self.weight.id.val()),
                };
                x.group_norm(self.weight.val(), self.bias.val(), norm)
            }
            Kind::Batch | Kind::FrozenBatch => x.each(|x| self.by_batch(x, activation)),
        }
    }

    /// `scale = weight / sqrt(running_var + eps)`, `shift = bias - running_mean * scale`, where
    /// running statistics apply.
    pub(crate) fn folded(&self) -> Option<Folded> {
        let training = self.weight.lazy_device().is_autodiff();
        if training && matches!(self.kind, Kind::Batch) {
            return None;
        }
        let mean = self.running_mean.as_ref()?.value();
        let inverse = (self.running_var.as_ref()?.value() + EPSILON)
            .sqrt()
            .recip();
        let scale = self.weight.val() * inverse;
        let shift = self.bias.val() - scale.clone() * mean;
        Some(Folded { scale, shift })
    }

    fn by_batch(&self, x: Tensor<4>, activation: Activation) -> Tensor<4> {
        let [batch, channels, height, width] = x.dims();
        let count = batch * height * width;
        assert!(
            count > 1,
            "training batch norm needs two values per channel, got [B, C, H, W] = {:?}",
            [batch, channels, height, width]
        );
        let norm = BatchNorm {
            epsilon: EPSILON,
            activation,
            layer: Some(self.weight.id.val()),
        };
        let result = batch_norm(x, self.weight.val(), self.bias.val(), norm);
        // PyTorch normalises with the biased variance and keeps the unbiased one.
        let unbiased = result.variance * (count as f64 / (count - 1) as f64);
        let updates = [
            (&self.running_mean, result.mean),
            (&self.running_var, unbiased),
        ];
        for (statistic, new) in updates {
            let statistic = statistic.as_ref().expect("batch norm has statistics");
            statistic.update(statistic.value() * (1.0 - MOMENTUM) + new * MOMENTUM);
        }
        result.output
    }
}

fn per_channel(values: Tensor<1>) -> Tensor<4> {
    let channels = values.dims()[0];
    values.reshape([1, channels, 1, 1])
}

#[cfg(test)]
mod tests;

//! Activations, pooling, upsampling and the focal loss.

use std::mem::MaybeUninit;

use burn::backend::flex::FlexTensor;
use burn::backend::{Flex, TensorMetadata, tensor::IntTensor};
use burn::tensor::DType;

use super::tensors::{Contiguous, filled, map_sizes, set, tensor, timed_as};
use crate::MaxPool;
use crate::kernels::activation::{self, Activated, Activation};
use crate::kernels::focal::{self, Focal, FocalSizes, Labels, Weights};
use crate::kernels::pooling::{self, PoolSizes};
use crate::kernels::upsample_add::{self, UpsampleSizes};
use crate::ops::FocalCall;
use crate::profile::{Call, Kind, Pass, timed};

/// Overwrites `a` if nobody else has it.
pub(super) fn add(a: FlexTensor, b: FlexTensor, activation: Activation) -> FlexTensor {
    let [mut a, b] = [a, b].map(Contiguous::new);
    timed_as(Kind::Activation, Pass::Forward, None, || {
        let whole = a.values().len() == a.0.storage::<f32>().len();
        if let Some(sums) = a.0.try_storage_mut::<f32>().filter(|_| whole) {
            activation::add_in_place(set(), activation, sums, b.values());
            return a.0;
        }
        filled(a.0.shape(), |out| {
            activation::add(set(), activation, a.values(), b.values(), out);
        })
    })
}

pub(super) fn activation_gradient(
    grad: FlexTensor,
    y: FlexTensor,
    activation: Activation,
    call: Call,
) -> FlexTensor {
    let shape = grad.shape();
    let [grad, y] = [grad, y].map(Contiguous::new);
    timed(call, 0, || {
        filled(shape, |out| {
            let y = y.values();
            let after = Activated { activation, y };
            activation::backward(set(), after, grad.values(), out);
        })
    })
}

fn pool_sizes(planes: usize, input: [usize; 2], pool: &MaxPool) -> PoolSizes {
    PoolSizes {
        planes,
        input,
        kernel: pool.kernel,
        stride: pool.stride,
        padding: pool.padding,
    }
}

/// The pooled map; where each maximum is, in `taps` if they are wanted.
pub(super) fn max_pool(x: FlexTensor, pool: &MaxPool, taps: Option<&mut Vec<u8>>) -> FlexTensor {
    let [batch, channels, height, width] = map_sizes(&x);
    let sizes = pool_sizes(batch * channels, [height, width], pool);
    let [rows, columns] = sizes.output();
    let x = Contiguous::new(x);
    timed_as(Kind::Pooling, Pass::Forward, None, || {
        filled([batch, channels, rows, columns], |out| {
            let Some(taps) = taps else {
                return pooling::forward(set(), &sizes, x.values(), out, None);
            };
            let len = out.len();
            taps.reserve_exact(len);
            let room = &mut taps.spare_capacity_mut()[..len];
            pooling::forward(set(), &sizes, x.values(), out, Some(room));
            // SAFETY: the kernel writes a tap for each output.
            unsafe { taps.set_len(len) };
        })
    })
}

pub(super) fn max_pool_gradient(
    taps: &[u8],
    grad: FlexTensor,
    pool: &MaxPool,
    size: [usize; 2],
) -> FlexTensor {
    let [batch, channels, _, _] = map_sizes(&grad);
    let sizes = pool_sizes(batch * channels, size, pool);
    let grad = Contiguous::new(grad);
    timed_as(Kind::Pooling, Pass::Backward, None, || {
        filled([batch, channels, size[0], size[1]], |out| {
            pooling::backward(&sizes, grad.values(), taps, out);
        })
    })
}

pub(super) fn upsample_add(fine: FlexTensor, coarse: FlexTensor) -> FlexTensor {
    let [batch, channels, height, width] = map_sizes(&fine);
    let [_, _, rows, columns] = map_sizes(&coarse);
    let sizes = UpsampleSizes {
        planes: batch * channels,
        coarse: [rows, columns],
        fine: [height, width],
    };
    let [fine, coarse] = [fine, coarse].map(Contiguous::new);
    timed_as(Kind::Upsampling, Pass::Forward, None, || {
        filled([batch, channels, height, width], |out| {
            upsample_add::forward(set(), &sizes, fine.values(), coarse.values(), out);
        })
    })
}

/// The gradient of a coarse map of `size`.
pub(super) fn upsample_gradient(grad: FlexTensor, size: [usize; 2]) -> FlexTensor {
    let [batch, channels, height, width] = map_sizes(&grad);
    let sizes = UpsampleSizes {
        planes: batch * channels,
        coarse: size,
        fine: [height, width],
    };
    let grad = Contiguous::new(grad);
    timed_as(Kind::Upsampling, Pass::Backward, None, || {
        filled([batch, channels, size[0], size[1]], |out| {
            upsample_add::backward(set(), &sizes, grad.values(), out);
        })
    })
}

/// The sum of the losses; their slopes, in `slopes` if they are wanted.
pub(super) fn focal_sum(
    logits: FlexTensor,
    labels: IntTensor<Flex>,
    weights: FlexTensor,
    call: FocalCall,
    slopes: Option<&mut [MaybeUninit<f32>]>,
) -> f64 {
    let shape = logits.shape();
    let sizes = FocalSizes {
        batch: shape[0],
        classes: shape[1],
        points: shape[2],
    };
    let FocalCall { gamma, alpha } = call;
    let options = Focal {
        gamma,
        alpha: alpha.unwrap_or(-1.0),
    };
    let [logits, weights] = [logits, weights].map(Contiguous::new);
    let labels = labels.to_contiguous();
    let weights = match weights.0.shape()[1] {
        1 => Weights::Points(weights.values()),
        _ => Weights::Logits(weights.values()),
    };
    let logits = logits.values();
    timed_as(Kind::Loss, Pass::Forward, None, || match labels.dtype() {
        DType::I64 => {
            let labels = labels.storage::<i64>();
            let target = Labels { labels, weights };
            focal::focal_sum(set(), &sizes, &options, logits, &target, slopes)
        }
        DType::I32 => {
            let labels = labels.storage::<i32>();
            let target = Labels { labels, weights };
            focal::focal_sum(set(), &sizes, &options, logits, &target, slopes)
        }
        other => panic!("focal loss: labels are {other:?}, expected I32 or I64"),
    })
}

/// The sum of the losses, `[1]`, and their slopes.
pub(super) fn focal_sum_slopes(
    logits: FlexTensor,
    labels: IntTensor<Flex>,
    weights: FlexTensor,
    call: FocalCall,
) -> [FlexTensor; 2] {
    let mut sum = 0.0;
    let slopes = filled(logits.shape(), |slopes| {
        sum = focal_sum(logits, labels, weights, call, Some(slopes));
    });
    [tensor(vec![sum as f32], [1]), slopes]
}

//! Convolution and its gradients.

use std::mem::MaybeUninit;

use burn::backend::TensorMetadata;
use burn::backend::flex::FlexTensor;
use burn::tensor::Shape;

use super::tensors::{Contiguous, filled, set, tensor, timed_as, values};
use crate::ConvSizes;
use crate::kernels::Convolution;
use crate::kernels::activation::{self, Activated};
use crate::ops::ConvCall;
use crate::profile::{Call, Kind, Pass, timed};

impl ConvCall {
    fn kernels(&self) -> Convolution<'_> {
        Convolution {
            sizes: &self.sizes,
            algorithm: self.algorithm,
            set: set(),
        }
    }

    fn timed<R>(&self, pass: Pass, work: impl FnOnce() -> R) -> R {
        let call = Call {
            kind: Kind::Convolution,
            layer: self.layer,
            pass,
        };
        let flops = self.sizes.iter().map(ConvSizes::flops).sum();
        timed(call, flops, work)
    }

    /// The shape of maps on one side: `of` says which of one size, `len` how many values those have.
    fn shape(
        &self,
        rank: usize,
        of: impl Fn(&ConvSizes) -> [usize; 4],
        len: impl Fn(&ConvSizes) -> usize,
    ) -> Shape {
        match rank {
            4 => Shape::from(of(&self.sizes[0])),
            _ => Shape::from([self.sizes.iter().map(len).sum::<usize>()]),
        }
    }

    fn output_shape(&self, rank: usize) -> Shape {
        let of = |sizes: &ConvSizes| {
            let [height, width] = sizes.output();
            [sizes.batch, sizes.channels_out, height, width]
        };
        self.shape(rank, of, ConvSizes::output_len)
    }

    fn input_shape(&self, rank: usize) -> Shape {
        let of = |sizes: &ConvSizes| {
            let [height, width] = sizes.input;
            [sizes.batch, sizes.channels_in, height, width]
        };
        self.shape(rank, of, ConvSizes::input_len)
    }
}

pub(super) fn forward(
    x: FlexTensor,
    weight: FlexTensor,
    bias: Option<FlexTensor>,
    call: &ConvCall,
) -> FlexTensor {
    let shape = call.output_shape(x.shape().num_dims());
    let [x, weight] = [x, weight].map(Contiguous::new);
    let bias = bias.map(Contiguous::new);
    let bias = bias.as_ref().map(Contiguous::values);
    call.timed(Pass::Forward, || {
        filled(shape, |out| {
            let kernels = call.kernels();
            let activation = call.activation;
            kernels.forward(x.values(), weight.values(), bias, activation, out);
        })
    })
}

pub(super) fn input_gradient(weight: FlexTensor, grad: FlexTensor, call: &ConvCall) -> FlexTensor {
    let shape = call.input_shape(grad.shape().num_dims());
    let [weight, grad] = [weight, grad].map(Contiguous::new);
    call.timed(Pass::InputGradient, || {
        filled(shape, |out| {
            let kernels = call.kernels();
            kernels.input_gradient(grad.values(), weight.values(), out);
        })
    })
}

pub(super) fn weight_gradient(x: FlexTensor, grad: FlexTensor, call: &ConvCall) -> FlexTensor {
    let ConvSizes {
        channels_in,
        channels_out,
        kernel: [height, width],
        groups,
        ..
    } = call.sizes[0];
    let [x, grad] = [x, grad].map(Contiguous::new);
    call.timed(Pass::WeightGradient, || {
        filled([channels_out, channels_in / groups, height, width], |out| {
            let kernels = call.kernels();
            kernels.weight_gradient(x.values(), grad.values(), out);
        })
    })
}

/// The gradient of the sum before the bias, and that of the bias.
pub(super) fn bias_gradients(
    grad: FlexTensor,
    y: Option<FlexTensor>,
    needs_sum: bool,
    call: &ConvCall,
) -> [FlexTensor; 2] {
    let shape = grad.shape();
    let grad = Contiguous::new(grad);
    let y = y.map(Contiguous::new);
    let channels = call.sizes[0].channels_out;
    let len = call.sizes.iter().map(ConvSizes::output_len).sum::<usize>();
    assert_eq!(grad.values().len(), len, "gradient of a convolution");
    timed_as(Kind::Convolution, Pass::Backward, call.layer, || {
        let mut bias = vec![0.0f32; channels];
        let mut sum_up = |mut out: Option<&mut [MaybeUninit<f32>]>| {
            let mut at = 0;
            for sizes in &call.sizes {
                let range = at..at + sizes.output_len();
                at = range.end;
                let maps = activation::MapSizes {
                    batch: sizes.batch,
                    channels,
                    pixels: sizes.pixels_out(),
                };
                let after = y.as_ref().map(|y| Activated {
                    activation: call.activation,
                    y: &y.values()[range.clone()],
                });
                let out = out.as_mut().map(|out| &mut out[range.clone()]);
                let grad = &grad.values()[range];
                let sums = values(channels, |sums| {
                    activation::bias_backward(set(), &maps, grad, after, out, sums);
                });
                bias.iter_mut()
                    .zip(sums)
                    .for_each(|(bias, sum)| *bias += sum);
            }
        };
        if y.is_none() || !needs_sum {
            sum_up(None);
            return [grad.0, tensor(bias, [channels])];
        }
        let masked = filled(shape, |out| sum_up(Some(out)));
        [masked, tensor(bias, [channels])]
    })
}

//! Convolution and its gradients.

use burn::backend::TensorMetadata;
use burn::backend::flex::FlexTensor;
use burn::tensor::Shape;

use super::tensors::{Contiguous, filled, set, tensor, timed_as, values};
use crate::ConvSizes;
use crate::kernels::Convolution;
use crate::kernels::activation::{self, Activated, BiasGradient};
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

    /// The gradient of the bias, from that of the output and what an activation made of it.
    fn bias_gradient(&self, y: Option<&[f32]>, mut grad: BiasGradient<'_>) -> FlexTensor {
        let channels = self.sizes[0].channels_out;
        let mut bias = vec![0.0f32; channels];
        let mut at = 0;
        for sizes in &self.sizes {
            let range = at..at + sizes.output_len();
            at = range.end;
            let maps = activation::MapSizes {
                batch: sizes.batch,
                channels,
                pixels: sizes.pixels_out(),
            };
            let after = y.map(|y| Activated {
                activation: self.activation,
                y: &y[range.clone()],
            });
            let sums = values(channels, |sums| {
                activation::bias_backward(set(), &maps, grad.part(range), after, sums);
            });
            let pairs = bias.iter_mut().zip(sums);
            pairs.for_each(|(bias, sum)| *bias += sum);
        }
        tensor(bias, [channels])
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

/// The gradient of the sum before the bias, and that of the bias. Overwrites `grad` if nobody else
/// has it.
pub(super) fn bias_gradients(
    grad: FlexTensor,
    y: Option<FlexTensor>,
    needs_sum: bool,
    call: &ConvCall,
) -> [FlexTensor; 2] {
    let mut grad = Contiguous::new(grad);
    let y = y.map(Contiguous::new);
    let y = y.as_ref().map(Contiguous::values);
    let len = call.sizes.iter().map(ConvSizes::output_len).sum::<usize>();
    assert_eq!(grad.values().len(), len, "gradient of a convolution");
    timed_as(Kind::Convolution, Pass::Backward, call.layer, || {
        if y.is_none() || !needs_sum {
            let bias = call.bias_gradient(y, BiasGradient::Summed(grad.values()));
            return [grad.0, bias];
        }
        let whole = len == grad.0.storage::<f32>().len();
        if let Some(values) = grad.0.try_storage_mut::<f32>().filter(|_| whole) {
            let bias = call.bias_gradient(y, BiasGradient::InPlace(values));
            return [grad.0, bias];
        }
        let mut bias = None;
        let masked = filled(grad.0.shape(), |out| {
            let into = BiasGradient::Into(grad.values(), out);
            bias = Some(call.bias_gradient(y, into));
        });
        [masked, bias.expect("the gradient of the bias")]
    })
}

//! Runs a problem on a device, in a precision and a memory layout.

mod compare;
mod random;

use aweigh_deform_conv::{
    CallShapes, CheckedCall, DeformConvInput, DeformConvTensors, deform_conv2d,
};
use aweigh_testkit::device;
use burn::backend::Dispatch;
use burn::tensor::{DType, Device, Tensor, TensorData};

use crate::naive::{Outcome, Problem};

pub(crate) use compare::{assert_close, tolerance};
pub(crate) use random::{Offsets, Plan, Random};

/// How tensors lie in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// Row-major.
    Contiguous,
    /// Channels last.
    Permuted,
    /// A window of a larger tensor whose other elements are not numbers.
    Sliced,
    /// One element of the first axis, repeated: every element along it must be the same, and the
    /// gradient of the output must be 1.
    Expanded,
}

/// Where and how a problem is run.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    pub(crate) device: Device,
    pub(crate) dtype: DType,
    pub(crate) layout: Layout,
}

impl Setup {
    /// Contiguous tensors on the CPU.
    pub(crate) fn cpu(dtype: DType) -> Self {
        Self {
            device: device(),
            dtype,
            layout: Layout::Contiguous,
        }
    }

    /// A tensor without gradient.
    pub(crate) fn tensor<const D: usize>(&self, values: &[f64], shape: [usize; D]) -> Tensor<D> {
        let data = TensorData::new(values.to_vec(), shape);
        Tensor::from_data(data, (&self.device, self.dtype))
    }

    /// A tensor without gradient, in the setup's layout.
    pub(crate) fn laid_out(&self, values: &[f64], shape: [usize; 4]) -> Tensor<4> {
        let natural = self.tensor(values, shape);
        match self.layout {
            Layout::Contiguous => natural,
            Layout::Permuted => {
                let channels_last = natural.permute([0, 2, 3, 1]);
                let [a, b, c, d] = channels_last.dims();
                // Through the host, because a permuted tensor need not move in memory.
                self.tensor(&values_of(channels_last), [a, b, c, d])
                    .permute([0, 3, 1, 2])
            }
            Layout::Sliced => {
                let [a, b, height, width] = shape;
                let window = [0..a, 0..b, 1..height + 1, 2..width + 2];
                let larger = [a, b, height + 1, width + 3];
                let nothing = vec![f64::NAN; larger.iter().product()];
                let larger = self.tensor(&nothing, larger);
                larger.slice_assign(window.clone(), natural).slice(window)
            }
            Layout::Expanded => {
                let one = values.len() / shape[0];
                let same = values.chunks(one).all(|chunk| chunk == &values[..one]);
                assert!(same, "an expanded tensor repeats its first element");
                let [_, b, c, d] = shape;
                self.tensor(&values[..one], [1, b, c, d]).expand(shape)
            }
        }
    }

    /// The problem's tensors as the operator takes them, in the setup's layout.
    pub(crate) fn operands(&self, problem: &Problem) -> DeformConvTensors<Dispatch> {
        let tensor = |values: &[f64], shape| self.laid_out(values, shape).into_dispatch();
        let mask = problem.mask.as_ref();
        DeformConvTensors {
            x: tensor(&problem.x, problem.x_shape()),
            offset: tensor(&problem.offset, problem.offset_shape()),
            weight: tensor(&problem.weight, problem.weight_shape()),
            mask: mask.map(|mask| tensor(mask, problem.mask_shape())).into(),
        }
    }

    /// Runs the operator with every input tracked.
    pub(crate) fn run(&self, problem: &Problem) -> Outcome {
        let leaf = |values: &[f64], shape| self.laid_out(values, shape).autodiff().require_grad();
        let x = leaf(&problem.x, problem.x_shape());
        let offset = leaf(&problem.offset, problem.offset_shape());
        let weight = leaf(&problem.weight, problem.weight_shape());
        let mask = problem.mask.as_ref();
        let mask = mask.map(|mask| leaf(mask, problem.mask_shape()));
        let bias = problem.bias.as_ref();
        let bias = bias.map(|bias| self.tensor(bias, [bias.len()]).autodiff().require_grad());
        let input = DeformConvInput {
            x: x.clone(),
            offset: offset.clone(),
            mask: mask.clone(),
        };
        let output = deform_conv2d(input, weight.clone(), bias.clone(), problem.options);
        assert_eq!(
            output.dtype(),
            self.dtype,
            "the operator keeps the precision"
        );
        let gradients = self.weighted_sum(&output, problem).backward();
        let slope = |leaf: &Tensor<4>| values_of(leaf.grad(&gradients).expect("a gradient"));
        Outcome {
            output: values_of(output),
            grad_input: slope(&x),
            grad_offset: slope(&offset),
            grad_weight: slope(&weight),
            grad_mask: mask.as_ref().map(slope),
            grad_bias: bias.map(|b| values_of(b.grad(&gradients).expect("a gradient"))),
        }
    }

    /// A scalar whose gradient with respect to the output is that of the problem, handed to the
    /// operator in the setup's layout.
    fn weighted_sum(&self, output: &Tensor<4>, problem: &Problem) -> Tensor<1> {
        let output = output.clone();
        if self.layout == Layout::Expanded {
            assert!(problem.grad.iter().all(|grad| *grad == 1.0));
            return output.sum();
        }
        let grad = self.tensor(&problem.grad, problem.output_shape());
        match self.layout {
            Layout::Permuted => {
                let axes = [0, 2, 3, 1];
                (output.permute(axes) * grad.permute(axes)).sum()
            }
            _ => (output * grad).sum(),
        }
    }
}

/// The problem's shapes and options as the operator takes them.
pub(crate) fn call(problem: &Problem) -> CheckedCall {
    let mask = problem.mask.as_ref();
    let shapes = CallShapes {
        x: problem.x_shape().into(),
        offset: problem.offset_shape().into(),
        weight: problem.weight_shape().into(),
        mask: mask.map(|_| problem.mask_shape().into()),
    };
    CheckedCall::new(shapes, problem.options)
}

/// The elements of a tensor, as f64.
pub(crate) fn values_of<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.into_data().iter::<f64>().collect()
}

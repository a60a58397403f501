//! Calls of the operator on a GPU.

use aweigh_deform_conv::{DeformConvOps, NeedsGrad, Optional};
use burn::backend::Dispatch;
use burn::tensor::{DType, Device, DeviceKind, DeviceType, Tensor};

use crate::naive::{Outcome, Problem};
use crate::support::{Layout, Setup, call, values_of};

/// A setup on the GPU, if there is one with this type.
#[allow(clippy::print_stdout)]
pub(super) fn setup(dtype: DType) -> Option<Setup> {
    if Device::enumerate(DeviceType::Wgpu).into_vec().is_empty() {
        println!("not run: no wgpu adapter");
        return None;
    }
    let device = Device::wgpu(DeviceKind::DefaultDevice);
    if !device.supports_dtype(dtype) {
        println!("not run: no {dtype:?} on this adapter");
        return None;
    }
    Some(Setup {
        device,
        dtype,
        layout: Layout::Contiguous,
    })
}

/// Output and gradients without autodiff, whose sums are kernels more to compile; the bias, which
/// Burn adds, is added here.
pub(super) fn run(setup: &Setup, problem: &Problem) -> Outcome {
    let output = Dispatch::deform_conv_forward(setup.operands(problem), call(problem));
    let mut output = values_of(Tensor::<4>::from_dispatch(output));
    let positions: usize = problem.output().into_iter().product();
    let mut grad_bias = problem.bias.as_ref().map(|bias| vec![0.0; bias.len()]);
    for (i, value) in output.iter_mut().enumerate() {
        let channel = i / positions % problem.channels[1];
        *value += problem.bias.as_ref().map_or(0.0, |bias| bias[channel]);
        if let Some(sums) = &mut grad_bias {
            sums[channel] += problem.grad[i];
        }
    }
    let needs = NeedsGrad {
        x: true,
        offset: true,
        weight: true,
        mask: problem.mask.is_some(),
    };
    Outcome {
        output,
        grad_bias,
        ..gradients(setup, problem, needs)
    }
}

/// The needed gradients; nothing for the others.
pub(super) fn gradients(setup: &Setup, problem: &Problem, needs: NeedsGrad) -> Outcome {
    let grad = setup.laid_out(&problem.grad, problem.output_shape());
    let (tensors, grad) = (setup.operands(problem), grad.into_dispatch());
    let found = Dispatch::deform_conv_backward(tensors, grad, call(problem), needs);
    Outcome {
        output: Vec::new(),
        grad_input: values(found.x).unwrap_or_default(),
        grad_offset: values(found.offset).unwrap_or_default(),
        grad_weight: values(found.weight).unwrap_or_default(),
        grad_mask: values(found.mask),
        grad_bias: None,
    }
}

fn values(tensor: Optional<Dispatch>) -> Option<Vec<f64>> {
    let tensor = tensor.into_option()?;
    Some(values_of(Tensor::<4>::from_dispatch(tensor)))
}

/// Every choice of gradients.
pub(super) fn every_choice() -> impl Iterator<Item = NeedsGrad> {
    (0..16).map(|bits| NeedsGrad {
        x: bits & 1 != 0,
        offset: bits & 2 != 0,
        weight: bits & 4 != 0,
        mask: bits & 8 != 0,
    })
}

/// What [`gradients`] gives if all of them are `all`.
pub(super) fn needed_part(all: &Outcome, needs: NeedsGrad) -> Outcome {
    let part = |values: &[f64], needed: bool| if needed { values.to_vec() } else { Vec::new() };
    Outcome {
        output: Vec::new(),
        grad_input: part(&all.grad_input, needs.x),
        grad_offset: part(&all.grad_offset, needs.offset),
        grad_weight: part(&all.grad_weight, needs.weight),
        grad_mask: all.grad_mask.clone().filter(|_| needs.mask),
        grad_bias: None,
    }
}

/// A problem with every value as the setup's type holds it.
pub(super) fn rounded(mut problem: Problem, setup: &Setup) -> Problem {
    let round = |values: &mut Vec<f64>| *values = values_of(setup.tensor(values, [values.len()]));
    round(&mut problem.x);
    round(&mut problem.offset);
    round(&mut problem.weight);
    round(&mut problem.grad);
    problem.mask.iter_mut().for_each(round);
    problem
}

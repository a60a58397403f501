//! Calls of the operator on a GPU.

use aweigh_deform_conv::{DeformConvOps, Optional, Wanted};
use burn::backend::Dispatch;
use burn::backend::tensor::FloatTensor;
use burn::tensor::{DType, Device, DeviceKind, DeviceType, Tensor};

use crate::naive::{Outcome, Problem};
use crate::support::{Layout, Setup, values_of};

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

/// The tensors of a problem.
struct Inputs {
    x: FloatTensor<Dispatch>,
    offset: FloatTensor<Dispatch>,
    weight: FloatTensor<Dispatch>,
    mask: Option<FloatTensor<Dispatch>>,
}

impl Inputs {
    fn new(setup: &Setup, problem: &Problem) -> Self {
        let tensor = |values: &[f64], shape| setup.laid_out(values, shape).into_dispatch();
        let mask = problem.mask.as_ref();
        Self {
            x: tensor(&problem.x, problem.x_shape()),
            offset: tensor(&problem.offset, problem.offset_shape()),
            weight: tensor(&problem.weight, problem.weight_shape()),
            mask: mask.map(|mask| tensor(mask, problem.mask_shape())),
        }
    }

    fn mask(&self) -> Optional<Dispatch> {
        match &self.mask {
            Some(mask) => Optional::Present(mask.clone()),
            None => Optional::Absent,
        }
    }
}

/// Output and gradients without autodiff, whose sums are kernels more to compile; the bias, which
/// Burn adds, is added here.
pub(super) fn run(setup: &Setup, problem: &Problem) -> Outcome {
    let inputs = Inputs::new(setup, problem);
    let output = Dispatch::deform_conv_forward(
        inputs.x.clone(),
        inputs.offset.clone(),
        inputs.weight.clone(),
        inputs.mask(),
        problem.options,
    );
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
    let wanted = Wanted {
        x: true,
        offset: true,
        weight: true,
        mask: inputs.mask.is_some(),
    };
    Outcome {
        output,
        grad_bias,
        ..gradients(setup, problem, wanted)
    }
}

/// The wanted gradients; nothing for the others.
pub(super) fn gradients(setup: &Setup, problem: &Problem, wanted: Wanted) -> Outcome {
    let inputs = Inputs::new(setup, problem);
    let mask = inputs.mask();
    let grad = setup.laid_out(&problem.grad, problem.output_shape());
    let found = Dispatch::deform_conv_backward(
        inputs.x,
        inputs.offset,
        inputs.weight,
        mask,
        grad.into_dispatch(),
        problem.options,
        wanted,
    );
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
    match tensor {
        Optional::Present(tensor) => Some(values_of(Tensor::<4>::from_dispatch(tensor))),
        Optional::Absent => None,
    }
}

/// Every choice of gradients.
pub(super) fn every_choice() -> impl Iterator<Item = Wanted> {
    (0..16).map(|bits| Wanted {
        x: bits & 1 != 0,
        offset: bits & 2 != 0,
        weight: bits & 4 != 0,
        mask: bits & 8 != 0,
    })
}

/// What [`gradients`] gives if all of them are `all`.
pub(super) fn wanted_part(all: &Outcome, wanted: Wanted) -> Outcome {
    let part = |values: &Vec<f64>, wanted: bool| match wanted {
        true => values.clone(),
        false => Vec::new(),
    };
    Outcome {
        output: Vec::new(),
        grad_input: part(&all.grad_input, wanted.x),
        grad_offset: part(&all.grad_offset, wanted.offset),
        grad_weight: part(&all.grad_weight, wanted.weight),
        grad_mask: all.grad_mask.clone().filter(|_| wanted.mask),
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

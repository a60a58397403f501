//! Only gradients of tracked inputs are computed.

use aweigh_deform_conv::{
    DeformConv2dConfig, DeformConvInput, DeformConvOps, NeedsGrad, Optional, deform_conv2d,
};
use aweigh_testkit::device;
use burn::backend::Dispatch;
use burn::module::Module;
use burn::tensor::{DType, Tensor, TensorData};

use crate::naive::{Outcome, Problem};
use crate::support::{Plan, Random, Setup, call, values_of};

fn problem(mask: bool) -> Problem {
    let plan = Plan {
        mask,
        ..Plan::new(2, [4, 3], [5, 6])
    };
    plan.fill(&mut Random::new(3))
}

/// Every way to choose from five inputs.
fn choices() -> impl Iterator<Item = [bool; 5]> {
    (0..32_u8).map(|bits| [0, 1, 2, 3, 4].map(|i| bits & (1 << i) != 0))
}

/// What an input that is not tracked looks like.
#[derive(Debug, Clone, Copy)]
enum Constant {
    /// A tensor outside of autodiff.
    Plain,
    /// A tensor on the autodiff device that requires no gradient.
    Untracked,
}

fn leaf<const D: usize>(
    values: &[f64],
    shape: [usize; D],
    tracked: bool,
    constant: Constant,
) -> Tensor<D> {
    let tensor = Setup::cpu(DType::F32).tensor(values, shape);
    match (tracked, constant) {
        (true, _) => tensor.autodiff().require_grad(),
        (false, Constant::Untracked) => tensor.autodiff(),
        (false, Constant::Plain) => tensor,
    }
}

/// Runs with the chosen inputs tracked: input, offset, weight, mask, bias.
fn check(problem: &Problem, tracked: [bool; 5], constant: Constant, expected: &Outcome) {
    let x = leaf(&problem.x, problem.x_shape(), tracked[0], constant);
    let offset = leaf(
        &problem.offset,
        problem.offset_shape(),
        tracked[1],
        constant,
    );
    let weight = leaf(
        &problem.weight,
        problem.weight_shape(),
        tracked[2],
        constant,
    );
    let mask = problem.mask.as_ref();
    let mask = mask.map(|mask| leaf(mask, problem.mask_shape(), tracked[3], constant));
    let bias = problem.bias.as_ref();
    let bias = bias.map(|bias| leaf(bias, [bias.len()], tracked[4], constant));
    let input = DeformConvInput {
        x: x.clone(),
        offset: offset.clone(),
        mask: mask.clone(),
    };
    let output = deform_conv2d(input, weight.clone(), bias.clone(), problem.options);
    let grad = Setup::cpu(DType::F32).tensor(&problem.grad, problem.output_shape());
    let gradients = (output * grad).sum().backward();
    let found = [
        x.grad(&gradients).map(values_of),
        offset.grad(&gradients).map(values_of),
        weight.grad(&gradients).map(values_of),
        mask.and_then(|mask| mask.grad(&gradients)).map(values_of),
        bias.and_then(|bias| bias.grad(&gradients)).map(values_of),
    ];
    let all = [
        Some(expected.grad_input.clone()),
        Some(expected.grad_offset.clone()),
        Some(expected.grad_weight.clone()),
        expected.grad_mask.clone(),
        expected.grad_bias.clone(),
    ];
    for (i, (found, all)) in found.into_iter().zip(all).enumerate() {
        let want = if tracked[i] { all } else { None };
        assert!(
            found == want,
            "gradient {i} with {tracked:?} tracked, others {constant:?}, mask {}",
            problem.mask.is_some()
        );
    }
}

#[test]
fn only_tracked_inputs_have_gradients() {
    for mask in [false, true] {
        let problem = problem(mask);
        let all = Setup::cpu(DType::F32).run(&problem);
        for tracked in choices() {
            let any = tracked[0] || tracked[1] || tracked[2] || (mask && tracked[3]) || tracked[4];
            if any {
                check(&problem, tracked, Constant::Untracked, &all);
                check(&problem, tracked, Constant::Plain, &all);
            }
        }
    }
}

/// The gradient that an operator gives back, if it does.
fn given(gradient: Optional<Dispatch>) -> Option<Vec<f64>> {
    let gradient = gradient.into_option()?;
    Some(values_of(Tensor::<4>::from_dispatch(gradient)))
}

#[test]
fn operator_computes_only_what_is_needed() {
    for mask in [false, true] {
        let problem = problem(mask);
        let all = Setup::cpu(DType::F32).run(&problem);
        for [x, offset, weight, with_mask, skip] in choices() {
            if skip {
                continue;
            }
            let needs = NeedsGrad {
                x,
                offset,
                weight,
                mask: with_mask,
            };
            let found = backward(&problem, needs);
            let pick = |needed: bool, all: &Vec<f64>| needed.then(|| all.clone());
            let expected = [
                pick(x, &all.grad_input),
                pick(offset, &all.grad_offset),
                pick(weight, &all.grad_weight),
                all.grad_mask.as_ref().and_then(|all| pick(with_mask, all)),
            ];
            assert!(found == expected, "{needs:?}, mask {mask}");
        }
    }
}

fn backward(problem: &Problem, needs: NeedsGrad) -> [Option<Vec<f64>>; 4] {
    let setup = Setup::cpu(DType::F32);
    let grad = setup.tensor(&problem.grad, problem.output_shape());
    let (tensors, grad) = (setup.operands(problem), Tensor::<4>::into_dispatch(grad));
    let found = Dispatch::deform_conv_backward(tensors, grad, call(problem), needs);
    [found.x, found.offset, found.weight, found.mask].map(given)
}

/// The same with a larger input and output.
fn larger() -> Problem {
    Plan::new(2, [4, 3], [7, 6]).fill(&mut Random::new(3))
}

#[test]
#[should_panic(expected = "deformable convolution: checked were")]
fn tensors_of_another_call_are_refused() {
    let tensors = Setup::cpu(DType::F32).operands(&larger());
    let _ = Dispatch::deform_conv_forward(tensors, call(&problem(false)));
}

#[test]
#[should_panic(expected = "deformable convolution: the gradient of the output")]
fn a_gradient_of_another_call_is_refused() {
    let (setup, problem, larger) = (Setup::cpu(DType::F32), problem(false), larger());
    let grad = setup.tensor(&larger.grad, larger.output_shape());
    let grad = Tensor::<4>::into_dispatch(grad);
    let needs = NeedsGrad {
        x: true,
        offset: true,
        weight: true,
        mask: false,
    };
    let _ = Dispatch::deform_conv_backward(setup.operands(&problem), grad, call(&problem), needs);
}

#[test]
fn frozen_layers_pass_gradients_on() {
    let device = device().autodiff();
    let layer = DeformConv2dConfig::new([2, 3], [1, 1])
        .init(&device)
        .no_grad();
    let x = Tensor::<4>::ones([1, 2, 4, 4], &device).require_grad();
    let offset = Tensor::zeros([1, 2, 4, 4], &device);
    let gradients = layer.forward(x.clone(), offset, None).sum().backward();
    let bias = layer.bias.as_ref().expect("a bias");
    let found = [
        x.grad(&gradients).is_some(),
        layer.weight.val().grad(&gradients).is_some(),
        bias.val().grad(&gradients).is_some(),
    ];
    assert_eq!(found, [true, false, false]);
}

#[test]
fn checkpointed_graphs_have_the_same_gradients() {
    let problem = problem(true);
    let device = device().autodiff().gradient_checkpointing();
    let leaf = |values: &[f64], shape: [usize; 4]| {
        let data = TensorData::new(values.to_vec(), shape);
        Tensor::<4>::from_data(data, (&device, DType::F32)).require_grad()
    };
    let x = leaf(&problem.x, problem.x_shape());
    let mask = problem.mask.as_ref().expect("a mask");
    // The input is itself computed, so that it may be computed again in the backward pass.
    let input = DeformConvInput {
        x: x.clone() * 2.0,
        offset: leaf(&problem.offset, problem.offset_shape()),
        mask: Some(leaf(mask, problem.mask_shape())),
    };
    let weight = leaf(&problem.weight, problem.weight_shape()) / 2.0;
    let output = deform_conv2d(input, weight, None, problem.options);
    let grad = leaf(&problem.grad, problem.output_shape());
    let gradients = (output * grad).sum().backward();
    let found = values_of(x.grad(&gradients).expect("a gradient"));
    assert_eq!(found, Setup::cpu(DType::F32).run(&problem).grad_input);
}

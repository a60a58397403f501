//! Central differences in f64, away from the kinks of bilinear sampling.

use aweigh_deform_conv::{DeformConvInput, DeformConvOptions, deform_conv2d};
use aweigh_testkit::finite_difference;
use burn::tensor::DType;

use crate::naive::Problem;
use crate::support::{Offsets, Plan, Random, Setup, values_of};

/// Step of the differences. The output is linear in every single value except where a sample
/// moves from one cell to the next, which the offsets keep a tenth of a pixel away from: the
/// differences have only rounding errors, about `1e-16 * |f| / step`, where `|f|` is below 100.
const STEP: f64 = 1e-3;
const TOLERANCE: f64 = 1e-10;

/// The sum of the output's elements, each times its gradient.
fn total(setup: &Setup, problem: &Problem) -> f64 {
    let mask = problem.mask.as_ref();
    let bias = problem.bias.as_ref();
    let input = DeformConvInput {
        x: setup.tensor(&problem.x, problem.x_shape()),
        offset: setup.tensor(&problem.offset, problem.offset_shape()),
        mask: mask.map(|mask| setup.tensor(mask, problem.mask_shape())),
    };
    let weight = setup.tensor(&problem.weight, problem.weight_shape());
    let bias = bias.map(|bias| setup.tensor(bias, [bias.len()]));
    let output = values_of(deform_conv2d(input, weight, bias, problem.options));
    output.iter().zip(&problem.grad).map(|(o, g)| o * g).sum()
}

fn check(plan: &Plan) {
    let setup = Setup::cpu(DType::F64);
    let problem = plan.fill(&mut Random::new(17));
    let found = setup.run(&problem);
    let close = |name: &str, got: &[f64], put: &dyn Fn(&mut Problem, Vec<f64>), at: &[f64]| {
        let function = |values: &[f64]| {
            let mut moved = problem.clone();
            put(&mut moved, values.to_vec());
            total(&setup, &moved)
        };
        for (i, (got, want)) in got
            .iter()
            .zip(finite_difference(function, at, STEP))
            .enumerate()
        {
            let error = (got - want).abs();
            assert!(
                error <= TOLERANCE,
                "{plan:?}: {name}[{i}] is {got}, not {want}"
            );
        }
    };
    close("grad_input", &found.grad_input, &|p, v| p.x = v, &problem.x);
    close(
        "grad_offset",
        &found.grad_offset,
        &|p, v| p.offset = v,
        &problem.offset,
    );
    close(
        "grad_weight",
        &found.grad_weight,
        &|p, v| p.weight = v,
        &problem.weight,
    );
    if let (Some(got), Some(at)) = (&found.grad_mask, &problem.mask) {
        close("grad_mask", got, &|p, v| p.mask = Some(v), at);
    }
    if let (Some(got), Some(at)) = (&found.grad_bias, &problem.bias) {
        close("grad_bias", got, &|p, v| p.bias = Some(v), at);
    }
}

fn plan(offset_groups: usize, weight_groups: usize) -> Plan {
    let plain = Plan::new(2, [4, 4], [4, 5]);
    Plan {
        offsets: Offsets::Smooth,
        options: DeformConvOptions {
            offset_groups,
            weight_groups,
            ..plain.options
        },
        ..plain
    }
}

#[test]
fn modulated() {
    check(&plan(1, 1));
    check(&plan(2, 2));
}

#[test]
fn plain() {
    check(&Plan {
        mask: false,
        bias: false,
        ..plan(4, 1)
    });
}

#[test]
fn strided_and_dilated() {
    let mut strided = plan(1, 2);
    strided.options.stride = [2, 1];
    strided.options.dilation = [1, 2];
    strided.options.padding = [0, 3];
    check(&strided);
}

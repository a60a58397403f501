//! The hand-written gradients against central differences of the same function in `f64`, which
//! Burn's own operators compute.

use aweigh_conv::{Activation, BatchNorm, Conv2dOptions, GroupNorm, plain};
use aweigh_testkit::{device, finite_difference};
use burn::tensor::ops::ConvOptions;
use burn::tensor::{DType, Tensor, TensorData};

use crate::support::{Outcome, close, noise, run};

/// The functions are smooth but for the corners of activations, which no value is this close to.
const STEP: f64 = 1e-5;
/// Roundings of the gradients in `f32`.
const TOLERANCE: f32 = 2e-6;

/// Checks gradients of `f`: `found` was computed in `f32` from inputs of these shapes.
fn check(shapes: &[[usize; 4]], found: &Outcome, f: impl Fn(Vec<Tensor<4>>) -> Tensor<4>) {
    let lens: Vec<usize> = shapes.iter().map(|shape| shape.iter().product()).collect();
    let start: Vec<f64> = (1u64..)
        .zip(&lens)
        .flat_map(|(seed, len)| noise(*len, seed))
        .map(f64::from)
        .collect();
    let upstream = noise(found.output.len(), 99);
    let function = |values: &[f64]| {
        let mut rest = values;
        let inputs = shapes.iter().map(|shape| {
            let (taken, left) = rest.split_at(shape.iter().product());
            rest = left;
            let data = TensorData::new(taken.to_vec(), *shape);
            Tensor::from_data(data, (&device(), DType::F64))
        });
        let output: Vec<f64> = f(inputs.collect()).try_into_vec_as().expect("values");
        let products = output.iter().zip(&upstream);
        products.map(|(o, u)| o * f64::from(*u)).sum()
    };
    let slopes = finite_difference(function, &start, STEP);
    let slopes: Vec<f32> = slopes.into_iter().map(|slope| slope as f32).collect();
    let mut rest = slopes.as_slice();
    for (i, len) in lens.iter().enumerate() {
        let (expected, left) = rest.split_at(*len);
        rest = left;
        close(
            &format!("gradient {i}"),
            &found.gradients[i],
            expected,
            TOLERANCE,
        );
    }
}

/// A ReLU6 gets values that reach beyond its upper corner.
fn factor(activation: Activation) -> f64 {
    match activation {
        Activation::Relu6 => 8.0,
        _ => 1.0,
    }
}

fn check_conv(x: [usize; 4], weight: [usize; 4], conv: ConvOptions<2>) {
    for activation in [Activation::Relu, Activation::Relu6] {
        let options = || Conv2dOptions {
            conv: conv.clone(),
            activation,
            layer: None,
        };
        let shapes = [x, weight, [1, weight[0], 1, 1]];
        let bias = |inputs: &[Tensor<4>]| Some(inputs[2].clone().reshape([-1]));
        let input = |inputs: &[Tensor<4>]| inputs[0].clone() * factor(activation);
        let found = run(&shapes, |i| {
            aweigh_conv::conv2d(input(&i), i[1].clone(), bias(&i), options())
        });
        check(&shapes, &found, |i| {
            plain::conv2d(input(&i), i[1].clone(), bias(&i), options())
        });
    }
}

#[test]
fn of_convolutions() {
    let options =
        |stride, padding, groups| ConvOptions::new([stride; 2], [padding; 2], [1; 2], groups);
    check_conv([2, 8, 6, 7], [9, 8, 3, 3], options(1, 1, 1));
    check_conv([2, 3, 6, 7], [4, 3, 3, 3], options(2, 1, 1));
    check_conv([1, 5, 4, 5], [6, 5, 1, 1], options(1, 0, 1));
    check_conv([1, 6, 5, 6], [6, 1, 3, 3], options(1, 1, 6));
    check_conv([1, 6, 5, 6], [4, 3, 3, 3], options(1, 1, 2));
}

#[test]
fn of_group_normalisation() {
    let shapes = [[2, 6, 3, 4], [1, 6, 1, 1], [1, 6, 1, 1]];
    let vector = |x: &Tensor<4>| x.clone().reshape([-1]);
    for activation in [Activation::Relu, Activation::Relu6] {
        let norm = GroupNorm {
            groups: 3,
            epsilon: 1e-5,
            activation,
            layer: None,
        };
        let weight = |i: &[Tensor<4>]| vector(&i[1]) * factor(activation);
        let found = run(&shapes, |i| {
            aweigh_conv::group_norm(i[0].clone(), weight(&i), vector(&i[2]), norm)
        });
        check(&shapes, &found, |i| {
            plain::group_norm(i[0].clone(), weight(&i), vector(&i[2]), norm)
        });
    }
}

#[test]
fn of_batch_normalisation() {
    let shapes = [[3, 4, 3, 4], [1, 4, 1, 1], [1, 4, 1, 1]];
    let vector = |x: &Tensor<4>| x.clone().reshape([-1]);
    for activation in [Activation::None, Activation::Relu, Activation::Relu6] {
        let norm = BatchNorm {
            epsilon: 1e-5,
            activation,
            layer: None,
        };
        let weight = |i: &[Tensor<4>]| vector(&i[1]) * factor(activation);
        let found = run(&shapes, |i| {
            aweigh_conv::batch_norm(i[0].clone(), weight(&i), vector(&i[2]), norm).output
        });
        check(&shapes, &found, |i| {
            plain::batch_norm(i[0].clone(), weight(&i), vector(&i[2]), norm).output
        });
    }
}

#[test]
fn of_residual_sums() {
    let shapes = [[2, 3, 4, 5]; 2];
    for activation in [Activation::None, Activation::Relu, Activation::Relu6] {
        let input = |i: &[Tensor<4>]| i[0].clone() * factor(activation);
        let found = run(&shapes, |i| {
            aweigh_conv::add(input(&i), i[1].clone(), activation)
        });
        check(&shapes, &found, |i| {
            aweigh_conv::activate(input(&i) + i[1].clone(), activation)
        });
    }
}

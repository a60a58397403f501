//! Every operator equals its twin of plain tensors, forward and backward.

use aweigh_conv::{
    Activation, BatchNorm, BatchNormalised, Conv2dOptions, GroupNorm, Levels, Maps, MaxPool,
    activate, add, batch_norm, conv2d, group_norm, max_pool2d, plain, upsample_add,
};
use burn::tensor::Tensor;
use burn::tensor::ops::ConvOptions;

use crate::support::{close, equal, run};

/// Sums of up to a thousand products in another order, and Winograd's transforms: 20 roundings of
/// `f32` of the largest value.
const TOLERANCE: f32 = 2e-6;

const ACTIVATIONS: [Activation; 3] = [Activation::None, Activation::Relu, Activation::Relu6];

/// A vector from a tensor `[1, C, 1, 1]`.
fn vector(values: &Tensor<4>) -> Tensor<1> {
    values.clone().reshape([-1])
}

fn check_conv(x: [usize; 4], weight: [usize; 4], conv: ConvOptions<2>) {
    for activation in ACTIVATIONS {
        for bias in [false, true] {
            let options = || Conv2dOptions {
                conv: conv.clone(),
                activation,
                layer: None,
            };
            let shapes = [x, weight, [1, weight[0], 1, 1]];
            let shapes = &shapes[..if bias { 3 } else { 2 }];
            type Conv = fn(Tensor<4>, Tensor<4>, Option<Tensor<1>>, Conv2dOptions) -> Tensor<4>;
            let with = |f: Conv| {
                run(shapes, |inputs| {
                    let bias = inputs.get(2).map(vector);
                    f(inputs[0].clone(), inputs[1].clone(), bias, options())
                })
            };
            let name = format!("{x:?} {weight:?} {conv:?} {activation:?}");
            // What a ReLU6 cuts off are sums of up to four times 6, whose roundings are as large.
            let tolerance = match activation {
                Activation::Relu6 => 4.0 * TOLERANCE,
                _ => TOLERANCE,
            };
            equal(&name, &with(conv2d), &with(plain::conv2d), tolerance);
        }
    }
}

#[test]
fn convolutions() {
    let options = |stride, padding, dilation, groups| {
        ConvOptions::new([stride; 2], [padding; 2], [dilation; 2], groups)
    };
    check_conv([2, 20, 13, 17], [24, 20, 3, 3], options(1, 1, 1, 1));
    check_conv([2, 20, 13, 17], [24, 20, 3, 3], options(2, 1, 1, 1));
    check_conv([2, 20, 13, 17], [24, 20, 1, 1], options(1, 0, 1, 1));
    check_conv([2, 20, 13, 17], [24, 20, 1, 1], options(2, 0, 1, 1));
    check_conv([1, 3, 31, 29], [8, 3, 7, 7], options(2, 3, 1, 1));
    check_conv([2, 6, 13, 17], [4, 6, 3, 3], options(1, 2, 2, 1));
    check_conv([2, 12, 9, 8], [18, 4, 3, 3], options(1, 1, 1, 3));
    check_conv([2, 18, 9, 8], [18, 1, 3, 3], options(1, 1, 1, 18));
    check_conv([2, 18, 9, 8], [18, 1, 3, 3], options(2, 1, 1, 18));
    check_conv([2, 18, 9, 8], [36, 1, 5, 5], options(1, 2, 1, 18));
    check_conv(
        [1, 2, 1, 5],
        [3, 2, 1, 3],
        ConvOptions::new([1, 1], [0, 1], [1, 1], 1),
    );
}

#[test]
fn padding_that_differs_on_two_sides_is_burns() {
    let padding = [(0, 1), (2, 1)];
    let options = ConvOptions::new_with_padding([1, 1], padding, [1, 1], 1);
    check_conv([1, 3, 6, 7], [4, 3, 3, 3], options);
}

#[test]
fn group_normalisation() {
    for (shape, groups) in [([2, 12, 5, 7], 3), ([1, 32, 16, 16], 32), ([2, 8, 1, 1], 2)] {
        for activation in ACTIVATIONS {
            let norm = GroupNorm {
                groups,
                epsilon: 1e-5,
                activation,
                layer: None,
            };
            let shapes = [shape, [1, shape[1], 1, 1], [1, shape[1], 1, 1]];
            type Norm = fn(Tensor<4>, Tensor<1>, Tensor<1>, GroupNorm) -> Tensor<4>;
            let with = |f: Norm| {
                run(&shapes, |inputs| {
                    let [weight, bias] = [1, 2].map(|i: usize| vector(&inputs[i]));
                    f(inputs[0].clone(), weight, bias, norm)
                })
            };
            let name = format!("{shape:?} {norm:?}");
            // The twin subtracts means and sums squares in `f32`.
            equal(&name, &with(group_norm), &with(plain::group_norm), 5e-6);
        }
    }
}

#[test]
fn batch_normalisation() {
    for shape in [[2, 12, 5, 7], [1, 32, 16, 16], [4, 8, 1, 1]] {
        for activation in ACTIVATIONS {
            let norm = BatchNorm {
                epsilon: 1e-5,
                activation,
                layer: None,
            };
            let shapes = [shape, [1, shape[1], 1, 1], [1, shape[1], 1, 1]];
            type Norm = fn(Tensor<4>, Tensor<1>, Tensor<1>, BatchNorm) -> BatchNormalised;
            let with = |f: Norm| {
                let mut statistics = Vec::new();
                let outcome = run(&shapes, |inputs| {
                    // Beyond the upper corner of a ReLU6 too.
                    let weight = vector(&inputs[1]) * 8.0;
                    let found = f(inputs[0].clone(), weight, vector(&inputs[2]), norm);
                    statistics = [found.mean, found.variance]
                        .map(|t| t.try_into_vec_as::<f32>().expect("values"))
                        .concat();
                    found.output
                });
                (outcome, statistics)
            };
            let (found, statistics) = with(batch_norm);
            let (expected, expected_statistics) = with(plain::batch_norm);
            let name = format!("{shape:?} {norm:?}");
            // The twin subtracts means and sums squares in `f32`.
            equal(&name, &found, &expected, 5e-6);
            close(&name, &statistics, &expected_statistics, 1e-6);
        }
    }
}

#[test]
fn residual_sums() {
    for shape in [[2, 3, 5, 7], [1, 1, 1, 1], [2, 16, 32, 32]] {
        for activation in ACTIVATIONS {
            // Beyond the upper corner of a ReLU6 too.
            let with = |f: &dyn Fn(Tensor<4>, Tensor<4>) -> Tensor<4>| {
                run(&[shape, shape], |x| f(x[0].clone() * 8.0, x[1].clone()))
            };
            let found = with(&|a, b| add(a, b, activation));
            let twin = with(&|a, b| activate(a + b, activation));
            equal(&format!("{shape:?} {activation:?}"), &found, &twin, 0.0);
        }
    }
}

#[test]
fn pooling() {
    for (shape, kernel, stride, padding) in [
        ([2, 5, 13, 18], 3, 2, 1),
        ([2, 5, 13, 18], 1, 2, 0),
        ([1, 2, 8, 8], 2, 2, 0),
        ([1, 2, 8, 9], 3, 1, 1),
    ] {
        let pool = MaxPool {
            kernel: [kernel; 2],
            stride: [stride; 2],
            padding: [padding; 2],
        };
        let with =
            |f: fn(Tensor<4>, MaxPool) -> Tensor<4>| run(&[shape], |x| f(x[0].clone(), pool));
        let name = format!("{shape:?} {pool:?}");
        // Gradients of windows that share a maximum are added in another order.
        equal(&name, &with(max_pool2d), &with(plain::max_pool2d), 1e-6);
    }
}

#[test]
fn upsampling() {
    for (fine, coarse) in [
        ([2, 3, 8, 12], [2, 3, 4, 6]),
        ([2, 3, 7, 11], [2, 3, 4, 6]),
        ([1, 2, 9, 5], [1, 2, 3, 5]),
    ] {
        let with = |f: fn(Tensor<4>, Tensor<4>) -> Tensor<4>| {
            run(&[fine, coarse], |x| f(x[0].clone(), x[1].clone()))
        };
        let name = format!("{fine:?} {coarse:?}");
        equal(&name, &with(upsample_add), &with(plain::upsample_add), 1e-6);
    }
}

/// A convolution and a group norm of two levels together, and of each on its own.
#[test]
fn levels_together_are_levels_apart() {
    let maps = [[2, 12, 9, 13], [2, 12, 4, 6], [2, 12, 1, 2]];
    for (weight, activation) in [
        ([16, 12, 3, 3], Activation::Relu),
        ([16, 12, 3, 3], Activation::None),
        ([3, 12, 3, 3], Activation::None),
        ([20, 12, 1, 1], Activation::Relu),
        ([20, 12, 1, 1], Activation::Relu6),
    ] {
        let padding = weight[2] / 2;
        let options = Conv2dOptions {
            conv: ConvOptions::new([1; 2], [padding; 2], [1; 2], 1),
            activation,
            layer: None,
        };
        let norm = GroupNorm {
            groups: 1,
            epsilon: 1e-5,
            activation,
            layer: None,
        };
        let per_channel = [1, weight[0], 1, 1];
        let shapes = [maps[0], maps[1], maps[2], weight, per_channel, per_channel];
        let joined = |maps: Vec<Tensor<4>>| {
            let flat = maps.into_iter().map(|map| map.flatten::<1>(0, 3));
            let flat = Tensor::cat(flat.collect(), 0);
            let len = flat.dims()[0];
            flat.reshape([len, 1, 1, 1])
        };
        let together = run(&shapes, |i| {
            let [bias, scale] = [4, 5].map(|at: usize| vector(&i[at]));
            let levels = Levels::new(i[..3].to_vec());
            let levels = levels.conv2d(i[3].clone(), Some(bias.clone()), options.clone());
            joined(levels.group_norm(scale, bias, norm).into_maps())
        });
        let apart = run(&shapes, |i| {
            let [bias, scale] = [4, 5].map(|at: usize| vector(&i[at]));
            let layers = |x: &Tensor<4>| {
                let x = conv2d(x.clone(), i[3].clone(), Some(bias.clone()), options.clone());
                group_norm(x, scale.clone(), bias.clone(), norm)
            };
            joined(i[..3].iter().map(layers).collect())
        });
        // Small maps are direct sums on their own, and transformed with the others.
        equal(
            &format!("{weight:?} {activation:?}"),
            &together,
            &apart,
            5e-6,
        );
    }
}

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::kernels::reference::{Case, check, normal, output, same_on_any_threads, written};

/// Output, output with bias and ReLU or ReLU6, and both gradients.
fn found(set: InstructionSet, case: &Case, bias: &[f32]) -> [Vec<f32>; 5] {
    let s = &case.sizes;
    let [plain, relu, relu6] = [
        (None, Activation::None),
        (Some(bias), Activation::Relu),
        (Some(bias), Activation::Relu6),
    ]
    .map(|(bias, activation)| {
        let mut y = output(s.output_len());
        forward(set, s, &case.x, &case.weight, bias, activation, &mut y);
        y
    });
    let mut dx = output(s.input_len());
    input_gradient(set, s, &case.grad, &case.weight, &mut dx);
    let mut dw = output(s.weight_len());
    weight_gradient(set, s, &case.x, &case.grad, &mut dw);
    [plain, relu, relu6, dx, dw].map(written)
}

fn sizes(
    [batch, channels]: [usize; 2],
    input: [usize; 2],
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 2],
    dilation: [usize; 2],
) -> ConvSizes {
    ConvSizes {
        batch,
        channels_in: channels,
        channels_out: channels,
        input,
        kernel,
        stride,
        padding,
        dilation,
        groups: channels,
    }
}

fn three(planes: [usize; 2], input: [usize; 2], stride: usize, padding: usize) -> ConvSizes {
    sizes(planes, input, [3; 2], [stride; 2], [padding; 2], [1; 2])
}

fn cases() -> Vec<ConvSizes> {
    let mut cases = vec![
        three([2, 3], [1, 1], 1, 1),
        three([2, 3], [1, 1], 2, 1),
        three([1, 1], [2, 2], 1, 0),
        three([1, 2], [70, 200], 1, 1),
        three([1, 2], [71, 201], 2, 1),
        three([0, 2], [5, 5], 1, 1),
        // Wider than a strip has room for.
        three([1, 1], [20, 5000], 1, 1),
        sizes([1, 2], [20, 20], [1, 1], [2, 2], [0, 0], [1, 1]),
        // Padding beyond the kernel's reach.
        sizes([1, 2], [9, 20], [3, 3], [2, 2], [4, 5], [1, 1]),
    ];
    let mut random = ChaCha8Rng::seed_from_u64(31);
    for i in 0..150 {
        let mut some =
            |range: std::ops::Range<usize>| [(); 2].map(|()| random.random_range(range.clone()));
        let (planes, input) = (some(1..4), some(1..60));
        cases.push(match i % 3 {
            0 => three(planes, input, 1 + i / 3 % 2, i / 6 % 2),
            1 => sizes(
                planes,
                input,
                [5; 2],
                [1 + i / 3 % 2; 2],
                some(0..3),
                [1; 2],
            ),
            _ => sizes(
                planes,
                input,
                some(1..6),
                some(1..4),
                some(0..4),
                some(1..4),
            ),
        });
    }
    cases
}

#[test]
fn sizes_of_every_kind() {
    for (seed, sizes) in cases().into_iter().enumerate() {
        let case = Case::new(sizes, seed as u64);
        let bias = normal(sizes.channels_out, &mut ChaCha8Rng::seed_from_u64(1));
        let (out, dx, dw) = (
            case.forward(),
            case.input_gradient(),
            case.weight_gradient(),
        );
        let shifted = |(i, y): (usize, &f64)| {
            (y + f64::from(bias[i / sizes.pixels_out() % sizes.channels_out])).max(0.0)
        };
        let relu: Vec<f64> = out.iter().enumerate().map(shifted).collect();
        let relu6: Vec<f64> = relu.iter().map(|y| y.min(6.0)).collect();
        for set in InstructionSet::available() {
            let [found, found_relu, found_relu6, found_dx, found_dw] = found(set, &case, &bias);
            // At most 25 roundings of each sum, and for the weight those of a strip's lanes, in
            // sums that may cancel.
            check("output", &sizes, &found, &out, 5e-7);
            check("output with a ReLU", &sizes, &found_relu, &relu, 5e-7);
            check("output with a ReLU6", &sizes, &found_relu6, &relu6, 5e-7);
            check("gradient of the input", &sizes, &found_dx, &dx, 5e-7);
            check("gradient of the weight", &sizes, &found_dw, &dw, 2e-6);
        }
    }
}

#[test]
fn bits_do_not_depend_on_threads() {
    for sizes in [
        three([3, 5], [61, 77], 1, 1),
        three([3, 5], [61, 77], 2, 1),
        sizes([2, 5], [61, 77], [5, 5], [1, 1], [2, 2], [1, 1]),
    ] {
        let case = Case::new(sizes, 5);
        for set in InstructionSet::available() {
            same_on_any_threads(set, || found(set, &case, &[0.5; 5]).concat());
        }
    }
}

#[test]
fn values_that_are_not_finite_show_where_they_belong() {
    for stride in [1, 2] {
        let sizes = three([1, 2], [40, 50], stride, 1);
        for set in InstructionSet::available() {
            for place in [0, 49, 1000, 1999] {
                let mut case = Case::new(sizes, 6);
                case.x[place] = f32::NAN;
                let [_, relu, relu6, _, dw] = found(set, &case, &[0.0; 2]);
                let expected = case.forward();
                for ((relu, relu6), expected) in relu.iter().zip(relu6).zip(expected) {
                    let seen = [relu.is_nan(), relu6.is_nan()];
                    assert_eq!(seen, [expected.is_nan(); 2], "{set} {stride} {place}");
                }
                let expected = case.weight_gradient();
                for (dw, expected) in dw.iter().zip(expected) {
                    assert!(dw.is_nan() || !expected.is_nan(), "{set} {stride} {place}");
                }
            }
            let mut case = Case::new(sizes, 7);
            case.grad[17] = f32::INFINITY;
            let [_, _, _, dx, dw] = found(set, &case, &[0.0; 2]);
            let expected = case.input_gradient();
            for (dx, expected) in dx.iter().zip(expected) {
                assert_eq!(dx.is_finite(), expected.is_finite(), "{set} {stride}");
            }
            assert!(dw[..9].iter().any(|dw| !dw.is_finite()), "{set} {stride}");
        }
    }
}

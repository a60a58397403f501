use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::kernels::reference::{Case, check, check_not_finite, filled, same_on_any_threads};

/// The computations, in the order of [`NAMES`].
const NAMES: [&str; 3] = ["forward", "input gradient", "weight gradient"];

/// Sizes of a convolution 3x3.
fn sizes(batch: usize, channels: [usize; 2], input: [usize; 2], padding: [usize; 2]) -> ConvSizes {
    ConvSizes {
        batch,
        channels_in: channels[0],
        channels_out: channels[1],
        input,
        kernel: [3, 3],
        stride: [1, 1],
        padding,
        dilation: [1, 1],
        groups: 1,
    }
}

fn compute(set: InstructionSet, case: &Case) -> [Vec<f32>; 3] {
    let Case {
        sizes,
        x,
        weight,
        grad,
    } = case;
    [
        filled(sizes.output_len(), |out| {
            forward(set, &[*sizes], x, weight, None, Activation::None, out)
        }),
        filled(sizes.input_len(), |out| {
            input_gradient(set, &[*sizes], grad, weight, out)
        }),
        filled(sizes.weight_len(), |out| {
            weight_gradient(set, &[*sizes], x, grad, out)
        }),
    ]
}

/// Errors grow with the number of products in a sum: 4e-7 to 8e-7 for a few channels, 1.1e-6 to
/// 1.4e-6 for hundreds.
const BOUND: f64 = 2e-6;

fn check_all(set: InstructionSet, case: &Case) {
    check_against(set, case, &references(case));
}

fn references(case: &Case) -> [Vec<f64>; 3] {
    [
        case.forward(),
        case.input_gradient(),
        case.weight_gradient(),
    ]
}

fn check_against(set: InstructionSet, case: &Case, expected: &[Vec<f64>; 3]) {
    for ((name, found), expected) in NAMES.iter().zip(compute(set, case)).zip(expected) {
        check(
            &format!("{name}, {set},"),
            &case.sizes,
            &found,
            expected,
            BOUND,
        );
    }
}

#[test]
fn random_sizes_are_the_direct_convolution() {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    for seed in 0..100 {
        let channels = [random.random_range(1..70), random.random_range(1..70)];
        let input = [random.random_range(1..20), random.random_range(1..40)];
        let padding = [random.random_range(0..3), random.random_range(0..3)];
        let case = Case::new(
            sizes(random.random_range(1..4), channels, input, padding),
            seed,
        );
        for set in InstructionSet::available() {
            check_all(set, &case);
        }
    }
}

/// Sizes that take every path: few tiles and many, all channels at once and in passes.
fn paths() -> Vec<ConvSizes> {
    vec![
        // Chunks of tiles; all sums of the gradient of the weight at once.
        sizes(2, [20, 40], [33, 50], [1, 1]),
        // Panels of outputs, inputs in parts; blocks of outputs and panels of inputs.
        sizes(1, [260, 130], [11, 9], [1, 1]),
        // Passes over the tiles.
        sizes(2, [20, 24], [103, 104], [1, 1]),
        sizes(3, [17, 1], [6, 5], [0, 2]),
    ]
}

#[test]
fn large_sizes_are_the_direct_convolution() {
    for (seed, sizes) in paths().into_iter().enumerate() {
        let case = Case::new(sizes, seed as u64);
        let expected = references(&case);
        for set in InstructionSet::available() {
            check_against(set, &case, &expected);
        }
    }
}

#[test]
fn results_are_the_same_for_any_number_of_threads() {
    for (seed, sizes) in paths().into_iter().enumerate() {
        let case = Case::new(sizes, seed as u64);
        for set in InstructionSet::available() {
            let name = format!("{set}, {sizes:?}");
            same_on_any_threads(name, || compute(set, &case).concat());
        }
    }
}

#[test]
fn bias_and_activation_come_after_the_convolution() {
    let case = Case::new(sizes(2, [5, 37], [9, 14], [1, 1]), 3);
    let Case {
        sizes, x, weight, ..
    } = &case;
    let bias: Vec<f32> = (0..sizes.channels_out).map(|i| i as f32 - 18.0).collect();
    let channel = |i: usize| f64::from(bias[i / sizes.pixels_out() % sizes.channels_out]);
    let sums = case.forward().into_iter().enumerate();
    let shifted: Vec<f64> = sums.map(|(i, sum)| sum + channel(i)).collect();
    let positive: Vec<f64> = shifted.iter().map(|value| value.max(0.0)).collect();
    let bounded: Vec<f64> = shifted.iter().map(|value| value.clamp(0.0, 6.0)).collect();
    for set in InstructionSet::available() {
        for (activation, expected) in [
            (Activation::None, &shifted),
            (Activation::Relu, &positive),
            (Activation::Relu6, &bounded),
        ] {
            let found = filled(sizes.output_len(), |out| {
                forward(set, &[*sizes], x, weight, Some(&bias), activation, out);
            });
            check("forward", sizes, &found, expected, BOUND);
        }
    }
}

#[test]
fn empty_maps_give_empty_outputs_and_no_gradient() {
    for (batch, input, padding) in [
        (0, [5, 5], [1, 1]),
        (2, [2, 7], [0, 0]),
        (2, [0, 3], [1, 1]),
    ] {
        let case = Case::new(sizes(batch, [3, 18], input, padding), 1);
        for set in InstructionSet::available() {
            check_all(set, &case);
        }
    }
}

#[test]
fn a_value_that_is_not_finite_shows_wherever_it_counts() {
    for bad in [f32::NAN, f32::INFINITY] {
        for at in [0, 77, 300] {
            let mut case = Case::new(sizes(1, [4, 20], [9, 11], [1, 1]), 5);
            case.x[at] = bad;
            case.grad[at] = bad;
            let expected = references(&case);
            for set in InstructionSet::available() {
                for ((name, found), expected) in
                    NAMES.iter().zip(compute(set, &case)).zip(&expected)
                {
                    check_not_finite(format!("{name}, {set}, {bad}"), &found, expected);
                }
                // An activation lets it through too.
                for activation in [Activation::Relu, Activation::Relu6] {
                    let found = filled(case.sizes.output_len(), |out| {
                        let (x, weight) = (&case.x, &case.weight);
                        forward(set, &[case.sizes], x, weight, None, activation, out);
                    });
                    let seen =
                        |(found, expected): (&f32, &f64)| !expected.is_nan() || found.is_nan();
                    assert!(found.iter().zip(&expected[0]).all(seen), "{set}, {bad}");
                }
            }
        }
    }
}

#[test]
fn only_kernels_of_3x3_with_stride_1_fit() {
    let fitting = sizes(1, [2, 3], [4, 5], [1, 1]);
    assert!(fits(&fitting));
    for other in [
        ConvSizes {
            kernel: [3, 1],
            ..fitting
        },
        ConvSizes {
            stride: [1, 2],
            ..fitting
        },
        ConvSizes {
            dilation: [2, 1],
            ..fitting
        },
        ConvSizes {
            padding: [1, 3],
            ..fitting
        },
        ConvSizes {
            groups: 2,
            channels_in: 4,
            channels_out: 4,
            ..fitting
        },
    ] {
        assert!(!fits(&other));
    }
}

//! Checks of convolutions that are products of matrices.

use std::mem::MaybeUninit;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::kernels::activation::Activation;
use crate::kernels::reference::{
    Case, check, check_not_finite, filled, normal, same_on_any_threads,
};
use crate::kernels::sizes::ConvSizes;
use crate::simd::InstructionSet;

/// Sums of up to some thousand products, in blocks of 256 at most, have a relative error of 2e-7 to
/// 8e-7; one value that is wrong in a thousand gives 3e-2.
pub(crate) const BOUND: f64 = 1.5e-6;

type Gradient = fn(InstructionSet, &ConvSizes, &[f32], &[f32], &mut [MaybeUninit<f32>]);

type Forward = fn(
    InstructionSet,
    &ConvSizes,
    &[f32],
    &[f32],
    Option<&[f32]>,
    Activation,
    &mut [MaybeUninit<f32>],
);

/// The functions of an algorithm.
#[derive(Clone, Copy)]
pub(crate) struct Algorithm {
    pub(crate) forward: Forward,
    pub(crate) input_gradient: Gradient,
    pub(crate) weight_gradient: Gradient,
}

impl Algorithm {
    /// Output, gradient by the input and gradient by the weight.
    pub(crate) fn results(&self, set: InstructionSet, case: &Case) -> [Vec<f32>; 3] {
        let sizes = &case.sizes;
        [
            filled(sizes.output_len(), |out| {
                (self.forward)(
                    set,
                    sizes,
                    &case.x,
                    &case.weight,
                    None,
                    Activation::None,
                    out,
                )
            }),
            filled(sizes.input_len(), |out| {
                (self.input_gradient)(set, sizes, &case.grad, &case.weight, out)
            }),
            filled(sizes.weight_len(), |out| {
                (self.weight_gradient)(set, sizes, &case.x, &case.grad, out)
            }),
        ]
    }

    /// Compares everything with the reference, for every instruction set.
    pub(crate) fn check(&self, sizes: ConvSizes, seed: u64) {
        let case = Case::new(sizes, seed);
        let expected = [
            case.forward(),
            case.input_gradient(),
            case.weight_gradient(),
        ];
        let biases = normal(sizes.channels_out, &mut ChaCha8Rng::seed_from_u64(seed + 1));
        for set in InstructionSet::available() {
            let names = ["output", "gradient by the input", "gradient by the weight"];
            for ((name, found), expected) in
                names.iter().zip(self.results(set, &case)).zip(&expected)
            {
                check(&format!("{set}: {name}"), &sizes, &found, expected, BOUND);
            }
            let pixels = sizes.pixels_out();
            let bias = |i: usize| f64::from(biases[i / pixels % sizes.channels_out]);
            let shifted = expected[0].iter().enumerate().map(|(i, sum)| sum + bias(i));
            let shifted: Vec<f64> = shifted.collect();
            for (activation, most) in [(Activation::Relu, f64::INFINITY), (Activation::Relu6, 6.0)]
            {
                let finished: Vec<f64> = shifted.iter().map(|v| v.clamp(0.0, most)).collect();
                let found = filled(sizes.output_len(), |out| {
                    (self.forward)(
                        set,
                        &sizes,
                        &case.x,
                        &case.weight,
                        Some(&biases),
                        activation,
                        out,
                    )
                });
                let name = format!("{set}: output with bias and {activation:?}");
                check(&name, &sizes, &found, &finished, BOUND);
            }
        }
    }

    /// Checks that results are the same for any number of threads.
    pub(crate) fn check_threads(&self, sizes: ConvSizes) {
        let case = Case::new(sizes, 1);
        for set in InstructionSet::available() {
            let name = format!("{set}, {sizes:?}");
            same_on_any_threads(name, || self.results(set, &case).concat());
        }
    }

    /// Checks that values that are not finite show in everything that depends on them.
    pub(crate) fn check_not_finite(&self, sizes: ConvSizes) {
        for (value, changed) in [f32::NAN, f32::INFINITY]
            .into_iter()
            .flat_map(|value| (0..3).map(move |changed| (value, changed)))
        {
            let mut case = Case::new(sizes, 2);
            let values = match changed {
                0 => &mut case.x,
                1 => &mut case.weight,
                _ => &mut case.grad,
            };
            let middle = values.len() / 2;
            values[middle] = value;
            let expected = [
                case.forward(),
                case.input_gradient(),
                case.weight_gradient(),
            ];
            for set in InstructionSet::available() {
                for (found, expected) in self.results(set, &case).iter().zip(&expected) {
                    check_not_finite(format!("{set}, {sizes:?}"), found, expected);
                }
            }
        }
    }
}

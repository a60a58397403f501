//! Which kernels compute a convolution.

use std::mem::MaybeUninit;
use std::ops::Range;

use super::activation::Activation;
use super::sizes::ConvSizes;
use super::{columns, depthwise, pointwise, winograd};
use crate::choice::Algorithm;
use crate::simd::InstructionSet;

/// A convolution on slices, of maps of one size or of several sizes with the same weights.
///
/// The maps of a size follow those of the size before, `[size][batch][channel][y][x]`.
#[derive(Debug, Clone, Copy)]
pub struct Convolution<'a> {
    /// Sizes and options for each size of maps; they differ in `input` alone.
    pub sizes: &'a [ConvSizes],
    /// Which sums may be used.
    pub algorithm: Algorithm,
    /// The instructions to compute with.
    pub set: InstructionSet,
}

/// The kernels of a convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kernels {
    /// Maps of all sizes at once.
    Winograd,
    /// Maps of one size at a time.
    Apart(OneSize),
}

/// Kernels for maps of one size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OneSize {
    Pointwise,
    Depthwise,
    Columns,
}

/// Tiles of a Winograd transform below which transforming the weights costs more than it saves.
const FEW_TILES: usize = 8;
/// Channels in and out below which vectors of 16 are mostly empty.
const FEW_CHANNELS: usize = 8;

/// Maps of one size, and where their values are in the input and the output.
struct Part<'a> {
    sizes: &'a ConvSizes,
    input: Range<usize>,
    output: Range<usize>,
}

impl<'a> Convolution<'a> {
    /// The kernels, the same for all sizes: only the number of tiles depends on `input`.
    fn kernels(&self) -> Kernels {
        let first = &self.sizes[0];
        if depthwise::fits(first) {
            return Kernels::Apart(OneSize::Depthwise);
        }
        if pointwise::fits(first) {
            return Kernels::Apart(OneSize::Pointwise);
        }
        let tiles = |sizes: &ConvSizes| {
            let [down, across] = sizes.output().map(|side| side.div_ceil(4));
            sizes.batch * down * across
        };
        let many = self.sizes.iter().map(tiles).sum::<usize>() >= FEW_TILES
            && first.channels_in.min(first.channels_out) >= FEW_CHANNELS;
        if self.algorithm == Algorithm::Fast && many && winograd::fits(first) {
            return Kernels::Winograd;
        }
        Kernels::Apart(OneSize::Columns)
    }

    /// The maps of each size.
    fn parts(&self) -> impl Iterator<Item = Part<'a>> {
        let mut at = [0; 2];
        self.sizes.iter().map(move |sizes| {
            let [input, output] = at;
            at = [input + sizes.input_len(), output + sizes.output_len()];
            Part {
                sizes,
                input: input..at[0],
                output: output..at[1],
            }
        })
    }

    /// Checks the sizes, and the lengths of the slices that are given.
    #[track_caller]
    fn check(&self, given: Lengths) {
        let Some(first) = self.sizes.first() else {
            panic!("a convolution of no sizes");
        };
        let alike = |other: &ConvSizes| {
            let input = first.input;
            *first == ConvSizes { input, ..*other }
        };
        assert!(
            self.sizes.iter().all(alike),
            "sizes differ in more than the map: {:?}",
            self.sizes
        );
        self.sizes.iter().for_each(ConvSizes::check);
        let sum = |len: fn(&ConvSizes) -> usize| self.sizes.iter().map(len).sum();
        let expected = Lengths {
            input: sum(ConvSizes::input_len),
            weight: first.weight_len(),
            bias: given.bias.map(|_| first.channels_out),
            output: sum(ConvSizes::output_len),
        };
        assert_eq!(given, expected, "lengths of slices for {:?}", self.sizes);
    }

    /// `conv(x) + bias`, and the activation of it, into every value of `out`.
    ///
    /// # Panics
    ///
    /// When there are no sizes, they differ in more than `input`, or a slice has another length than
    /// they say.
    pub fn forward(
        &self,
        x: &[f32],
        weight: &[f32],
        bias: Option<&[f32]>,
        activation: Activation,
        out: &mut [MaybeUninit<f32>],
    ) {
        self.check(Lengths {
            input: x.len(),
            weight: weight.len(),
            bias: bias.map(<[f32]>::len),
            output: out.len(),
        });
        let run = match self.kernels() {
            Kernels::Winograd => {
                return winograd::forward(self.set, self.sizes, x, weight, bias, activation, out);
            }
            Kernels::Apart(OneSize::Pointwise) => pointwise::forward,
            Kernels::Apart(OneSize::Depthwise) => depthwise::forward,
            Kernels::Apart(OneSize::Columns) => columns::forward,
        };
        for part in self.parts() {
            let (x, out) = (&x[part.input], &mut out[part.output]);
            run(self.set, part.sizes, x, weight, bias, activation, out);
        }
    }

    /// The gradient of the input, given that of the output, into every value of `out`.
    ///
    /// # Panics
    ///
    /// As [`forward`](Self::forward).
    pub fn input_gradient(&self, grad: &[f32], weight: &[f32], out: &mut [MaybeUninit<f32>]) {
        self.check(Lengths {
            input: out.len(),
            weight: weight.len(),
            bias: None,
            output: grad.len(),
        });
        let run = match self.kernels() {
            Kernels::Winograd => {
                return winograd::input_gradient(self.set, self.sizes, grad, weight, out);
            }
            Kernels::Apart(OneSize::Pointwise) => pointwise::input_gradient,
            Kernels::Apart(OneSize::Depthwise) => depthwise::input_gradient,
            Kernels::Apart(OneSize::Columns) => columns::input_gradient,
        };
        for part in self.parts() {
            let (grad, out) = (&grad[part.output], &mut out[part.input]);
            run(self.set, part.sizes, grad, weight, out);
        }
    }

    /// The gradient of the weight, given that of the output, into every value of `out`.
    ///
    /// # Panics
    ///
    /// As [`forward`](Self::forward).
    pub fn weight_gradient(&self, x: &[f32], grad: &[f32], out: &mut [MaybeUninit<f32>]) {
        self.check(Lengths {
            input: x.len(),
            weight: out.len(),
            bias: None,
            output: grad.len(),
        });
        let run = match self.kernels() {
            Kernels::Winograd => {
                return winograd::weight_gradient(self.set, self.sizes, x, grad, out);
            }
            Kernels::Apart(OneSize::Pointwise) => pointwise::weight_gradient,
            Kernels::Apart(OneSize::Depthwise) => depthwise::weight_gradient,
            Kernels::Apart(OneSize::Columns) => columns::weight_gradient,
        };
        let mut more = Vec::new();
        for (i, part) in self.parts().enumerate() {
            let (x, grad) = (&x[part.input], &grad[part.output]);
            if i == 0 {
                run(self.set, part.sizes, x, grad, out);
                continue;
            }
            more.reserve_exact(out.len());
            let more = &mut more.spare_capacity_mut()[..out.len()];
            run(self.set, part.sizes, x, grad, more);
            for (sum, more) in out.iter_mut().zip(more) {
                // SAFETY: a kernel writes every value of its output.
                unsafe { *sum.assume_init_mut() += more.assume_init() };
            }
        }
    }
}

/// Lengths of the slices of a pass.
#[derive(Debug, PartialEq, Eq)]
struct Lengths {
    input: usize,
    weight: usize,
    bias: Option<usize>,
    output: usize,
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::kernels::reference::{Case, check, filled};

    /// Shapes of the sweep, each for every pass.
    const SHAPES: usize = 500;
    /// Direct sums in `f32` of up to a few thousand products, in several partial sums.
    const EXACT: f64 = 1.5e-6;
    /// Winograd's transforms double that, as measured on large maps.
    const FAST: f64 = 3e-6;

    fn random_sizes(random: &mut impl Rng) -> ConvSizes {
        let groups = if random.random_bool(0.7) {
            1
        } else {
            random.random_range(2..5)
        };
        let depthwise = random.random_bool(0.15);
        let per_group = |random: &mut dyn rand::RngCore| random.random_range(1..40usize);
        let channels_in = per_group(random) * groups;
        let channels_out = if depthwise {
            channels_in
        } else {
            per_group(random) * groups
        };
        let square = random.random_bool(0.8);
        let mut pair = |range: std::ops::Range<usize>| {
            let first = random.random_range(range.clone());
            [
                first,
                if square {
                    first
                } else {
                    random.random_range(range)
                },
            ]
        };
        let kernel = pair(1..6).map(|side| if side == 2 { 3 } else { side });
        ConvSizes {
            batch: pair(1..3)[0],
            channels_in,
            channels_out,
            kernel,
            stride: pair(1..3),
            padding: pair(0..3),
            dilation: pair(1..3),
            input: [pair(1..24)[0], pair(1..40)[1]],
            groups: if depthwise { channels_in } else { groups },
        }
    }

    #[test]
    fn every_pass_of_random_shapes_is_the_reference() {
        let mut random = ChaCha8Rng::seed_from_u64(7);
        let sets = InstructionSet::available();
        for i in 0..SHAPES {
            let sizes = random_sizes(&mut random);
            let case = Case::new(sizes, i as u64);
            let (algorithm, bound) = match i % 2 {
                0 => (Algorithm::Fast, FAST),
                _ => (Algorithm::Exact, EXACT),
            };
            let convolution = Convolution {
                sizes: &[sizes],
                algorithm,
                set: sets[i / 2 % sets.len()],
            };
            let y = filled(sizes.output_len(), |out| {
                convolution.forward(&case.x, &case.weight, None, Activation::None, out);
            });
            check("output", &sizes, &y, &case.forward(), bound);
            let dx = filled(sizes.input_len(), |out| {
                convolution.input_gradient(&case.grad, &case.weight, out);
            });
            check("input gradient", &sizes, &dx, &case.input_gradient(), bound);
            let dw = filled(sizes.weight_len(), |out| {
                convolution.weight_gradient(&case.x, &case.grad, out);
            });
            check(
                "weight gradient",
                &sizes,
                &dw,
                &case.weight_gradient(),
                bound,
            );
        }
    }

    /// Maps of two sizes; `channels` in and out.
    fn two_sizes(channels: usize, kernel: usize, groups: usize) -> [ConvSizes; 2] {
        [[9, 12], [5, 6]].map(|input| ConvSizes {
            batch: 2,
            channels_in: channels,
            channels_out: channels,
            input,
            kernel: [kernel; 2],
            stride: [1, 1],
            padding: [kernel / 2; 2],
            dilation: [1, 1],
            groups,
        })
    }

    #[test]
    fn maps_of_several_sizes_are_those_of_each() {
        let set = InstructionSet::available()[0];
        for (channels, kernel, groups) in [(16, 3, 1), (16, 1, 1), (6, 3, 6), (5, 3, 1)] {
            let sizes = two_sizes(channels, kernel, groups);
            let mut cases = [0, 1].map(|i| Case::new(sizes[i], i as u64));
            cases[1].weight = cases[0].weight.clone();
            let [weight, x, grad] = [
                cases[0].weight.clone(),
                cases.each_ref().map(|case| case.x.clone()).concat(),
                cases.each_ref().map(|case| case.grad.clone()).concat(),
            ];
            let convolution = Convolution {
                sizes: &sizes,
                algorithm: Algorithm::Fast,
                set,
            };
            let y = filled(grad.len(), |out| {
                convolution.forward(&x, &weight, None, Activation::None, out);
            });
            let dx = filled(x.len(), |out| {
                convolution.input_gradient(&grad, &weight, out);
            });
            let dw = filled(weight.len(), |out| {
                convolution.weight_gradient(&x, &grad, out);
            });
            let all = |of: fn(&Case) -> Vec<f64>| cases.each_ref().map(of).concat();
            check("output", &sizes[0], &y, &all(Case::forward), FAST);
            check("dx", &sizes[0], &dx, &all(Case::input_gradient), FAST);
            let [a, b] = cases.each_ref().map(Case::weight_gradient);
            let sum: Vec<f64> = a.iter().zip(b).map(|(a, b)| a + b).collect();
            check("dw", &sizes[0], &dw, &sum, FAST);
        }
    }

    /// Runs the forward pass on slices of these lengths.
    fn run(sizes: &[ConvSizes], [x, weight, bias, out]: [usize; 4]) {
        let convolution = Convolution {
            sizes,
            algorithm: Algorithm::Fast,
            set: InstructionSet::PORTABLE,
        };
        let [x, weight, bias] = [x, weight, bias].map(|len| vec![0.0; len]);
        filled(out, |out| {
            convolution.forward(&x, &weight, Some(&bias), Activation::None, out);
        });
    }

    #[test]
    #[should_panic(expected = "no sizes")]
    fn no_sizes_are_refused() {
        run(&[], [0; 4]);
    }

    #[test]
    #[should_panic(expected = "differ in more than the map")]
    fn sizes_of_other_convolutions_are_refused() {
        let [first, _] = two_sizes(2, 1, 1);
        run(&[first, ConvSizes { batch: 1, ..first }], [0; 4]);
    }

    #[test]
    #[should_panic(expected = "lengths of slices")]
    fn slices_that_are_too_long_are_refused() {
        let sizes = two_sizes(2, 1, 1);
        let len = sizes.iter().map(ConvSizes::input_len).sum();
        run(&sizes, [len, 4, 2, len + 1]);
    }
}

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::kernels::reference::{normal, output, relative_rms, same_on_any_threads, written};

/// Input, parameters and gradient of the output.
struct Case {
    sizes: NormSizes,
    x: Vec<f32>,
    gamma: Vec<f32>,
    beta: Vec<f32>,
    grad: Vec<f32>,
    activation: Activation,
}

/// What a normalisation and its gradients give.
#[derive(Debug, Clone, PartialEq)]
struct Found<T> {
    y: Vec<T>,
    dx: Vec<T>,
    dgamma: Vec<T>,
    dbeta: Vec<T>,
}

const EPSILON: f64 = 1e-5;

impl Case {
    /// Channels of mean `mean` and standard deviation 1.
    fn new(sizes: NormSizes, mean: f32, activation: Activation, seed: u64) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let x = normal(sizes.len(), &mut random);
        Self {
            sizes,
            x: x.into_iter().map(|v| v + mean).collect(),
            gamma: normal(sizes.channels, &mut random),
            beta: normal(sizes.channels, &mut random),
            grad: normal(sizes.len(), &mut random),
            activation,
        }
    }

    fn norm(&self) -> Norm<'_> {
        Norm {
            sizes: self.sizes,
            gamma: &self.gamma,
            beta: &self.beta,
            epsilon: EPSILON,
            activation: self.activation,
        }
    }

    fn statistics(&self, set: InstructionSet) -> (Vec<f32>, Vec<Statistics>) {
        let mut y = output(self.sizes.len());
        let mut statistics = vec![MaybeUninit::uninit(); self.sizes.sets()];
        forward(set, &self.norm(), &self.x, &mut y, &mut statistics);
        // SAFETY: `forward` writes all statistics.
        let statistics = statistics.iter().map(|s| unsafe { s.assume_init() });
        (written(y), statistics.collect())
    }

    fn found(&self, set: InstructionSet) -> Found<f32> {
        let (y, statistics) = self.statistics(set);
        let mut dx = output(self.sizes.len());
        let [mut dgamma, mut dbeta] = [(); 2].map(|()| output(self.sizes.channels));
        let gradients = Gradients {
            x: Some(&mut dx),
            gamma: &mut dgamma,
            beta: &mut dbeta,
        };
        backward(
            set,
            &self.norm(),
            &self.x,
            &statistics,
            &self.grad,
            gradients,
        );
        Found {
            y,
            dx: written(dx),
            dgamma: written(dgamma),
            dbeta: written(dbeta),
        }
    }

    /// The same in `f64`; an activation's mask is that of `y`, since rounding may turn a sign.
    fn expected(&self, y: &[f32]) -> Found<f64> {
        let s = &self.sizes;
        let mut all = Found {
            y: vec![0.0; s.len()],
            dx: vec![0.0; s.len()],
            dgamma: vec![0.0; s.channels],
            dbeta: vec![0.0; s.channels],
        };
        let channel = |i: usize| i / s.pixels % s.channels;
        let mut sets = vec![Vec::new(); s.sets()];
        (0..s.len()).for_each(|i| sets[set_of(s, i)].push(i));
        for values in sets {
            let n = values.len();
            let x = |i: usize| f64::from(self.x[i]);
            let mean = values.iter().copied().map(x).sum::<f64>() / n as f64;
            let variance = values.iter().map(|i| (x(*i) - mean).powi(2)).sum::<f64>() / n as f64;
            let rstd = 1.0 / (variance + EPSILON).sqrt();
            let h = |i: usize| (x(i) - mean) * rstd;
            let gamma = |i: usize| f64::from(self.gamma[channel(i)]);
            let g = |i: usize| {
                let passes = match self.activation {
                    Activation::Relu => y[i] > 0.0,
                    Activation::Relu6 => y[i] > 0.0 && y[i] < 6.0,
                    Activation::None => true,
                };
                if passes { f64::from(self.grad[i]) } else { 0.0 }
            };
            let plain: f64 = values.iter().map(|i| gamma(*i) * g(*i)).sum();
            let weighted = values.iter().map(|i| gamma(*i) * g(*i) * h(*i));
            let weighted: f64 = weighted.sum();
            for i in values {
                let y = h(i) * gamma(i) + f64::from(self.beta[channel(i)]);
                all.y[i] = match self.activation {
                    Activation::Relu => y.max(0.0),
                    Activation::Relu6 => y.clamp(0.0, 6.0),
                    Activation::None => y,
                };
                all.dx[i] = rstd * (gamma(i) * g(i) - (plain + h(i) * weighted) / n as f64);
                all.dgamma[channel(i)] += g(i) * h(i);
                all.dbeta[channel(i)] += g(i);
            }
        }
        all
    }

    #[track_caller]
    fn check(&self, bound: f64) {
        for set in InstructionSet::available() {
            let found = self.found(set);
            let expected = self.expected(&found.y);
            for (name, found, expected) in [
                ("y", &found.y, &expected.y),
                ("dx", &found.dx, &expected.dx),
                ("dgamma", &found.dgamma, &expected.dgamma),
                ("dbeta", &found.dbeta, &expected.dbeta),
            ] {
                let error = relative_rms(found, expected);
                assert!(
                    error <= bound,
                    "{set}, {name} of {:?}, {:?}: error {error:e}",
                    self.sizes,
                    self.activation
                );
            }
        }
    }
}

/// The set that value `i` is normalised in.
fn set_of(sizes: &NormSizes, i: usize) -> usize {
    let plane = i / sizes.pixels;
    match sizes.over {
        Over::Groups(groups) => plane / (sizes.channels / groups),
        Over::Batch => plane % sizes.channels,
    }
}

fn over(batch: usize, channels: usize, pixels: usize, over: Over) -> NormSizes {
    NormSizes {
        batch,
        channels,
        pixels,
        over,
    }
}

fn sizes(batch: usize, channels: usize, pixels: usize, groups: usize) -> NormSizes {
    over(batch, channels, pixels, Over::Groups(groups))
}

#[test]
fn sizes_of_every_kind() {
    let mut random = ChaCha8Rng::seed_from_u64(3);
    let mut cases = vec![
        sizes(2, 6, 100, 2),
        sizes(1, 4, 5000, 1),
        sizes(3, 32, 1, 4),
        sizes(2, 5, 4096, 5),
        sizes(0, 4, 9, 2),
        over(0, 4, 9, Over::Batch),
        over(1, 3, 4097, Over::Batch),
        over(4, 3, 5000, Over::Batch),
        over(3, 40, 7, Over::Batch),
        // Larger than a second-level cache.
        sizes(1, 3, 200_003, 1),
    ];
    for i in 0..90 {
        let groups = random.random_range(1..5);
        let channels = groups * random.random_range(1..5);
        let (batch, pixels) = (random.random_range(1..4), random.random_range(2..700));
        cases.push(match i % 3 {
            0 => over(batch, channels, pixels, Over::Batch),
            _ => sizes(batch, channels, pixels, groups),
        });
    }
    for (seed, sizes) in cases.into_iter().enumerate() {
        // Some roundings of values around 1, and sums that may cancel; where a group has few values
        // their variance may be small, so that roundings weigh more.
        let bound = if sizes.len() < 50 * sizes.sets() {
            1e-5
        } else {
            4e-6
        };
        let activation = [Activation::Relu, Activation::Relu6, Activation::None][seed % 3];
        let mut case = Case::new(sizes, 0.5, activation, seed as u64);
        if activation == Activation::Relu6 {
            // Some values are to lie beyond the upper corner.
            case.gamma.iter_mut().for_each(|gamma| *gamma *= 4.0);
        }
        case.check(bound);
    }
}

#[test]
fn a_mean_far_from_zero_costs_no_precision() {
    // The mean itself is rounded to `f32`: half a unit in its last place is 4e-6.
    Case::new(sizes(2, 16, 2000, 4), 100.0, Activation::None, 1).check(5e-6);
    for set in InstructionSet::available() {
        let case = Case::new(sizes(1, 1, 100_000, 1), 100.0, Activation::None, 2);
        let (_, statistics) = case.statistics(set);
        let n = case.x.len() as f64;
        let mean = case.x.iter().map(|x| f64::from(*x)).sum::<f64>() / n;
        let square = |x: &f32| (f64::from(*x) - mean).powi(2);
        let rstd = 1.0 / (case.x.iter().map(square).sum::<f64>() / n + EPSILON).sqrt();
        let found = statistics[0];
        assert!((f64::from(found.mean) / mean - 1.0).abs() < 1e-7, "{set}");
        assert!(
            (f64::from(found.inverse_deviation(EPSILON)) / rstd - 1.0).abs() < 2e-7,
            "{set}"
        );
    }
}

#[test]
fn bits_do_not_depend_on_threads() {
    for sizes in [sizes(3, 12, 3001, 4), over(3, 12, 3001, Over::Batch)] {
        let case = Case::new(sizes, 0.5, Activation::Relu6, 4);
        for set in InstructionSet::available() {
            same_on_any_threads(set, || {
                let found = case.found(set);
                [found.y, found.dx, found.dgamma, found.dbeta].concat()
            });
        }
    }
}

#[test]
fn a_value_that_is_not_finite_shows_in_its_group() {
    for set in InstructionSet::available() {
        for value in [f32::NAN, f32::INFINITY] {
            let mut case = Case::new(sizes(1, 4, 37, 2), 0.0, Activation::Relu, 5);
            case.x[36] = value;
            let found = case.found(set);
            for (i, (y, dx)) in found.y.iter().zip(&found.dx).enumerate() {
                assert_eq!(y.is_nan(), i < 74, "{set}");
                assert_eq!(dx.is_nan(), i < 74, "{set}");
            }
            assert!(found.dgamma[0].is_nan() && found.dgamma[1].is_nan());
        }
        let mut case = Case::new(sizes(1, 4, 37, 2), 0.0, Activation::None, 6);
        case.grad[0] = f32::NAN;
        let found = case.found(set);
        assert!(found.dx[..74].iter().all(|dx| dx.is_nan()), "{set}");
        assert!(found.dgamma[0].is_nan() && found.dbeta[0].is_nan());
    }
}

#[test]
fn gradients_of_the_parameters_do_not_need_that_of_the_input() {
    let case = Case::new(sizes(2, 6, 50, 3), 0.5, Activation::Relu, 7);
    for set in InstructionSet::available() {
        let found = case.found(set);
        let (_, statistics) = case.statistics(set);
        let [mut dgamma, mut dbeta] = [(); 2].map(|()| output(6));
        let gradients = Gradients {
            x: None,
            gamma: &mut dgamma,
            beta: &mut dbeta,
        };
        backward(
            set,
            &case.norm(),
            &case.x,
            &statistics,
            &case.grad,
            gradients,
        );
        assert_eq!(written(dgamma), found.dgamma);
        assert_eq!(written(dbeta), found.dbeta);
    }
}

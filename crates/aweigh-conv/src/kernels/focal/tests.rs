use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::kernels::reference::{normal, output, relative_rms, same_on_any_threads, written};

const GAMMAS: [f64; 6] = [2.0, 0.0, 0.5, 1.0, 1.5, 3.75];

/// Value and derivative of the loss of one logit, in `f64`.
fn loss(x: f32, present: bool, focal: &Focal) -> [f64; 2] {
    let side = if present { -1.0 } else { 1.0 };
    let u = f64::from(x) * side;
    let a = match (focal.alpha < 0.0, present) {
        (true, _) => 1.0,
        (false, true) => focal.alpha,
        (false, false) => 1.0 - focal.alpha,
    };
    let (q, p) = (1.0 / (1.0 + (-u).exp()), 1.0 / (1.0 + u.exp()));
    let e = u.max(0.0) + (-u.abs()).exp().ln_1p();
    let focus = q.powf(focal.gamma) * a;
    let slope = if u.is_infinite() {
        q
    } else {
        focal.gamma * p * e + q
    };
    [focus * e, focus * slope * side]
}

/// Logits, labels and weights.
struct Case {
    sizes: FocalSizes,
    logits: Vec<f32>,
    labels: Vec<i64>,
    weights: Factors,
}

/// What [`Weights`] refers to.
enum Factors {
    Points(Vec<f32>),
    Logits(Vec<f32>),
}

impl Case {
    fn new(sizes: FocalSizes, of_logits: bool, seed: u64) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let points = sizes.batch * sizes.points;
        let len = points * sizes.classes;
        let classes = sizes.classes as i64;
        // Beside background, labels that no class has.
        let mut label = |_| random.random_range(-2..classes + 2);
        let labels = (0..points).map(&mut label).collect();
        let mut weights = |count: usize| {
            let weight = |_| {
                if random.random_bool(0.2) {
                    0.0
                } else {
                    random.random()
                }
            };
            (0..count).map(weight).collect()
        };
        let weights = match of_logits {
            true => Factors::Logits(weights(len)),
            false => Factors::Points(weights(points)),
        };
        Self {
            sizes,
            logits: normal(len, &mut random).iter().map(|x| x * 3.0).collect(),
            labels,
            weights,
        }
    }

    fn found(&self, set: InstructionSet, focal: &Focal) -> (f64, Vec<f32>) {
        let target = Labels {
            labels: &self.labels,
            weights: match &self.weights {
                Factors::Logits(weights) => Weights::Logits(weights),
                Factors::Points(weights) => Weights::Points(weights),
            },
        };
        let mut gradient = output(self.logits.len());
        let (sizes, to) = (&self.sizes, Some(&mut gradient[..]));
        let sum = focal_sum(set, sizes, focal, &self.logits, &target, to);
        let alone = focal_sum(set, sizes, focal, &self.logits, &target, None);
        assert_eq!(sum.to_bits(), alone.to_bits());
        (sum, written(gradient))
    }

    fn expected(&self, focal: &Focal) -> (f64, Vec<f64>) {
        let s = &self.sizes;
        let (mut sum, mut gradient) = (0.0, Vec::new());
        for (i, x) in self.logits.iter().enumerate() {
            let point = i / (s.points * s.classes) * s.points + i % s.points;
            let class = i / s.points % s.classes;
            let weight = f64::from(match &self.weights {
                Factors::Logits(weights) => weights[i],
                Factors::Points(weights) => weights[point],
            });
            let [value, slope] = loss(*x, self.labels[point] == class as i64, focal);
            sum += value * weight;
            gradient.push(slope * weight);
        }
        (sum, gradient)
    }
}

#[test]
fn sums_and_gradients_of_every_kind() {
    let mut random = ChaCha8Rng::seed_from_u64(11);
    for seed in 0..80 {
        let sizes = FocalSizes {
            batch: random.random_range(1..4),
            classes: random.random_range(1..40),
            points: random.random_range(1..300),
        };
        let case = Case::new(sizes, seed % 2 == 0, seed as u64);
        let focal = Focal {
            gamma: GAMMAS[seed % GAMMAS.len()],
            alpha: if seed % 5 == 0 { -1.0 } else { 0.25 },
        };
        let (expected, gradient) = case.expected(&focal);
        for set in InstructionSet::available() {
            let (sum, found) = case.found(set, &focal);
            // Some roundings of each value, which do not add up.
            let error = (sum - expected).abs() / expected.max(1e-30);
            assert!(error < 3e-7, "{set} {sizes:?} {focal:?}: {error:e}");
            let error = relative_rms(&found, &gradient);
            assert!(error < 5e-7, "{set} {sizes:?} {focal:?}: {error:e}");
        }
    }
}

#[test]
fn every_logit_is_right_to_the_last_places() {
    let mut logits: Vec<f32> = (-2000..=2000).map(|i| i as f32 * 0.0123).collect();
    logits.extend([
        100.0, -100.0, 1000.0, -1000.0, 1e-40, -1e-40, 0.0, -0.0, 87.5, -103.0, 1e30,
    ]);
    for set in InstructionSet::available() {
        for (gamma, label) in GAMMAS
            .into_iter()
            .flat_map(|gamma| [(gamma, 0), (gamma, 1)])
        {
            let focal = Focal { gamma, alpha: 0.25 };
            for &x in &logits {
                let sizes = FocalSizes {
                    batch: 1,
                    classes: 1,
                    points: 1,
                };
                let case = Case {
                    sizes,
                    logits: vec![x],
                    labels: vec![label],
                    weights: Factors::Points(vec![1.0]),
                };
                let (sum, gradient) = case.found(set, &focal);
                let expected = loss(x, label == 0, &focal);
                for (found, expected) in [sum, f64::from(gradient[0])].into_iter().zip(expected) {
                    // Ten roundings; below the normal numbers, units of the smallest one. Without a
                    // fused multiplication an exponent is rounded too.
                    let power =
                        set == InstructionSet::PORTABLE && ![0.0, 1.0, 2.0].contains(&gamma);
                    let exponent = if power {
                        gamma * f64::from(x).abs() * 1.2e-7
                    } else {
                        0.0
                    };
                    let bound = expected.abs() * (6e-7 + exponent) + 1e-44;
                    assert!(
                        (found - expected).abs() <= bound,
                        "{set}, {x}, label {label}, {focal:?}: {found:e} is not {expected:e}"
                    );
                }
            }
        }
    }
}

#[test]
fn logits_that_are_not_finite_show() {
    for set in InstructionSet::available() {
        for gamma in GAMMAS {
            let sizes = FocalSizes {
                batch: 1,
                classes: 3,
                points: 23,
            };
            let focal = Focal { gamma, alpha: 0.25 };
            let mut case = Case::new(sizes, false, 5);
            case.labels.fill(-1);
            case.weights = Factors::Points(vec![1.0; 23]);
            for place in [0, 40, 68] {
                let before = case.logits[place];
                case.logits[place] = f32::NAN;
                let (sum, gradient) = case.found(set, &focal);
                assert!(sum.is_nan() && gradient[place].is_nan(), "{set} {gamma}");
                assert_eq!(gradient.iter().filter(|g| g.is_nan()).count(), 1);
                case.logits[place] = f32::INFINITY;
                assert!(!case.found(set, &focal).0.is_finite(), "{set} {gamma}");
                case.logits[place] = f32::NEG_INFINITY;
                let (sum, gradient) = case.found(set, &focal);
                // As sure as can be, and right.
                assert!(sum.is_finite() && gradient[place] == 0.0, "{set} {gamma}");
                case.logits[place] = before;
            }
        }
    }
}

#[test]
fn labels_may_be_of_either_integer_type() {
    let sizes = FocalSizes {
        batch: 1,
        classes: 2,
        points: 3,
    };
    let focal = Focal {
        gamma: 2.0,
        alpha: 0.25,
    };
    let logits = [0.5; 6];
    let set = InstructionSet::PORTABLE;
    let short = Labels {
        labels: &[0i32, 1, -1],
        weights: Weights::Points(&[1.0; 3]),
    };
    let long = Labels {
        labels: &[0i64, 1, i64::MAX],
        weights: Weights::Points(&[1.0; 3]),
    };
    let sum = focal_sum(set, &sizes, &focal, &logits, &short, None);
    assert_eq!(sum, focal_sum(set, &sizes, &focal, &logits, &long, None));
}

#[test]
fn bits_do_not_depend_on_threads() {
    let sizes = FocalSizes {
        batch: 3,
        classes: 7,
        points: 10_001,
    };
    let case = Case::new(sizes, false, 9);
    let focal = Focal {
        gamma: 2.0,
        alpha: 0.25,
    };
    for set in InstructionSet::available() {
        same_on_any_threads(set, || {
            let (sum, mut gradient) = case.found(set, &focal);
            gradient.extend([sum as f32, (sum - f64::from(sum as f32)) as f32]);
            gradient
        });
    }
}

#[test]
fn nothing_gives_nothing() {
    for [batch, classes, points] in [[0, 3, 5], [2, 0, 5], [2, 3, 0]] {
        let sizes = FocalSizes {
            batch,
            classes,
            points,
        };
        let case = Case::new(sizes, false, 1);
        let focal = Focal {
            gamma: 2.0,
            alpha: 0.25,
        };
        for set in InstructionSet::available() {
            assert_eq!(case.found(set, &focal).0, 0.0);
        }
    }
}

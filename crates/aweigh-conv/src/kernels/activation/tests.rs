use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::kernels::reference::{normal, output, same_on_any_threads, written};

const SIZES: [[usize; 3]; 8] = [
    [1, 1, 1],
    [2, 3, 17],
    [3, 5, 64],
    [1, 2, 4097],
    [2, 3, 10_001],
    [5, 70, 49],
    [0, 3, 5],
    [2, 3, 0],
];

const ACTIVATIONS: [Activation; 3] = [Activation::Relu, Activation::Relu6, Activation::None];

/// Maps of every size, with values beyond both corners of a ReLU6 and on them.
fn cases() -> impl Iterator<Item = (InstructionSet, MapSizes, [Vec<f32>; 2])> {
    let mut random = ChaCha8Rng::seed_from_u64(7);
    let cases: Vec<_> = SIZES
        .into_iter()
        .map(|[batch, channels, pixels]| {
            let sizes = MapSizes {
                batch,
                channels,
                pixels,
            };
            let mut map = || -> Vec<f32> {
                let values = normal(sizes.len(), &mut random).into_iter().enumerate();
                let corners = [0.0, 6.0, 6.0f32.next_down(), 6.0f32.next_up()];
                let value = |(i, v): (usize, f32)| *corners.get(i % 50).unwrap_or(&(4.0 * v));
                values.map(value).collect()
            };
            (sizes, [map(), map()])
        })
        .collect();
    let sets = InstructionSet::available().into_iter();
    sets.flat_map(move |set| cases.clone().into_iter().map(move |(s, v)| (set, s, v)))
}

fn activated(activation: Activation, x: f32) -> f32 {
    match activation {
        Activation::Relu => x.max(0.0),
        Activation::Relu6 => x.clamp(0.0, 6.0),
        Activation::None => x,
    }
}

/// Whether a gradient passes, by what an activation gave.
fn passes(activation: Activation, y: f32) -> bool {
    match activation {
        Activation::Relu => y > 0.0,
        Activation::Relu6 => y > 0.0 && y < 6.0,
        Activation::None => true,
    }
}

/// The gradient before an activation that gave `y`.
fn masked(activation: Activation, grad: &[f32], y: &[f32]) -> Vec<f32> {
    let pairs = grad.iter().zip(y);
    let masked = |(g, y): (&f32, &f32)| if passes(activation, *y) { *g } else { 0.0 };
    pairs.map(masked).collect()
}

#[test]
fn a_sum_of_maps_and_its_gradient() {
    for (set, sizes, [a, b]) in cases() {
        for activation in ACTIVATIONS {
            let name = format!("{set} {sizes:?} {activation:?}");
            let sums = a.iter().zip(&b).map(|(a, b)| a + b);
            let expected: Vec<f32> = sums.map(|sum| activated(activation, sum)).collect();
            let mut out = output(sizes.len());
            add(set, activation, &a, &b, &mut out);
            assert_eq!(written(out), expected, "{name}");
            let mut sum = a.clone();
            add_in_place(set, activation, &mut sum, &b);
            assert_eq!(sum, expected, "{name}, in place");
            let mut out = output(sizes.len());
            let after = Activated { activation, y: &b };
            backward(set, after, &a, &mut out);
            let expected = masked(activation, &a, &b);
            assert_eq!(written(out), expected, "{name}, backward");
        }
    }
}

/// Where the gradient before a bias goes.
#[derive(Clone, Copy)]
enum Stored {
    No,
    Apart,
    InPlace,
}

/// Gradients of a bias, with or without that of the sum, against sums in `f64`.
fn check_bias(
    set: InstructionSet,
    sizes: &MapSizes,
    grad: &[f32],
    after: Option<Activated<'_>>,
    stored: Stored,
) {
    let mut sums = output(sizes.channels);
    let masked = after.map_or_else(|| grad.to_vec(), |a| masked(a.activation, grad, a.y));
    match stored {
        Stored::No => bias_backward(set, sizes, BiasGradient::Summed(grad), after, &mut sums),
        Stored::Apart => {
            let mut out = output(sizes.len());
            let grad = BiasGradient::Into(grad, &mut out);
            bias_backward(set, sizes, grad, after, &mut sums);
            assert_eq!(written(out), masked, "{set} {sizes:?}");
        }
        Stored::InPlace => {
            let mut grad = grad.to_vec();
            let in_place = BiasGradient::InPlace(&mut grad);
            bias_backward(set, sizes, in_place, after, &mut sums);
            assert_eq!(grad, masked, "{set} {sizes:?}, in place");
        }
    }
    let (mut expected, mut size) = (vec![0.0; sizes.channels], 1e-30);
    for (i, value) in masked.into_iter().enumerate() {
        expected[i / sizes.pixels % sizes.channels] += f64::from(value);
        size += f64::from(value).abs() / sizes.channels as f64;
    }
    for (found, expected) in written(sums).into_iter().zip(expected) {
        // Sums of 64 values in `f32`, then one rounding: far below 1e-6 of what is summed.
        let error = (f64::from(found) - expected).abs();
        assert!(error <= 2e-7 * size, "{set} {sizes:?}: {error} of {size}");
    }
}

#[test]
fn gradients_of_a_bias_and_an_activation() {
    for (set, sizes, [grad, y]) in cases() {
        for stored in [Stored::No, Stored::Apart, Stored::InPlace] {
            check_bias(set, &sizes, &grad, None, stored);
            for activation in ACTIVATIONS {
                let after = Activated { activation, y: &y };
                check_bias(set, &sizes, &grad, Some(after), stored);
            }
        }
    }
}

#[test]
fn bits_do_not_depend_on_threads() {
    let mut random = ChaCha8Rng::seed_from_u64(8);
    let sizes = MapSizes {
        batch: 3,
        channels: 7,
        pixels: 9001,
    };
    let [grad, y] = [(); 2].map(|()| normal(sizes.len(), &mut random));
    for set in InstructionSet::available() {
        same_on_any_threads(set, || {
            let (mut out, mut sums) = (output(sizes.len()), output(sizes.channels));
            let activation = Activation::Relu;
            let after = Some(Activated { activation, y: &y });
            let grad = BiasGradient::Into(&grad, &mut out);
            bias_backward(set, &sizes, grad, after, &mut sums);
            [written(out), written(sums)].concat()
        });
    }
}

#[test]
fn values_that_are_not_finite_show() {
    for set in InstructionSet::available() {
        for (activation, place) in ACTIVATIONS.into_iter().flat_map(|a| [(a, 0), (a, 32)]) {
            let mut a = vec![1.0; 33];
            a[place] = f32::NAN;
            let mut out = output(33);
            add(set, activation, &a, &[1.0; 33], &mut out);
            assert!(written(out)[place].is_nan(), "{set} {activation:?}");
            let mut out = output(33);
            let after = Activated { activation, y: &a };
            backward(set, after, &[2.0; 33], &mut out);
            let name = "an activation that gave NaN";
            assert_eq!(written(out), [2.0; 33], "{set} {activation:?}: {name}");
            let mut out = output(33);
            let y = &[1.0; 33];
            backward(set, Activated { activation, y }, &a, &mut out);
            assert!(written(out)[place].is_nan(), "{set} {activation:?}");
        }
    }
}

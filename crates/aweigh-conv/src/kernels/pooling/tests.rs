use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::kernels::reference::{normal, output, same_on_any_threads, written};

/// Maxima and gradients of the input, as Burn computes them.
fn expected(s: &PoolSizes, x: &[f32], grad: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let [height, width] = s.output();
    let (mut out, mut gradient) = (Vec::new(), vec![0.0; x.len()]);
    for (window, grad) in grad.iter().enumerate() {
        let (plane, row, column) = (
            window / (height * width),
            window / width % height,
            window % width,
        );
        let (mut best, mut at) = (f32::NEG_INFINITY, None);
        for (i, j) in (0..s.kernel[0]).flat_map(|i| (0..s.kernel[1]).map(move |j| (i, j))) {
            let inside = |axis: usize, place: usize, tap: usize| {
                (place * s.stride[axis] + tap)
                    .checked_sub(s.padding[axis])
                    .filter(|i| *i < s.input[axis])
            };
            let (Some(y), Some(z)) = (inside(0, row, i), inside(1, column, j)) else {
                continue;
            };
            let place = (plane * s.input[0] + y) * s.input[1] + z;
            if at.is_none() || x[place] > best || x[place].is_nan() {
                (best, at) = (x[place], Some(place));
            }
        }
        out.push(best);
        gradient[at.expect("a pixel")] += grad;
    }
    (out, gradient)
}

fn found(set: InstructionSet, s: &PoolSizes, x: &[f32], grad: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let mut alone = output(grad.len());
    forward(set, s, x, &mut alone, None);
    let mut out = output(grad.len());
    let mut taps = vec![MaybeUninit::new(255); grad.len()];
    forward(set, s, x, &mut out, Some(&mut taps));
    // SAFETY: initialised above.
    let taps: Vec<u8> = taps
        .iter()
        .map(|tap| unsafe { tap.assume_init() })
        .collect();
    let mut gradient = output(x.len());
    backward(s, grad, &taps, &mut gradient);
    let out = bits(&written(out));
    assert_eq!(bits(&written(alone)), out);
    (
        out.into_iter().map(f32::from_bits).collect(),
        written(gradient),
    )
}

/// All NaNs alike.
fn bits(values: &[f32]) -> Vec<u32> {
    values
        .iter()
        .map(|v| if v.is_nan() { f32::NAN } else { *v }.to_bits())
        .collect()
}

fn sizes(
    planes: usize,
    input: [usize; 2],
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 2],
) -> PoolSizes {
    PoolSizes {
        planes,
        input,
        kernel,
        stride,
        padding,
    }
}

fn cases() -> Vec<PoolSizes> {
    let mut cases = vec![
        sizes(2, [1, 1], [3, 3], [2, 2], [1, 1]),
        sizes(1, [20, 33], [3, 3], [2, 2], [1, 1]),
        sizes(2, [21, 34], [3, 3], [2, 2], [1, 1]),
        sizes(2, [50, 101], [3, 3], [2, 2], [1, 1]),
        sizes(2, [9, 64], [3, 3], [2, 2], [0, 0]),
        sizes(2, [9, 65], [3, 3], [2, 2], [2, 2]),
        sizes(3, [25, 42], [1, 1], [2, 2], [0, 0]),
        sizes(1, [40, 40], [16, 16], [3, 3], [8, 8]),
        sizes(1, [2, 2], [3, 3], [2, 2], [0, 0]),
        sizes(0, [9, 9], [3, 3], [2, 2], [1, 1]),
        sizes(1, [0, 9], [3, 3], [2, 2], [1, 1]),
    ];
    let mut random = ChaCha8Rng::seed_from_u64(21);
    for i in 0..150 {
        let fast = i % 3 == 0;
        let kernel = if fast {
            [3; 2]
        } else {
            [(); 2].map(|()| random.random_range(1..6))
        };
        let stride = if fast {
            [2; 2]
        } else {
            [(); 2].map(|()| random.random_range(1..4))
        };
        let padding = kernel.map(|k| random.random_range(0..k));
        let input = [random.random_range(1..30), random.random_range(1..90)];
        cases.push(sizes(
            random.random_range(1..3),
            input,
            kernel,
            stride,
            padding,
        ));
    }
    cases
}

#[test]
fn maxima_and_gradients_of_every_size() {
    let mut random = ChaCha8Rng::seed_from_u64(22);
    for (i, sizes) in cases().into_iter().enumerate() {
        let mut x = normal(sizes.planes * sizes.pixels_in(), &mut random);
        if i % 2 == 0 {
            // Many equal values, and some that are not finite.
            x.iter_mut().for_each(|x| *x = x.round());
            for x in &mut x {
                if random.random_bool(0.05) {
                    let values = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
                    *x = values[random.random_range(0..3)];
                }
            }
        }
        if i % 8 == 0 {
            x.fill(f32::NEG_INFINITY);
        }
        let grad = normal(sizes.planes * sizes.pixels_out(), &mut random);
        let (y, gradient) = expected(&sizes, &x, &grad);
        for set in InstructionSet::available() {
            let (found, found_gradient) = found(set, &sizes, &x, &grad);
            assert_eq!(bits(&found), bits(&y), "{set} {sizes:?}");
            assert_eq!(found_gradient, gradient, "{set} {sizes:?}");
        }
    }
}

#[test]
fn bits_do_not_depend_on_threads() {
    let sizes = sizes(9, [61, 90], [3, 3], [2, 2], [1, 1]);
    let mut random = ChaCha8Rng::seed_from_u64(23);
    let x = normal(sizes.planes * sizes.pixels_in(), &mut random);
    let grad = normal(sizes.planes * sizes.pixels_out(), &mut random);
    for set in InstructionSet::available() {
        same_on_any_threads(set, || {
            let (y, gradient) = found(set, &sizes, &x, &grad);
            [y, gradient].concat()
        });
    }
}

#[test]
#[should_panic(expected = "no pixel")]
fn padding_as_wide_as_the_kernel_is_refused() {
    let sizes = sizes(1, [4, 4], [2, 2], [2, 2], [2, 2]);
    forward(
        InstructionSet::PORTABLE,
        &sizes,
        &[0.0; 16],
        &mut output(16),
        None,
    );
}

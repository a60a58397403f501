//! Direct convolution in `f64`, and checks of what kernels write, for tests.

use std::fmt::Display;
use std::mem::MaybeUninit;
use std::ops::Range;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::sizes::ConvSizes;

/// Input, weight and gradient of the output, normal with variance 1.
pub(crate) struct Case {
    pub(crate) sizes: ConvSizes,
    pub(crate) x: Vec<f32>,
    pub(crate) weight: Vec<f32>,
    pub(crate) grad: Vec<f32>,
}

/// `count` values of a normal distribution.
pub(crate) fn normal(count: usize, random: &mut impl Rng) -> Vec<f32> {
    let value = |_| {
        let (u, v): (f64, f64) = (1.0 - random.random::<f64>(), random.random());
        ((-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()) as f32
    };
    (0..count).map(value).collect()
}

impl Case {
    pub(crate) fn new(sizes: ConvSizes, seed: u64) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        Self {
            sizes,
            x: normal(sizes.input_len(), &mut random),
            weight: normal(sizes.weight_len(), &mut random),
            grad: normal(sizes.output_len(), &mut random),
        }
    }

    /// Visits every product of the convolution: the places of input, weight and output.
    fn visit(&self, mut f: impl FnMut(usize, usize, usize)) {
        let s = &self.sizes;
        let [height, width] = s.output();
        let (inputs, outputs) = (s.channels_in / s.groups, s.channels_out / s.groups);
        for image in 0..s.batch {
            for k in 0..s.channels_out {
                for c in 0..inputs {
                    let channel = image * s.channels_in + k / outputs * inputs + c;
                    for (i, j) in (0..s.taps()).map(|tap| (tap / s.kernel[1], tap % s.kernel[1])) {
                        let weight = (k * inputs + c) * s.taps() + i * s.kernel[1] + j;
                        for y in inside(s, 0, i) {
                            let row = y * s.stride[0] + i * s.dilation[0] - s.padding[0];
                            let row = (channel * s.input[0] + row) * s.input[1];
                            let out = ((image * s.channels_out + k) * height + y) * width;
                            for x in inside(s, 1, j) {
                                let column = x * s.stride[1] + j * s.dilation[1] - s.padding[1];
                                f(row + column, weight, out + x);
                            }
                        }
                    }
                }
            }
        }
    }

    pub(crate) fn forward(&self) -> Vec<f64> {
        let mut out = vec![0.0; self.sizes.output_len()];
        self.visit(|x, w, y| out[y] += f64::from(self.x[x]) * f64::from(self.weight[w]));
        out
    }

    pub(crate) fn input_gradient(&self) -> Vec<f64> {
        let mut out = vec![0.0; self.sizes.input_len()];
        self.visit(|x, w, y| out[x] += f64::from(self.grad[y]) * f64::from(self.weight[w]));
        out
    }

    pub(crate) fn weight_gradient(&self) -> Vec<f64> {
        let mut out = vec![0.0; self.sizes.weight_len()];
        self.visit(|x, w, y| out[w] += f64::from(self.grad[y]) * f64::from(self.x[x]));
        out
    }
}

/// Root of the mean squared error, as a part of the root mean square of what is expected; 0 if both
/// are 0 everywhere.
pub(crate) fn relative_rms(found: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let pairs = found.iter().zip(expected);
    let error: f64 = pairs.map(|(f, e)| (f64::from(*f) - e).powi(2)).sum();
    let size: f64 = expected.iter().map(|e| e * e).sum();
    if error == 0.0 {
        0.0
    } else {
        (error / size).sqrt()
    }
}

/// Checks against the reference, with a bound on [`relative_rms`]; a value left out shows as NaN.
#[track_caller]
pub(crate) fn check(name: &str, sizes: &ConvSizes, found: &[f32], expected: &[f64], bound: f64) {
    let error = relative_rms(found, expected);
    assert!(
        error <= bound,
        "{name} of {sizes:?}: error {error:e} is not within {bound:e}"
    );
}

/// Checks that values that are not finite in the reference are not finite in what was found.
#[track_caller]
pub(crate) fn check_not_finite(name: impl Display, found: &[f32], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!(
            expected.is_finite() || !found.is_finite(),
            "{name}: {found} where {expected} is due"
        );
    }
}

/// Room for an output, in which values that are not written show as NaN.
pub(crate) fn output(len: usize) -> Vec<MaybeUninit<f32>> {
    vec![MaybeUninit::new(f32::NAN); len]
}

/// What was written to [`output`].
pub(crate) fn written(out: Vec<MaybeUninit<f32>>) -> Vec<f32> {
    // SAFETY: `output` has initialised all of it.
    out.iter().map(|v| unsafe { v.assume_init() }).collect()
}

/// What `f` writes to an [`output`].
pub(crate) fn filled(len: usize, f: impl FnOnce(&mut [MaybeUninit<f32>])) -> Vec<f32> {
    let mut out = output(len);
    f(&mut out);
    written(out)
}

/// Checks that a function gives the same bits on 1, 2 and 5 threads.
#[track_caller]
pub(crate) fn same_on_any_threads(name: impl Display, f: impl Fn() -> Vec<f32> + Sync) {
    let on = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let found = pool.expect("threads").install(&f);
        found.into_iter().map(f32::to_bits).collect::<Vec<_>>()
    };
    let one = on(1);
    for threads in [2, 5] {
        assert!(one == on(threads), "{name}: {threads} threads");
    }
}

/// Output positions along axis 0 (down) or 1 (across) whose tap `tap` reads inside of the map.
fn inside(sizes: &ConvSizes, axis: usize, tap: usize) -> Range<usize> {
    let (stride, offset) = (sizes.stride[axis], tap * sizes.dilation[axis]);
    let first = sizes.padding[axis].saturating_sub(offset).div_ceil(stride);
    let end = match (sizes.input[axis] + sizes.padding[axis]).checked_sub(offset + 1) {
        Some(last) => (last / stride + 1).min(sizes.output()[axis]),
        None => 0,
    };
    first.min(end)..end
}

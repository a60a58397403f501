//! Deformable convolution and its gradients in f64, written from the definition.
//!
//! The output is a sum of terms `weight * mask * share * pixel`, one for every tap and every pixel
//! around its sampling position, plus the bias. Every gradient follows by the product rule.

use aweigh_deform_conv::DeformConvOptions;

/// One call with all its values, row-major.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    pub(crate) batch: usize,
    /// Channels in and out.
    pub(crate) channels: [usize; 2],
    /// Height and width of the input.
    pub(crate) input: [usize; 2],
    /// Height and width of the kernel.
    pub(crate) kernel: [usize; 2],
    pub(crate) options: DeformConvOptions,
    pub(crate) x: Vec<f64>,
    pub(crate) offset: Vec<f64>,
    pub(crate) weight: Vec<f64>,
    pub(crate) mask: Option<Vec<f64>>,
    pub(crate) bias: Option<Vec<f64>>,
    /// Gradient of the output.
    pub(crate) grad: Vec<f64>,
}

/// The output of a call and its gradients, row-major.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) output: Vec<f64>,
    pub(crate) grad_input: Vec<f64>,
    pub(crate) grad_offset: Vec<f64>,
    pub(crate) grad_weight: Vec<f64>,
    pub(crate) grad_mask: Option<Vec<f64>>,
    pub(crate) grad_bias: Option<Vec<f64>>,
}

/// What one pixel adds to one output element through one tap: positions in the tensors, the
/// pixel's share of the sample, and how the share changes with the sampling position.
struct Term {
    output: usize,
    pixel: usize,
    weight: usize,
    mask: usize,
    /// Vertical, horizontal.
    offset: [usize; 2],
    share: f64,
    /// With respect to the vertical and the horizontal position.
    slope: [f64; 2],
}

/// A pixel around a sampling position.
struct Corner {
    row: usize,
    column: usize,
    share: f64,
    slope: [f64; 2],
}

impl Outcome {
    /// Every part with its name in the goldens.
    pub(crate) fn parts(&self) -> Vec<(&'static str, &[f64])> {
        let always = [
            ("output", Some(&self.output)),
            ("grad_input", Some(&self.grad_input)),
            ("grad_offset", Some(&self.grad_offset)),
            ("grad_weight", Some(&self.grad_weight)),
            ("grad_mask", self.grad_mask.as_ref()),
            ("grad_bias", self.grad_bias.as_ref()),
        ];
        let present = always.into_iter();
        present
            .filter_map(|(name, values)| Some((name, values?.as_slice())))
            .collect()
    }
}

impl Problem {
    /// Height and width of the output.
    pub(crate) fn output(&self) -> [usize; 2] {
        let DeformConvOptions {
            stride,
            padding,
            dilation,
            ..
        } = self.options;
        [0, 1].map(|axis| {
            let window = dilation[axis] * (self.kernel[axis] - 1) + 1;
            (self.input[axis] + 2 * padding[axis] - window) / stride[axis] + 1
        })
    }

    pub(crate) fn x_shape(&self) -> [usize; 4] {
        [self.batch, self.channels[0], self.input[0], self.input[1]]
    }

    pub(crate) fn offset_shape(&self) -> [usize; 4] {
        let [batch, taps, height, width] = self.mask_shape();
        [batch, 2 * taps, height, width]
    }

    pub(crate) fn mask_shape(&self) -> [usize; 4] {
        let taps = self.options.offset_groups * self.kernel[0] * self.kernel[1];
        let [height, width] = self.output();
        [self.batch, taps, height, width]
    }

    pub(crate) fn weight_shape(&self) -> [usize; 4] {
        let seen = self.channels[0] / self.options.weight_groups;
        [self.channels[1], seen, self.kernel[0], self.kernel[1]]
    }

    pub(crate) fn output_shape(&self) -> [usize; 4] {
        let [height, width] = self.output();
        [self.batch, self.channels[1], height, width]
    }

    /// Output and gradients.
    pub(crate) fn solve(&self) -> Outcome {
        let mut found = Outcome {
            output: self.bias_everywhere(),
            grad_input: vec![0.0; self.x.len()],
            grad_offset: vec![0.0; self.offset.len()],
            grad_weight: vec![0.0; self.weight.len()],
            grad_mask: self.mask.as_ref().map(|mask| vec![0.0; mask.len()]),
            grad_bias: self.bias.as_ref().map(|_| self.bias_gradient()),
        };
        self.each_term(|term| {
            let (pixel, weight) = (self.x[term.pixel], self.weight[term.weight]);
            let mask = self.mask.as_ref().map_or(1.0, |mask| mask[term.mask]);
            let grad = self.grad[term.output];
            found.output[term.output] += weight * mask * term.share * pixel;
            found.grad_input[term.pixel] += grad * weight * mask * term.share;
            found.grad_weight[term.weight] += grad * mask * term.share * pixel;
            for axis in [0, 1] {
                found.grad_offset[term.offset[axis]] +=
                    grad * weight * mask * term.slope[axis] * pixel;
            }
            if let Some(grad_mask) = &mut found.grad_mask {
                grad_mask[term.mask] += grad * weight * term.share * pixel;
            }
        });
        found
    }

    fn bias_everywhere(&self) -> Vec<f64> {
        indices(self.output_shape())
            .map(|[_, channel, _, _]| self.bias.as_ref().map_or(0.0, |bias| bias[channel]))
            .collect()
    }

    fn bias_gradient(&self) -> Vec<f64> {
        let mut sums = vec![0.0; self.channels[1]];
        for (grad, [_, channel, _, _]) in self.grad.iter().zip(indices(self.output_shape())) {
            sums[channel] += grad;
        }
        sums
    }

    fn each_term(&self, mut visit: impl FnMut(Term)) {
        let [batch, channels_out, height, width] = self.output_shape();
        let [_, seen, kernel_h, kernel_w] = self.weight_shape();
        let out_per_group = channels_out / self.options.weight_groups;
        let in_per_offset_group = self.channels[0] / self.options.offset_groups;
        let all = [batch, channels_out, height, width, seen, kernel_h, kernel_w];
        for [b, o, row, column, c, i, j] in indices(all) {
            let channel = o / out_per_group * seen + c;
            let offset_group = channel / in_per_offset_group;
            let tap = (offset_group * kernel_h + i) * kernel_w + j;
            let offset =
                [0, 1].map(|axis| flat([b, 2 * tap + axis, row, column], self.offset_shape()));
            let position = self.position([row, column], [i, j], offset);
            for corner in corners(position, self.input) {
                visit(Term {
                    output: flat([b, o, row, column], self.output_shape()),
                    pixel: flat([b, channel, corner.row, corner.column], self.x_shape()),
                    weight: flat([o, c, i, j], self.weight_shape()),
                    mask: flat([b, tap, row, column], self.mask_shape()),
                    offset,
                    share: corner.share,
                    slope: corner.slope,
                });
            }
        }
    }

    /// Where a tap samples, vertical and horizontal.
    fn position(&self, output: [usize; 2], tap: [usize; 2], offset: [usize; 2]) -> [f64; 2] {
        let DeformConvOptions {
            stride,
            padding,
            dilation,
            ..
        } = self.options;
        [0, 1].map(|axis| {
            let regular = output[axis] * stride[axis] + tap[axis] * dilation[axis];
            regular as f64 - padding[axis] as f64 + self.offset[offset[axis]]
        })
    }
}

/// The pixels of a map that a bilinear sample at `position` sees: those less than 1 away on both
/// axes.
fn corners([y, x]: [f64; 2], [height, width]: [usize; 2]) -> Vec<Corner> {
    let near = |position: f64, size: usize| {
        let around = [position.floor(), position.floor() + 1.0];
        around
            .into_iter()
            .filter(move |at| *at >= 0.0 && *at < size as f64)
    };
    let mut found = Vec::new();
    for row in near(y, height) {
        for column in near(x, width) {
            found.push(Corner {
                row: row as usize,
                column: column as usize,
                share: hat(y - row) * hat(x - column),
                slope: [
                    hat_slope(y - row) * hat(x - column),
                    hat(y - row) * hat_slope(x - column),
                ],
            });
        }
    }
    found
}

/// Share of a pixel that is `distance` away on one axis.
fn hat(distance: f64) -> f64 {
    (1.0 - distance.abs()).max(0.0)
}

/// Derivative of [`hat`]; at its kinks the one from the right, as torchvision has it.
fn hat_slope(distance: f64) -> f64 {
    match distance {
        d if (-1.0..0.0).contains(&d) => 1.0,
        d if (0.0..1.0).contains(&d) => -1.0,
        _ => 0.0,
    }
}

/// Row-major position of an index.
fn flat(index: [usize; 4], shape: [usize; 4]) -> usize {
    index
        .iter()
        .zip(shape)
        .fold(0, |at, (i, size)| at * size + i)
}

/// Every index of an array, the last axis fastest.
fn indices<const N: usize>(shape: [usize; N]) -> impl Iterator<Item = [usize; N]> {
    (0..shape.iter().product()).map(move |mut at: usize| {
        let mut index = [0; N];
        for axis in (0..N).rev() {
            index[axis] = at % shape[axis];
            at /= shape[axis];
        }
        index
    })
}

//! Options of a deformable convolution and the rules its shapes obey.

use burn::tensor::Shape;

/// Default bound on the scratch memory of one call: 64 MiB.
pub const DEFAULT_COLUMN_BUDGET: usize = 64 << 20;

/// Options of [`deform_conv2d`](crate::deform_conv2d). Pairs are (vertical, horizontal).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeformConvOptions {
    /// Step between sampling windows, in input pixels.
    pub stride: [usize; 2],
    /// Zeros around the input on each side, in pixels.
    pub padding: [usize; 2],
    /// Distance between neighbouring taps before displacement, in pixels.
    pub dilation: [usize; 2],
    /// Groups of input and output channels that only see each other.
    pub weight_groups: usize,
    /// Groups of input channels that share one field of offsets (mmcv's `deform_groups`).
    pub offset_groups: usize,
    /// Largest scratch memory of one call in bytes: sampled columns and the copies of the input
    /// and its gradient that they are made from. Columns are processed in as many chunks as this
    /// takes. A call whose smallest possible chunk is larger than the budget uses that chunk.
    pub column_budget: usize,
}

impl Default for DeformConvOptions {
    fn default() -> Self {
        Self {
            stride: [1, 1],
            padding: [0, 0],
            dilation: [1, 1],
            weight_groups: 1,
            offset_groups: 1,
            column_budget: DEFAULT_COLUMN_BUDGET,
        }
    }
}

/// Every size of one call, taken from shapes that obey the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sizes {
    pub(crate) batch: usize,
    pub(crate) channels_in: usize,
    pub(crate) channels_out: usize,
    /// Height and width of the input.
    pub(crate) input: [usize; 2],
    /// Height and width of the output.
    pub(crate) output: [usize; 2],
    /// Height and width of the kernel.
    pub(crate) kernel: [usize; 2],
}

impl Sizes {
    /// Taps of the kernel.
    pub(crate) fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// Output positions of one image.
    pub(crate) fn positions(&self) -> usize {
        self.output[0] * self.output[1]
    }

    /// Pixels of one input map.
    pub(crate) fn pixels(&self) -> usize {
        self.input[0] * self.input[1]
    }

    /// Shape of the output, `[B, C_out, H', W']`.
    pub(crate) fn output_shape(&self) -> Shape {
        let [height, width] = self.output;
        Shape::new([self.batch, self.channels_out, height, width])
    }

    /// Reads the sizes of a call.
    ///
    /// # Panics
    ///
    /// When a rule is broken; the message names the rule and every shape.
    pub(crate) fn new(
        x: &Shape,
        offset: &Shape,
        weight: &Shape,
        mask: Option<&Shape>,
        options: &DeformConvOptions,
    ) -> Self {
        let rule = |holds: bool, rule: &str| {
            assert!(
                holds,
                "deformable convolution: {rule}; got input {x:?}, offset {offset:?}, weight {weight:?}, mask {mask:?}, {options:?}"
            );
        };
        let rank = [Some(x), Some(offset), Some(weight), mask];
        let rank_is_4 = rank
            .into_iter()
            .flatten()
            .all(|shape| shape.num_dims() == 4);
        rule(rank_is_4, "every tensor has four dimensions");
        let [batch, channels_in, height, width] = [x[0], x[1], x[2], x[3]];
        let [channels_out, channels_per_group, kernel_h, kernel_w] =
            [weight[0], weight[1], weight[2], weight[3]];
        let [weight_groups, offset_groups] = [options.weight_groups, options.offset_groups];
        let sizes = [channels_in, channels_out, kernel_h, kernel_w, height, width];
        rule(!sizes.contains(&0), "no channel, kernel or map size is 0");
        rule(
            !options.stride.contains(&0) && !options.dilation.contains(&0),
            "stride and dilation are at least 1",
        );
        rule(
            weight_groups > 0
                && channels_in.is_multiple_of(weight_groups)
                && channels_out.is_multiple_of(weight_groups),
            "weight groups divide the input and the output channels",
        );
        rule(
            offset_groups > 0 && channels_in.is_multiple_of(offset_groups),
            "offset groups divide the input channels",
        );
        rule(
            channels_per_group * weight_groups == channels_in,
            "the weight's second size times the weight groups is the input's channels",
        );
        let kernel = [kernel_h, kernel_w];
        let output = [0, 1].map(|axis| output_size(x[2 + axis], kernel[axis], axis, options));
        rule(
            !output.contains(&0),
            "the padded input is at least as large as the dilated kernel",
        );
        let fits = |shape: &Shape, per_tap: usize| {
            let channels = per_tap * offset_groups * kernel_h * kernel_w;
            *shape == Shape::new([batch, channels, output[0], output[1]])
        };
        rule(
            fits(offset, 2),
            "the offset is [B, 2 * offset groups * kernel height * kernel width, H', W']",
        );
        rule(
            mask.is_none_or(|mask| fits(mask, 1)),
            "the mask is [B, offset groups * kernel height * kernel width, H', W']",
        );
        Self {
            batch,
            channels_in,
            channels_out,
            input: [height, width],
            output,
            kernel,
        }
    }
}

/// Output size along one axis, or 0 where not even one window fits.
fn output_size(input: usize, kernel: usize, axis: usize, options: &DeformConvOptions) -> usize {
    let window = options.dilation[axis] * (kernel - 1) + 1;
    let padded = input + 2 * options.padding[axis];
    match padded.checked_sub(window) {
        Some(room) => room / options.stride[axis] + 1,
        None => 0,
    }
}
